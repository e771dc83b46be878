"""How a generation ends in the database: once, in one transaction, whoever tries. The charge is decided here.

The run of a generation, and the reaper of dead processes, both end generations through `store`; the guarded update lets
exactly one of them through.
"""

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone, translation

from chat.models import Conversation, Generation, Hit, Message
from chat.screening import audit
from chat.stats import daily
from quotas import invitations, ledger
from runtime import fast_sql

# Numbering after a killed process goes on this far above what was stored: above anything a reader can have seen.
RESUME_JUMP = 10_000_000


@dataclass(frozen=True, slots=True)
class End:
    """How a generation came out.

    `visible`: at least one character of content was shown that is not white space, or a tool call was passed on.
    """

    row: Generation
    status: str
    content: str
    reasoning: str
    last_event: int
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    visible: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    usage_estimated: bool = False
    upstream: str = ""
    ends_conversation: bool = False
    # Sensitive words that were found in it.
    hits: frozenset[int] = frozenset()

    @property
    def charged(self) -> bool:
        """One answer costs one, once something could be read; what failed on the way costs nothing."""
        return self.status == Generation.Status.COMPLETED and self.visible

    @property
    def moderated(self) -> bool:
        """Whether the vendor's moderation refused the prompt, or the whole exchange."""
        return self.ends_conversation or bool(self.error and self.error["code"] == "content_blocked")

    @property
    def reason(self) -> str:
        if self.error:
            return str(self.error["code"])
        return self.finish_reason or "stop" if self.visible else "empty"


def of_stored(row: Generation, status: str, **how: Any) -> End:
    """Return the end of a generation whose owner does not end it: with the text that is stored."""
    return End(
        row,
        status,
        content=row.content,
        reasoning=row.reasoning,
        last_event=row.last_event + RESUME_JUMP,
        visible=bool(row.content.strip()),
        **how,
    )


def store(end: End) -> Generation:
    """Settle or release, keep the text, and set the final status; return the row as it is stored now.

    When somebody else ended the generation first, nothing changes and theirs is returned. Repeating is safe.
    """
    with transaction.atomic():
        if end.moderated:
            audit.count_abuse(end.row.user_id)  # first, as beginnings lock a person's row before their quota's
        charge = (ledger.settle if end.charged else ledger.release)(end.row.id, end.reason)
        if charge.invitation:
            invitations.reward(charge.invitation)
        values = _final_values(end, dict(charge.as_json()))
        if end.error is None:
            values["quota_after"] = _quota_of(end.row)
        if not fast_sql.update(Generation, values, "id = %s AND status = 'running'", [end.row.id]):
            transaction.set_rollback(True)
        else:
            if end.row.message_id is not None:
                text = {"content": end.content, "reasoning": end.reasoning}
                if not fast_sql.update(Message, text, "id = %s", [end.row.message_id]):
                    end.row.message = end.row.conversation = None  # deleted meanwhile
            for name, value in values.items():
                setattr(end.row, name, value)
            daily.count(end.row)
            _remember_moderation(end)
            return end.row
    return Generation.objects.select_related("message").get(id=end.row.id)


def _remember_moderation(end: End) -> None:
    """Note the words found, and close a conversation that its vendor wants no more of."""
    audit.record(end.row.user_id, end.row.id, Hit.Direction.OUTPUT, end.hits)
    if end.ends_conversation and end.row.conversation_id is not None:
        Conversation.objects.filter(id=end.row.conversation_id).update(blocked=True)


def _final_values(end: End, charge: dict[str, Any]) -> dict[str, Any]:
    kept_elsewhere = end.row.message_id is not None
    return {
        "status": end.status,
        "finish_reason": end.finish_reason,
        "error": end.error,
        "charge": charge,
        "content": "" if kept_elsewhere else end.content,
        "reasoning": "" if kept_elsewhere else end.reasoning,
        "input_tokens": end.input_tokens,
        "output_tokens": end.output_tokens,
        "usage_estimated": end.usage_estimated,
        "upstream": end.upstream,
        "last_event": end.last_event,
        "finished_at": timezone.now(),
    }


def fill_quota(row: Generation) -> Generation:
    """Return the row with the quota that `done` shows; what ended before that was kept shows the quota as it is now."""
    if row.finished_at and row.error is None and row.quota_after is None:
        row.quota_after = _quota_of(row)
    return row


def _quota_of(row: Generation) -> dict[str, Any]:
    with translation.override(row.language):
        return dict(ledger.state(row.user_id, row.quota_id))
