"""Store the end of a generation, and decide whether it costs a unit.

The run of a generation and the reaper of dead processes both end it through `store`; a guarded update lets exactly one
of them succeed.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import token_limits
from chat import storage
from chat.attachments import store as attachments
from chat.generations import continuation
from chat.generations.models import DraftPiece
from chat.generations.pipeline import PARTING
from chat.models import Conversation, Generation, Hit, Message
from chat.screening import audit
from chat.screening.found import Found
from chat.stats import daily
from quotas import invitations, ledger
from runtime import fast_sql

# What an end and the row of its generation have in common.
_SAME_NAMES = (
    *("status", "finish_reason", "error", "content", "reasoning", "sources", "input_tokens", "output_tokens"),
    *("cached_tokens", "reasoning_tokens", "reasoning_seconds", "usage_estimated", "upstream", "last_event"),
    "filter_texts",
)
# What a message takes from the end of its generation.
_TEXTS = ("content", "reasoning", "sources", "reasoning_seconds")
# Numbers skipped after a killed process, so that the next event is above all that a reader can have.
RESUME_JUMP = 10_000_000


@dataclass(frozen=True, slots=True)
class End:
    """The result of a generation."""

    row: Generation
    status: str
    content: str
    reasoning: str
    last_event: int
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    # Whether the caller got content or reasoning that is not white space, or a tool call.
    visible: bool = False
    # The pages that it cites, as `chat.sources` encodes them.
    sources: str = ""
    # The ids of the images that it brought, as stored attachments.
    attachments: tuple[int, ...] = ()
    reached_upstream: bool = False
    # Whether it failed because of the request: moderation, a prompt that is too long, a refused parameter.
    request_at_fault: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    reasoning_seconds: float | None = None
    usage_estimated: bool = False
    upstream: str = ""
    ends_conversation: bool = False
    # Whether the vendor's moderation ended it before that.
    blocked_by_vendor: bool = False
    # The words and patterns found in it.
    hits: frozenset[Found] = frozenset()
    # Whether one of them, in the content, ended it.
    is_cut: bool = False
    # The texts of its category, in Chinese and English.
    filter_texts: tuple[str, str] | None = None
    # Whether a draft may be stored.
    has_draft: bool = False

    @property
    def charged(self) -> bool:
        """Whether it costs a unit: a visible completion does, a failed one does not."""
        return self.status == Generation.Status.COMPLETED and self.visible

    @property
    def counts_as_uncharged(self) -> bool:
        """Whether it counts towards MAX_UNCHARGED_PER_HOUR.

        That is so when the request or its caller is the reason, and not a failure of the upstream or of ours.
        """
        if self.charged or not self.reached_upstream:
            return False
        return self.status == Generation.Status.COMPLETED or self.request_at_fault

    @property
    def moderated(self) -> bool:
        """Whether the vendor's moderation refused the prompt or the whole conversation."""
        refused = bool(self.error and self.error["code"] == "content_blocked")
        return refused or self.ends_conversation or self.blocked_by_vendor

    @property
    def lock_order(self) -> tuple[int, int]:
        """The place of its transaction among others; see `Writer.run`."""
        return self.row.user_id, int(not self.moderated)

    @property
    def reason(self) -> str:
        if self.error:
            return str(self.error["code"])
        return self.finish_reason or "stop" if self.visible else "empty"


def of_stored(row: Generation, status: str, **how: Any) -> End:
    """Return an end for a generation without its owner, with the row's text."""
    return End(
        row,
        status,
        content=row.content,
        reasoning=row.reasoning,
        last_event=row.last_event + RESUME_JUMP,
        visible=_has_visible_text(row),
        reached_upstream=True,  # as far as another process can know
        has_draft=True,
        **how,
    )


def _has_visible_text(row: Generation) -> bool:
    """Return whether the draft has more than what a continuation repeats of the earlier text."""
    message = row.message if row.is_continuation else None
    repeated = max(0, len(message.content) - row.content_from) if message else 0
    return bool(row.content[repeated:].strip() or row.reasoning.removeprefix(PARTING).strip())


def store(end: End, *, savepoint: bool = True) -> Generation:
    """Settle or release, keep the text and set the final status; return the stored row.

    When another process ended the generation first, nothing changes and that end is returned. Repeating is safe.
    """
    row = end.row
    with transaction.atomic(savepoint=savepoint):
        if end.moderated:
            audit.count_abuse(row.user_id)  # first, because a start locks the user's row before the quota's
        text, stored = _kept_text(end)
        # Before the texts, and without a limit: a completion that exceeds it is kept.
        storage.add(row.user_id, "unkept" if row.message_id is None else "conversations", stored)
        charge = (ledger.settle if end.charged else ledger.release)(row.id, end.reason)
        if not charge.amount:
            token_limits.give_back(row.id)
        if charge.invitation:
            invitations.reward(charge.invitation)
        values = {name: getattr(end, name) for name in _SAME_NAMES}
        now = timezone.now()
        values |= {"charge": dict(charge.as_json()), "finished_at": now}
        values["uncharged_at"] = now if end.counts_as_uncharged else None
        if row.message_id is not None:
            values |= {"content": "", "reasoning": "", "sources": ""}
        if end.error is None:
            values["quota_after"] = _quota_of(row)
        if not fast_sql.update(Generation, values, "id = %s AND status = 'running'", [row.id]):
            transaction.set_rollback(True)
        else:
            if end.has_draft:
                DraftPiece.objects.filter(generation_id=row.id).delete()
            row = _keep(end, text, stored)
            for name, value in values.items():
                setattr(row, name, value)
            daily.count(row)
            audit.record(row.user_id, row.id, Hit.Direction.OUTPUT, end.hits)
            if end.ends_conversation and row.conversation_id is not None:
                Conversation.objects.filter(id=row.conversation_id).update(blocked=True)
            return row
    return Generation.objects.select_related("message", "part_of").get(id=row.id)


def _keep(end: End, text: dict[str, Any], stored: int) -> Generation:
    """Store texts and images; return the row, without a message deleted meanwhile."""
    row = end.row
    if row.message_id is None:
        return row
    if fast_sql.update(Message, text, "id = %s", [row.message_id]):
        if end.attachments:
            attachments.link(row.message_id, end.attachments)
        return row
    row = copy(row)  # as this may run again, if the commit fails
    row.message = row.conversation = None
    storage.add(row.user_id, "conversations", -stored)
    return row


def _kept_text(end: End) -> tuple[dict[str, Any], int]:
    """Return the texts to store, and by how many bytes the user's storage grows."""
    text = {name: getattr(end, name) for name in _TEXTS}
    if end.row.message_id is not None and end.row.is_continuation:
        return continuation.stored(end.row, text, is_cut=end.is_cut)
    return text, storage.size_of(end.content, end.reasoning, end.sources)


def fill_quota(row: Generation) -> Generation:
    """Return the row with the quota that `done` shows; old rows get today's."""
    if row.finished_at and row.error is None and row.quota_after is None:
        row.quota_after = _quota_of(row)
    return row


def _quota_of(row: Generation) -> dict[str, Any]:
    return dict(ledger.state(row.user_id, row.quota_id, language=row.language))
