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
from django.db import InterfaceError, OperationalError

from chat.events import offsets
from chat.events.local import logs
from chat.events.log import Log
from chat.events.redis import Outbox
from chat.generations import remote
from chat.generations import start as beginning
from chat.generations.drafts import Draft
from chat.generations.drafts import flush as flush_drafts
from chat.generations.request import Ask, Begun
from chat.generations.run import Run
from chat.models import Generation
from chat.openai.relay import Relay
from providers.apps import providers_app
from providers.routing import Attempts
from quotas.apps import quotas_app
from runtime import database
from runtime.apps import runtime

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
    begun = await _decide(ask)
    if begun.held and begun.attempts:
        _spawn(begun.row, begun.attempts, relay)
    return begun


async def _decide(ask: Ask) -> Begun:
    """Refuse early who seems to have nothing left; everybody else, the transaction decides."""
    if ask.model and await quotas_app().hints.exhausted(ask.user_id, ask.model):
        begun = await database.run(beginning.refused_early, ask)
        if begun is not None:
            return begun
    return await database.run(beginning.begin, ask)


def _spawn(row: Generation, attempts: Attempts, relay: Relay | None) -> None:
    """Run in an empty context, so that the run outlives the request and holds on to nothing of it."""
    draft = Draft(row.id)
    log = relay or logs.open(row.id, draft.snapshot)
    if isinstance(log, Log):
        outbox.add(log)
    remote.answer(_stop_asked_for)
    offsets.answer(_last_of)
    run = _runs[row.id] = Run(row, attempts, draft, log)
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
    if run.deleted:
        log.info("generation deleted while it ran", generation=run.row.id)
    else:
        # A fault of ours: the row is still `running`, the reaper ends it, and readers find that when they come back.
        log.error("run died", generation=run.row.id, exc_info=None if task.cancelled() else task.exception())
    if isinstance(run.log, Log):
        logs.drop(run.log)
    run.died()


# --- looking at generations, stopping and ending them ----------------------------------------------------------------


def readable(row: Generation) -> Log | None:
    """Return the event log when this process has it, and it is what readers are to see.

    It is not when somebody else has ended the generation, taking this process for dead, which it has yet to find out.
    """
    log = logs.get(row.id)
    superseded = log and row.status != Generation.Status.RUNNING and row.last_event > log.last + 1
    return None if superseded else log


def _last_of(generation_id: str) -> int | None:
    run = _runs.get(generation_id)
    log = run.log if run else logs.get(generation_id)
    return log.last if log else None


async def stop(row: Generation) -> None:
    """Close the upstream and end with `cancelled`; return when that is stored. Repeating is safe."""
    run = _runs.get(row.id)
    if run:
        await run.end_as("cancelled")
    elif row.status == Generation.Status.RUNNING and not await remote.stop(row):
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
        await providers_app().routing.aclose()


async def flush() -> None:
    """Store the unfinished text of all runs. A timer."""
    _end_here(await flush_drafts([run.draft for run in _runs.values()]))
    if runtime().redis.away:  # who stops one of ours from elsewhere cannot say so
        _end_here(await database.run(remote.ended_among, set(_runs)))


def _end_here(ended_elsewhere: Iterable[str]) -> None:
    """Let runs go that somebody else has ended, for one taking this process for dead: going on would only cost."""
    for generation_id in ended_elsewhere:
        if run := _runs.get(generation_id):
            run.end_soon("interrupted")


async def reap() -> None:
    """End the generations of processes that died: `interrupted`, text kept, nothing charged. A timer; safe twice."""
    _end_here(await database.run(remote.reap, set(_runs)))
