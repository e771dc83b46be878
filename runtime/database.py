"""The doors between the event loop and the database.

`run` is the door of streams and timers: on SQLite one thread for the whole process, so that writers queue instead of
locking each other out; on PostgreSQL a small pool. `Lanes` bounds the threads in which pages and REST views run.
Every thread keeps its connection.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import ThreadSensitiveContext
from django.db import close_old_connections, connection, connections, reset_queries

P = ParamSpec("P")
R = TypeVar("R")

# A thread that does not come back from the database by then is left behind.
CLOSE_SECONDS = 3.0

_door: ThreadPoolExecutor | None = None
_door_pid = 0
_here = threading.local()


def threads() -> int:
    """Return how many threads may speak to the database through one door."""
    return 1 if connection.vendor == "sqlite" else 8


def _executor() -> ThreadPoolExecutor:
    global _door, _door_pid
    if _door is None or _door_pid != os.getpid():
        _door = ThreadPoolExecutor(threads(), thread_name_prefix="database", initializer=_enter)
        _door_pid = os.getpid()
    return _door


def _enter() -> None:
    _here.inside = True


def inside() -> bool:
    """Whether this thread is one behind the door: it waits for the database and for nothing else."""
    return getattr(_here, "inside", False)


async def run(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a synchronous function of ours in a database thread; its transaction, if any, begins and ends inside it.

    A caller that is cancelled meanwhile does not stop the function: shield what must be followed by something.
    """

    def call() -> R:
        close_old_connections()
        reset_queries()
        return function(*args, **kwargs)

    return await asyncio.get_running_loop().run_in_executor(_executor(), call)


def close() -> None:
    """Close the door and its connections, when nothing will pass it any more. Repeating is safe."""
    global _door
    door, _door = _door, None
    if door is not None:
        _close_connections(door)


def _close_connections(executor: ThreadPoolExecutor) -> None:
    """Let every thread close its own connections, then end them all."""
    everybody = threading.Barrier(max(1, len(executor._threads)))

    def close_own() -> None:
        everybody.wait(CLOSE_SECONDS)  # or one thread could take two of these and another none
        connections.close_all()

    wait([executor.submit(close_own) for _thread in range(everybody.parties)], CLOSE_SECONDS)
    executor.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + CLOSE_SECONDS
    for thread in executor._threads:
        thread.join(max(0.0, deadline - time.monotonic()))


class Lanes:
    """A bounded set of threads for synchronous views; a request keeps its lane from beginning to end.

    Django alone would give each request a thread and a connection of its own, which on SQLite ends in locked tables.
    """

    def __init__(self, count: int) -> None:
        self._free = deque(ThreadPoolExecutor(1, thread_name_prefix="lane") for _ in range(count))
        self._turns = asyncio.Semaphore(count)

    def take(self) -> "Lane":
        return Lane(self)

    def close(self) -> None:
        for executor in self._free:
            _close_connections(executor)


class Lane:
    """One request's hold on a thread."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def __aenter__(self) -> None:
        await self._lanes._turns.acquire()
        self._executor = self._lanes._free.popleft()
        context: Any = ThreadSensitiveContext(executor=self._executor)
        self._context = context
        await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._context.__aexit__(kind, error, trace)
        self._lanes._free.append(self._executor)
        self._lanes._turns.release()
