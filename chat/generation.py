"""The use case: start, run, stop and reap generations. Page, API and all other doors use this and nothing below.

Who owns what: while a generation runs, its `Run` in the process named in its row owns the text, the numbering of events
and the upstream connection; the response that started it only reads the log. Everything that must happen once
(the reservation, the end) is decided by the database.
"""

import asyncio
import contextvars
import hashlib
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, connection, transaction
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from chat import ending, prompt
from chat.channels.local import LocalLogs
from chat.channels.log import Log
from chat.drafts import Draft
from chat.drafts import flush as flush_drafts
from chat.ending import End
from chat.errors import Conflict, ContentBlocked, PromptTooLong
from chat.models import TITLE_CHARS, Conversation, Generation, Hit, Message, new_generation_id
from chat.run import Run
from chat.screening import incoming, record
from chat.screening.incoming import Screened
from providers import routing, table
from providers.table import ModelConfig
from providers.wire.base import PromptMessage
from quotas import ledger
from quotas.ledger import Held
from runtime import database, drain, process
from runtime.refusals import InvalidRequest, NotFound, ServiceUnavailable, TooManyRequests

# Numbering after a killed process goes on this far above what was stored: above anything a reader can have seen.
RESUME_JUMP = 10_000_000
# A row of this process without a run is one whose start was cut off between its transaction and its run.
STRAY_SECONDS = 60
REAP_AT_ONCE = 500

log = structlog.get_logger("generation")

logs = LocalLogs()
_runs: dict[str, Run] = {}
_tasks: set["asyncio.Task[Any]"] = set()


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants answered. `regenerate` names the assistant message that is to get a sibling."""

    user_id: int
    model: str = ""
    prompt: str = ""
    conversation: int | None = None
    parent: int | None = None
    system_prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    regenerate: int | None = None
    idempotency_key: str | None = None
    # A repeated GET of the same query joins the answer that is still running.
    joins_running: bool = False

    def digest(self) -> str:
        """Return what makes two requests the same one."""
        parts = (
            "join" if self.joins_running else "",
            self.model,
            self.prompt,
            self.conversation,
            self.parent,
            self.system_prompt,
            self.parameters,
            self.regenerate,
        )
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Begun:
    """A generation that was stored now (`held` says so), or found under its key."""

    row: Generation
    held: Held | None = None
    config: ModelConfig | None = None
    messages: tuple[PromptMessage, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)


async def start(ask: Ask) -> Begun:
    """Store the question, hold a unit of quota, and set the answer going; the same key returns the same generation.

    Raises a Refusal, in the order of docs/api.md, with nothing stored. A caller who leaves meanwhile changes nothing:
    what was stored is run.
    """
    starting = asyncio.create_task(_start(ask))
    _tasks.add(starting)
    starting.add_done_callback(_started)
    return await asyncio.shield(starting)


def _started(task: "asyncio.Task[Begun]") -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # a refusal that nobody waits for any more is nothing to report


async def _start(ask: Ask) -> Begun:
    begun = await database.run(_begin, ask)
    if begun.held and begun.config:
        _spawn(begun, begun.config)
    return begun


def _spawn(begun: Begun, config: ModelConfig) -> None:
    """Run in an empty context, so that the run outlives the request and holds on to nothing of it."""
    row = begun.row
    draft = Draft(row.id)
    log = logs.open(row.id, draft.snapshot)
    run = _runs[row.id] = Run(row, config, begun.messages, begun.parameters, draft, log, translation.get_language())
    task = asyncio.get_running_loop().create_task(run.go(), context=contextvars.Context())
    run.task = task
    _tasks.add(task)
    task.add_done_callback(lambda done: _ended(run, done))


def _ended(run: Run, task: "asyncio.Task[Any]") -> None:
    _tasks.discard(task)
    _runs.pop(run.row.id, None)
    if run.log.ended:
        logs.finish(run.log)
        return
    # A fault of ours: the row is still `running`, the reaper ends it, and readers find that when they come back.
    log.error("run died", generation=run.row.id, exc_info=None if task.cancelled() else task.exception())
    logs.drop(run.log)
    run.died()


# --- the transaction that begins a generation ------------------------------------------------------------------------


def _begin(ask: Ask) -> Begun:
    if len(ask.prompt) > settings.MAX_PROMPT_CHARS or len(ask.system_prompt or "") > settings.MAX_PROMPT_CHARS:
        raise PromptTooLong(details={"max_chars": settings.MAX_PROMPT_CHARS})
    models = table.models()
    if (not ask.regenerate and ask.model not in models) or (ask.model and ask.model not in models):
        raise InvalidRequest(details={"model": [_("There is no such model.")]})
    screened = incoming.screen(ask.prompt, ask.system_prompt or "")
    try:
        return _begin_screened(ask, screened, models)
    except ContentBlocked:
        record.refused(ask.user_id, screened.hits)  # only now: what came before is rolled back
        raise


def _begin_screened(ask: Ask, screened: Screened, models: dict[str, ModelConfig]) -> Begun:
    """Begin it with the texts as they were screened; a word that blocks is refused in its turn."""
    prompt_text, system_prompt = screened.texts
    kept = replace(ask, prompt=prompt_text, system_prompt=None if ask.system_prompt is None else system_prompt)
    with transaction.atomic():
        _one_at_a_time(ask.user_id)
        if known := _known(ask):
            return Begun(known)
        if drain.draining():
            raise ServiceUnavailable
        question, slug = _regenerated(ask, ask.regenerate) if ask.regenerate else (None, ask.model)
        if slug not in models:
            raise InvalidRequest(details={"model": [_("There is no such model.")]})
        conversation, parent_id = _place(kept) if question is None else (question.conversation, question.parent_id)
        _check_active(ask.user_id)
        if screened.blocked:
            raise ContentBlocked
        row_id, config = new_generation_id(), models[slug]
        held = ledger.reserve(ask.user_id, config.id, row_id)
        config.check_available()
        turns = [(turn.role, turn.content) for turn in Message.objects.branch(parent_id)] if parent_id else []
        if question is None:
            conversation = conversation or _new_conversation(kept)
            question = _add(conversation, parent_id, Message.Role.USER, kept.prompt)
        answer = _add(conversation or question.conversation, question.id, Message.Role.ASSISTANT, "", slug)
        row = _new_generation(ask, row_id, slug, answer, held)
        messages, parameters = prompt.build(
            config.context_tokens,
            {**config.parameters, **ask.parameters},
            row.conversation.system_prompt if row.conversation else "",
            [*turns, (Message.Role.USER, question.content)],
        )
        record.found(ask.user_id, row_id, Hit.Direction.INPUT, screened.hits)
    messages = incoming.mask_earlier(messages, new=0 if ask.regenerate else 1)
    return Begun(row, held, config, messages, parameters)


def _one_at_a_time(user_id: int) -> None:
    """Let one user's starts queue: keys, joins and the count of active ones are then decided without a race.

    SQLite's transactions have the write lock from their beginning; there this would say nothing new.
    """
    if connection.vendor != "sqlite":
        list(get_user_model().objects.select_for_update(no_key=True, of=("self",)).filter(id=user_id).values_list("id"))


def _known(ask: Ask) -> Generation | None:
    owned = Generation.objects.owned_by(ask.user_id)
    if ask.idempotency_key:
        row = Generation.objects.by_key(ask.user_id, ask.idempotency_key)
        if row and row.request_digest != ask.digest():
            raise Conflict
        return row
    if ask.joins_running:
        return owned.running().filter(request_digest=ask.digest()).select_related("conversation").first()
    return None


def _regenerated(ask: Ask, answer_id: int) -> tuple[Message, str]:
    """Return the question that is to be answered again, and by which model."""
    mine = Message.objects.filter(conversation__user_id=ask.user_id, role=Message.Role.ASSISTANT)
    answer = mine.select_related("parent", "conversation").filter(id=answer_id).first()
    if answer is None or answer.parent is None:
        raise NotFound
    answer.parent.conversation = answer.conversation
    return answer.parent, ask.model or answer.model


def _place(ask: Ask) -> tuple[Conversation | None, int | None]:
    """Return the conversation to go on with and the message to go on from; nothing for a new conversation."""
    if ask.conversation is None:
        if ask.parent is not None:
            raise InvalidRequest(details={"parent": [_("A parent needs its conversation.")]})
        return None, None
    conversation = Conversation.objects.owned_by(ask.user_id).filter(id=ask.conversation).first()
    if conversation is None:
        raise NotFound
    messages = conversation.messages.order_by("-id").values_list("id", flat=True)
    parent_id = (messages.filter(id=ask.parent) if ask.parent is not None else messages).first()
    if ask.parent is not None and parent_id is None:
        raise NotFound
    conversation.updated_at = timezone.now()
    if ask.system_prompt is not None:
        conversation.system_prompt = ask.system_prompt
    conversation.save(update_fields=["updated_at", "system_prompt"])
    return conversation, parent_id


def _check_active(user_id: int) -> None:
    limit = settings.MAX_ACTIVE_GENERATIONS
    active = Generation.objects.owned_by(user_id).running().filter(counted=True)
    if limit and active.count() >= limit:
        raise TooManyRequests(_("Please wait until one of your running answers has ended."), retry_after=5)


def _new_conversation(ask: Ask) -> Conversation:
    return Conversation.objects.create(
        user_id=ask.user_id, title=ask.prompt[:TITLE_CHARS], system_prompt=ask.system_prompt or ""
    )


def _add(conversation: Conversation, parent_id: int | None, role: str, content: str, model: str = "") -> Message:
    return Message.objects.create(
        conversation=conversation, parent_id=parent_id, role=role, content=content, model=model
    )


def _new_generation(ask: Ask, row_id: str, model: str, answer: Message, held: Held) -> Generation:
    return Generation.objects.create(
        id=row_id,
        user_id=ask.user_id,
        conversation=answer.conversation,
        message=answer,
        quota_id=held.quota_id,
        reservation_id=held.reservation_id,
        model=model,
        process=process.id,
        idempotency_key=ask.idempotency_key,
        request_digest=ask.digest(),
    )


# --- looking at generations, stopping and ending them ----------------------------------------------------------------


def log_of(generation_id: str) -> Log | None:
    """Return the event log when this process has it."""
    return logs.get(generation_id)


async def stop(row: Generation) -> None:
    """Close the upstream and end with `cancelled`; return when that is stored. Repeating is safe."""
    run = _runs.get(row.id)
    if run:
        await run.end_as("cancelled")
    elif row.status == Generation.Status.RUNNING:
        await reap()


def stop_soon(generation_ids: list[str], loop: asyncio.AbstractEventLoop) -> None:
    """Stop generations from another thread without waiting for their end."""
    for generation_id in generation_ids:
        if run := _runs.get(generation_id):
            loop.call_soon_threadsafe(run.end_soon, "cancelled")


async def drain_runs() -> None:
    """Give running generations `DRAIN_SECONDS`, then end the rest as `interrupted`; return when all is stored."""
    deadline = time.monotonic() + settings.DRAIN_SECONDS
    try:
        while _tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(list(_tasks), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        while _tasks:
            for run in list(_runs.values()):
                run.end_soon("interrupted")
            await asyncio.wait(list(_tasks), timeout=1)
    finally:
        await routing.aclose()


async def flush() -> None:
    """Store the unfinished text of all runs. A timer."""
    for generation_id in await flush_drafts([run.draft for run in _runs.values()]):
        # Somebody took this process for dead and ended it: going on would only cost.
        if run := _runs.get(generation_id):
            run.end_soon("interrupted")


async def reap() -> None:
    """End the generations of processes that died: `interrupted`, text kept, nothing charged. A timer; safe twice."""
    await database.run(_reap, set(_runs))


def _reap(own: set[str]) -> None:
    orphans = Generation.objects.running().exclude(process__in=process.alive())
    before = timezone.now() - timedelta(seconds=STRAY_SECONDS)
    strays = Generation.objects.running().filter(process=process.id, created_at__lt=before).exclude(id__in=own)
    for row in [*orphans[:REAP_AT_ONCE], *strays[:REAP_AT_ONCE]]:
        end = End(
            row,
            status=Generation.Status.INTERRUPTED,
            error={"code": "interrupted"},
            content=row.content,
            reasoning=row.reasoning,
            last_event=row.last_event + RESUME_JUMP,
        )
        try:
            ending.store(end)
        except (ObjectDoesNotExist, IntegrityError):  # one row that someone has tampered with must not keep the others
            log.exception("not reaped", generation=row.id)
