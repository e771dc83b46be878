"""This process: its identity, its heartbeat, its timers, and who else is alive.

Apps register what must happen from time to time; the first request or `serve` starts the clock.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now

from runtime import database
from runtime.models import Process

log = structlog.get_logger("runtime")


@dataclass(frozen=True, slots=True)
class Timer:
    name: str
    seconds: Callable[[], float]
    callback: Callable[[], Awaitable[object]]


id: str = uuid.uuid4().hex  # noqa: A001
# The event loop that serves, for the few callers in other threads that must tell it something.
loop: asyncio.AbstractEventLoop | None = None
# Until then nobody is taken for dead for being silent: we were ourselves.
_lenient_until = 0.0
_timers: list[Timer] = []
_tasks: list[asyncio.Task[None]] = []


def every(seconds: Callable[[], float], name: str, callback: Callable[[], Awaitable[object]]) -> None:
    """Register a callback to be awaited again and again, `seconds` after it last ended; called once per app start."""
    _timers.append(Timer(name, seconds, callback))


async def start() -> None:
    """Show the first sign of life and start the timers; repeating is safe."""
    global loop
    if _tasks and not all(task.done() for task in _tasks):
        return
    loop = asyncio.get_running_loop()
    _tasks[:] = [
        asyncio.create_task(_repeat(timer), name=timer.name)
        for timer in (Timer("heartbeat", lambda: settings.PROCESS_LEASE_SECONDS / 4, _beat), *_timers)
    ]
    await database.run(show_life)


async def stop() -> None:
    """Stop the timers and take the row away, so that others need not wait for the lease to run out."""
    for task in _tasks:
        task.cancel()
    await asyncio.gather(*_tasks, return_exceptions=True)
    _tasks.clear()
    await database.run(Process.objects.filter(id=id).delete)


async def _repeat(timer: Timer) -> None:
    while True:
        await asyncio.sleep(timer.seconds())
        try:
            await timer.callback()
        except (InterfaceError, OperationalError) as error:  # away, or full: where in our code says nothing
            log.error(
                "timer failed", timer=timer.name, error=type(error).__name__, reason=str(error).partition("\n")[0]
            )
        except Exception as error:  # a timer outlives every failure of its callback; the next turn tries again
            log.exception("timer failed", timer=timer.name, error=type(error).__name__)


async def _beat() -> None:
    await database.run(show_life)


def show_life() -> None:
    """Store a sign of life, for others to see; raises DatabaseError when that cannot be. Repeating is safe."""
    _judge_ourselves(Process.objects.with_beats(settings.PROCESS_LEASE_SECONDS).filter(id=id))
    Process.objects.update_or_create(id=id, defaults={"host": _host(), "pid": os.getpid(), "beat_at": Now()})


def alive() -> set[str]:
    """Return the ids of the processes that may be alive: all that were heard of lately, less those known to be gone.

    A process of this very machine is known to be gone when its pid is, which spares the wait for its lease after a
    crash and a restart. After a time in which this process could not be heard of either (the database was away, or all
    were halted together) the others get the time to be heard of again.
    """
    rows = list(Process.objects.with_beats(settings.PROCESS_LEASE_SECONDS))
    _judge_ourselves(row for row in rows if row.id == id)
    lenient = time.monotonic() < _lenient_until
    others = (row for row in rows if row.id != id and (lenient or row.beats))
    return {id} | {row.id for row in others if not (row.host and row.host == _host() and _gone(row.pid))}


def _judge_ourselves(rows: Iterable[Any]) -> None:
    """Be lenient for a while if our own row, as it stands in the database, has grown old."""
    global _lenient_until
    if any(not row.steady for row in rows):
        _lenient_until = time.monotonic() + settings.PROCESS_LEASE_SECONDS / 2


def forget_dead() -> None:
    """Delete rows that nobody will ask for any more."""
    Process.objects.filter(beat_at__lt=Now() - timedelta(seconds=settings.PROCESS_LEASE_SECONDS * 100)).delete()


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no such files outside Linux: then only the lease tells
        return ""


def _gone(pid: int) -> bool:
    if pid == os.getpid():
        return True  # another row with our own pid is from before us
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
