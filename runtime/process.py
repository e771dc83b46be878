"""The serving process: its identity, its heartbeat, its timers, and which other processes are alive."""

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from runtime.executor import DatabaseExecutor
from runtime.models import Process

log = structlog.get_logger("runtime")


class ServingProcess:
    """This process and its row in the table of processes, which the others read."""

    def __init__(self, database: DatabaseExecutor) -> None:
        self._database = database
        self.id = uuid.uuid4().hex
        # The event loop that serves, for other threads that have work for it.
        self.loop: asyncio.AbstractEventLoop | None = None
        # When `store_heartbeat` last stored a heartbeat, on the monotonic clock.
        self.beat_at = float("-inf")
        # Before this time a missed heartbeat does not count as death, because this process missed its own.
        self._lenient_until = 0.0
        self.timers: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        # The callback of each timer, for commands that call some of them at once.
        self.callbacks: dict[str, Callable[[], Awaitable[object]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.every(lambda: settings.PROCESS_LEASE_SECONDS / 4, "heartbeat", lambda: database.run(self.store_heartbeat))

    def every(self, seconds: Callable[[], float], name: str, callback: Callable[[], Awaitable[object]]) -> None:
        """Await `callback` again and again while this process serves, `seconds()` after it ended."""
        self.timers[name] = partial(_repeat, seconds, name, callback)
        self.callbacks[name] = callback

    async def start(self) -> None:
        """Store the first heartbeat and start the timers. Repeating is safe."""
        if any(not task.done() for task in self._tasks):
            return
        self.loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(repeat(), name=name) for name, repeat in self.timers.items()]
        await self._database.run(self.store_heartbeat)

    async def stop(self) -> None:
        """Stop the timers and delete the row, so that others need not await the lease."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._database.run(Process.objects.filter(id=self.id).delete)

    def store_heartbeat(self) -> None:
        """Store a heartbeat; raise DatabaseError when the database cannot store it. Repeating is safe."""
        self._check_own_heartbeat(_with_liveness().filter(id=self.id))
        heartbeat = {"host": _host(), "pid": os.getpid(), "beat_at": Now()}
        Process.objects.update_or_create(id=self.id, defaults=heartbeat)
        self.beat_at = time.monotonic()

    @property
    def lacks_heartbeat(self) -> bool:
        """Whether no heartbeat was stored for half a lease, as when the database is away."""
        return time.monotonic() - self.beat_at > settings.PROCESS_LEASE_SECONDS / 2

    def count_tasks(self) -> int:
        """Return how many tasks the event loop has that have not ended."""
        return len(asyncio.all_tasks(self.loop)) if self.loop else 0

    def alive(self) -> set[str]:
        """Return the ids of the processes that may be alive.

        A process counts as alive while its heartbeat is younger than the lease. A process of this machine is dead as
        soon as its pid does not exist, so that nothing waits for the lease after a crash and a restart. When this
        process missed its own heartbeat (the database was down, or the machine was suspended), the others get half a
        lease for a new one.
        """
        rows = list(_with_liveness())
        self._check_own_heartbeat(row for row in rows if row.id == self.id)
        lenient = time.monotonic() < self._lenient_until
        others = (row for row in rows if row.id != self.id and (lenient or row.alive))
        return {self.id} | {row.id for row in others if not (row.host and row.host == _host() and _is_dead(row.pid))}

    def _check_own_heartbeat(self, rows: Iterable[Any]) -> None:
        """Be lenient for half a lease if this process's own stored heartbeat is old."""
        if any(not row.recent for row in rows):
            self._lenient_until = time.monotonic() + settings.PROCESS_LEASE_SECONDS / 2

    def delete_dead(self) -> None:
        """Delete rows of processes whose last heartbeat is a hundred leases old."""
        Process.objects.filter(beat_at__lt=Now() - timedelta(seconds=settings.PROCESS_LEASE_SECONDS * 100)).delete()


async def _repeat(seconds: Callable[[], float], name: str, callback: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(seconds())
        try:
            await callback()
        except (InterfaceError, OperationalError) as error:  # the database is down or full: a traceback adds nothing
            log.error("timer failed", timer=name, error=type(error).__name__, reason=str(error).partition("\n")[0])
        except Exception as error:  # the timer outlives every failure of its callback; the next turn tries again
            log.exception("timer failed", timer=name, error=type(error).__name__)


def _with_liveness() -> QuerySet[Any]:
    """Return all rows with `alive` (heartbeat within the lease) and `recent` (within half of it).

    The database's clock decides, because the clocks of hosts may differ.
    """
    lease = timedelta(seconds=settings.PROCESS_LEASE_SECONDS)
    return Process.objects.annotate(alive=Q(beat_at__gt=Now() - lease), recent=Q(beat_at__gt=Now() - lease / 2))


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # there are no such files outside Linux: there only the lease decides
        return ""


def _is_dead(pid: int) -> bool:
    if pid == os.getpid():
        return True  # another row with our own pid belongs to an earlier process
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
