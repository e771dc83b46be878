"""The use case: start, run, stop and reap generations. Page, API and all other doors use this and nothing below.

Who owns what: while a generation runs, its `Run` in the process named in its row owns the text, the numbering of events
and the upstream connection; the response that started it only reads the log. Everything that must happen once
(the reservation, the end) is decided by the database.
"""

import asyncio
import contextvars
import time
from collections.abc import Iterable
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from chat import elsewhere, prompt, text_tools
from chat.asks import Ask, Begun
from chat.channels.local import logs
from chat.channels.log import Log
from chat.channels.redis import Outbox
from chat.drafts import Draft
from chat.drafts import flush as flush_drafts
from chat.errors import Conflict, ConversationBlocked, PromptTooLong
from chat.models import TITLE_CHARS, Conversation, Generation, Message, new_generation_id
from chat.relay import Relay
from chat.run import Run
from providers import access, routing, table
from providers.errors import ModelUnavailable, UnknownModel
from providers.routing import Attempts
from providers.table import ModelConfig
from providers.wire.base import PromptMessage, wanted
from quotas import counters, ledger
from quotas.counts import Found
from quotas.errors import QuotaExhausted
from quotas.ledger import Held
from runtime import clients, database, drain, process
from runtime.refusals import InvalidRequest, NotFound, ServiceUnavailable, TooManyRequests

log = structlog.get_logger("generation")

# What of the logs of this process is to be written to Redis, for readers on others.
outbox = Outbox(logs)
_runs: dict[str, Run] = {}
_tasks: set["asyncio.Task[Any]"] = set()


async def start(ask: Ask, relay: Relay | None = None) -> Begun:
    """Store the question, hold a unit of quota, and set the answer going; the same key returns the same generation.

    Raises a Refusal, in the order of docs/api.md, with nothing stored. A caller who leaves meanwhile changes nothing:
    what was stored is run. With a `relay` it is told to that one alone, and stopped by their leaving.
    """
    starting = asyncio.create_task(_start(ask, relay))
    _tasks.add(starting)
    starting.add_done_callback(_started)
    return await asyncio.shield(starting)


def _started(task: "asyncio.Task[Begun]") -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # a refusal that nobody waits for any more is nothing to report


async def _start(ask: Ask, relay: Relay | None) -> Begun:
    try:
        begun = await _decide(ask)
        if begun.held and begun.attempts:
            _spawn(begun.row, begun.attempts, relay)
        return begun
    finally:
        await counters.flush()


async def _decide(ask: Ask) -> Begun:
    """Refuse early who seems to have nothing left; everybody else, the transaction decides."""
    if ask.model and (seen := await counters.seems_exhausted(ask.user_id, ask.model)):
        begun = await database.run(_refused_early, ask, seen)
        if begun is not None:
            return begun
    try:
        return await database.run(_begin, ask)
    except QuotaExhausted:
        # What a transaction that failed has read is noted by nobody; the next question is to be refused early.
        if settings.REDIS_URL:
            await database.run(ledger.count_anew, [ask.user_id])
        raise


def _spawn(row: Generation, attempts: Attempts, relay: Relay | None) -> None:
    """Run in an empty context, so that the run outlives the request and holds on to nothing of it."""
    draft = Draft(row.id)
    log = relay or logs.open(row.id, draft.snapshot)
    if isinstance(log, Log):
        outbox.add(log)
    elsewhere.answer(_stop_asked_for)
    run = _runs[row.id] = Run(row, attempts, draft, log, translation.get_language())
    if relay:
        relay.bind(lambda: run.end_soon("cancelled"))
    task = asyncio.get_running_loop().create_task(run.go(), context=contextvars.Context())
    run.task = task
    _tasks.add(task)
    task.add_done_callback(lambda done: _ended(run, done))


def _ended(run: Run, task: "asyncio.Task[Any]") -> None:
    _tasks.discard(task)
    _runs.pop(run.row.id, None)
    if run.log.ended:
        if isinstance(run.log, Log):
            logs.finish(run.log)
        return
    # A fault of ours: the row is still `running`, the reaper ends it, and readers find that when they come back.
    log.error("run died", generation=run.row.id, exc_info=None if task.cancelled() else task.exception())
    if isinstance(run.log, Log):
        logs.drop(run.log)
    run.died()


# --- the transaction that begins a generation ------------------------------------------------------------------------


def _refused_early(ask: Ask, seen: Found) -> Begun | None:
    """Refuse without a write, in due order, what the ledger confirms to be exhausted; None: it is for `_begin` to say.

    The ledger is read first: who took the last unit under the same key is stored by then, and found.
    """
    models = _checked_models(ask)
    try:
        ledger.check(ask.user_id, models[ask.model].id, seen)
    except QuotaExhausted:
        if known := _known(ask):
            return Begun(known)
        if drain.draining() or ask.regenerate:
            return None
        conversation, _parent_id = _place(ask)
        _check_active(ask)
        if conversation and conversation.blocked:
            raise ConversationBlocked from None
        raise
    return None


def _begin(ask: Ask) -> Begun:
    models = _checked_models(ask)
    with transaction.atomic():
        _one_at_a_time(ask.user_id)
        if known := _known(ask):
            return Begun(known)
        if drain.draining():
            raise ServiceUnavailable
        question, slug = _regenerated(ask, ask.regenerate) if ask.regenerate else (None, ask.model)
        slug = slug or _first_available(ask.user_id)
        config = _usable_model(ask, models, slug)
        conversation, parent_id = _place(ask) if question is None else (question.conversation, question.parent_id)
        _check_active(ask)
        if conversation and conversation.blocked:
            raise ConversationBlocked
        row_id = new_generation_id()
        held = ledger.reserve(ask.user_id, config.id, row_id)
        config.check_available()
        if not ask.kept:
            row = _new_generation(ask, row_id, slug, None, held)
            return Begun(row, held, _unkept(ask, config, row_id))
        turns = [(turn.role, turn.content) for turn in Message.objects.branch(parent_id)] if parent_id else []
        if question is None:
            conversation = _touched(conversation, ask) if conversation else _new_conversation(ask)
            question = _add(conversation, parent_id, Message.Role.USER, ask.prompt)
        answer = _add(conversation or question.conversation, question.id, Message.Role.ASSISTANT, "", slug)
        row = _new_generation(ask, row_id, slug, answer, held)
        messages, parameters = prompt.build(
            config.context_tokens,
            {**config.parameters, **ask.parameters},
            row.conversation.system_prompt if row.conversation else "",
            [*turns, (Message.Role.USER, question.content)],
        )
    return Begun(row, held, Attempts(config, messages, parameters, row_id))


def _unkept(ask: Ask, config: ModelConfig, row_id: str) -> Attempts:
    """Send the caller's prompt as it is: what they did not ask to be shortened is refused when it is too long."""
    messages = ask.messages
    if ask.instruction:
        messages = (PromptMessage("user", text_tools.applied(ask.instruction, ask.prompt)),)
    parameters = prompt.capped(config.context_tokens, config.parameters, messages) | ask.parameters
    return Attempts(config, messages, parameters, row_id, ask.extras, whole=True)


def _first_available(user_id: int) -> str:
    """Return the model that comes first in the list of a user's models, of those that can answer."""
    with_quota = ledger.quota_slugs()
    usable = (model for model in access.usable(user_id) if model.id in with_quota and model.available())
    found = next(usable, None)
    if found is None:
        raise ModelUnavailable
    return found.slug


def _checked_models(ask: Ask) -> dict[str, ModelConfig]:
    """Return all models; refuse what is too long, and a model that the caller may not use, or that cannot take it."""
    texts = (ask.prompt, ask.system_prompt or "", *(message.content for message in ask.messages))
    if any(len(text) > settings.MAX_PROMPT_CHARS for text in texts):
        raise PromptTooLong(details={"max_chars": settings.MAX_PROMPT_CHARS})
    models = table.models()
    if ask.model or (ask.kept and not ask.regenerate):
        _usable_model(ask, models, ask.model).check_parameters(ask.parameters)
    return models


def _usable_model(ask: Ask, models: dict[str, ModelConfig], slug: str) -> ModelConfig:
    """Return the model, with those of its routes that can take what is asked."""
    if slug not in models or not access.may_use(ask.user_id, models[slug]):
        raise UnknownModel
    return routing.able(models[slug], wanted(ask.messages, ask.extras))


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
    return conversation, parent_id


def _touched(conversation: Conversation, ask: Ask) -> Conversation:
    conversation.updated_at = timezone.now()
    if ask.system_prompt is not None:
        conversation.system_prompt = ask.system_prompt
    conversation.save(update_fields=["updated_at", "system_prompt"])
    return conversation


def _check_active(ask: Ask) -> None:
    limit = settings.MAX_ACTIVE_GENERATIONS if ask.counted else 0
    active = Generation.objects.owned_by(ask.user_id).running().filter(counted=True)
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


def _new_generation(ask: Ask, row_id: str, model: str, answer: Message | None, held: Held) -> Generation:
    return Generation.objects.create(
        id=row_id,
        user_id=ask.user_id,
        conversation=answer.conversation if answer else None,
        message=answer,
        quota_id=held.quota_id,
        reservation_id=held.reservation_id,
        model=model,
        process=process.id,
        counted=ask.counted,
        idempotency_key=ask.idempotency_key,
        # Nothing else can ever be the same request.
        request_digest=ask.digest() if ask.idempotency_key or ask.joins_running else "",
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
    elif row.status == Generation.Status.RUNNING and not await elsewhere.stop(row):
        await reap()


async def _stop_asked_for(generation_id: str) -> None:
    if run := _runs.get(generation_id):
        await run.end_as("cancelled")


def stop_soon(rows: list[Generation], loop: asyncio.AbstractEventLoop) -> None:
    """Stop generations from another thread without waiting for their end."""
    for row in rows:
        asyncio.run_coroutine_threadsafe(_stop_or_say(row), loop)


async def _stop_or_say(row: Generation) -> None:
    try:
        await stop(row)
    except (OperationalError, InterfaceError) as error:
        log.error("not stopped", generation=row.id, error=type(error).__name__)


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
    _end_here(await flush_drafts([run.draft for run in _runs.values()]))
    if clients.away():  # who stops one of ours from elsewhere cannot say so
        _end_here(await database.run(elsewhere.ended_among, set(_runs)))


def _end_here(ended_elsewhere: Iterable[str]) -> None:
    """Let runs go that somebody else has ended, for one taking this process for dead: going on would only cost."""
    for generation_id in ended_elsewhere:
        if run := _runs.get(generation_id):
            run.end_soon("interrupted")


async def reap() -> None:
    """End the generations of processes that died: `interrupted`, text kept, nothing charged. A timer; safe twice."""
    _end_here(await database.run(elsewhere.reap, set(_runs)))
    await counters.flush()
