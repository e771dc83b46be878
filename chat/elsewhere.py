"""Stopping a generation that another process runs: its owner is asked, and when nobody answers it is ended here.

Asking goes through wake-ups; that it has ended is read from the database, which alone decides who ended it.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from django.conf import settings

from chat import ending
from chat.models import Generation
from runtime import database, process, wakeups

# How long the owner may take to close its upstream and store the end, and how often it is asked meanwhile.
OWNER_SECONDS, ASK_SECONDS = 2.0, 0.25

STOPPED = b"stopped"

StopOwn = Callable[[str], Awaitable[None]]

_answering: set["asyncio.Task[None]"] = set()
_hear: Callable[[bytes], None] | None = None


def answer(stop_own: StopOwn) -> None:
    """Let other processes stop what this one runs: `stop_own` returns when it is stopped. Repeating is safe."""
    global _hear
    _hear = _hear or partial(_asked, stop_own)
    wakeups.listen(_requests(process.id), _hear)


def _asked(stop_own: StopOwn, generation: bytes) -> None:
    if generation != wakeups.MISSED:  # whoever asked while we could not hear asks again
        task = asyncio.get_running_loop().create_task(
            _stop_and_say(stop_own, generation.decode()), context=contextvars.Context()
        )
        _answering.add(task)
        task.add_done_callback(_answering.discard)


async def _stop_and_say(stop_own: StopOwn, generation: str) -> None:
    await stop_own(generation)
    await wakeups.wake(_answers(generation), STOPPED)


async def stop(row: Generation) -> bool:
    """Return when the generation has ended: by its owner, or here with what is stored. False: its owner is dead."""
    if row.process not in await database.run(process.alive):
        return False
    if settings.REDIS_URL:
        await _ask_owner(row)
    await database.run(_end, row.id)
    return True


async def _ask_owner(row: Generation) -> None:
    """Ask again and again until the generation has ended, for `OWNER_SECONDS` at the longest."""
    said = asyncio.Event()
    unlisten = wakeups.listen(_answers(row.id), lambda payload: said.set() if payload else None)
    deadline = time.monotonic() + OWNER_SECONDS
    try:
        while await database.run(_runs, row.id) and time.monotonic() < deadline:
            if said.is_set():
                await asyncio.sleep(ASK_SECONDS)  # it said so and it is not: nothing that haste would mend
            said.clear()
            await wakeups.wake(_requests(row.process), row.id.encode())
            with suppress(TimeoutError):
                await asyncio.wait_for(said.wait(), ASK_SECONDS)
    finally:
        unlisten()


def _requests(owner: str) -> str:
    return f"stop:{owner}"


def _answers(generation: str) -> str:
    return f"stopped:{generation}"


def _runs(generation: str) -> bool:
    return Generation.objects.running().filter(id=generation).exists()


def _end(generation: str) -> None:
    """End what is still running: the guarded update lets its owner go first, who then finds it ended."""
    row = Generation.objects.running().filter(id=generation).first()
    if row:
        ending.store(ending.of_stored(row, Generation.Status.COMPLETED, finish_reason="cancelled"))
