"""The use case: start, run, stop and reap generations. Page, API and all other doors use this and nothing below.

Who owns what: while a generation runs, its `Run` in the process named in its row owns the text, the numbering of events
and the upstream connection; the response that started it only reads the log. Everything that must happen once
(the reservation, the end) is decided by the database.
"""

import asyncio
import contextvars
import time
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone, translation

from chat import beginning, elsewhere, ending
from chat.asks import Ask, Begun
from chat.channels.local import logs
from chat.channels.log import Log
from chat.channels.redis import Outbox
from chat.drafts import Draft
from chat.drafts import flush as flush_drafts
from chat.models import Generation
from chat.relay import Relay
from chat.run import Run
from providers import routing
from providers.routing import Attempts
from quotas import counters, ledger
from quotas.errors import QuotaExhausted
from runtime import database, process

# A row of this process without a run is one whose start was cut off between its transaction and its run.
STRAY_SECONDS = 60
REAP_AT_ONCE = 500

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
        begun = await database.run(beginning.refused_early, ask, seen)
        if begun is not None:
            return begun
    try:
        return await database.run(beginning.begin, ask)
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
    for generation_id in await flush_drafts([run.draft for run in _runs.values()]):
        # Somebody took this process for dead and ended it: going on would only cost.
        if run := _runs.get(generation_id):
            run.end_soon("interrupted")


async def reap() -> None:
    """End the generations of processes that died: `interrupted`, text kept, nothing charged. A timer; safe twice."""
    for generation_id in await database.run(_reap, set(_runs)):
        if run := _runs.get(generation_id):
            run.end_soon("interrupted")
    await counters.flush()


def _reap(own: set[str]) -> set[str]:
    """Return those of our own that somebody else has ended."""
    orphans = Generation.objects.running().exclude(process__in=process.alive())
    before = timezone.now() - timedelta(seconds=STRAY_SECONDS)
    strays = Generation.objects.running().filter(process=process.id, created_at__lt=before).exclude(id__in=own)
    for row in [*orphans[:REAP_AT_ONCE], *strays[:REAP_AT_ONCE]]:
        end = ending.of_stored(row, Generation.Status.INTERRUPTED, error={"code": "interrupted"})
        try:
            ending.store(end)
        except (ObjectDoesNotExist, IntegrityError):  # one row that someone has tampered with must not keep the others
            log.exception("not reaped", generation=row.id)
    return own - set(Generation.objects.running().filter(id__in=own).values_list("id", flat=True)) if own else set()
