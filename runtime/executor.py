"""Threads that use the database.

`DatabaseExecutor` serves streams and timers. On SQLite it is one thread for the whole process, so that writers queue
instead of failing with "database is locked"; on PostgreSQL it is a small pool. `ViewThreads` are the threads in which
pages and REST views run. Every thread keeps its connection.
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

# Seconds that `close` waits for a thread whose statement is running; after that the thread is abandoned.
CLOSE_SECONDS = 3.0


def database_thread_count() -> int:
    """Return how many threads may use the database through one executor."""
    return 1 if connection.vendor == "sqlite" else 8


class DatabaseExecutor:
    """Database threads of one process.

    The first call starts them, also after `close` or a fork.
    """

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0
        self._local = threading.local()

    def _running_threads(self) -> ThreadPoolExecutor:
        if self._threads is None or self._pid != os.getpid():
            self._threads = ThreadPoolExecutor(database_thread_count(), "database", initializer=self._mark_thread)
            self._pid = os.getpid()
        return self._threads

    def _mark_thread(self) -> None:
        self._local.inside = True

    def inside(self) -> bool:
        """Return whether this thread is one of these, which only wait for the database."""
        return getattr(self._local, "inside", False)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a synchronous function in a database thread. Its transaction begins and ends inside it.

        Cancelling the caller does not stop the function: use `asyncio.shield` where a later step must still happen.
        """

        def call() -> R:
            close_old_connections()
            reset_queries()
            return function(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._running_threads(), call)

    def close(self) -> None:
        """End the threads and close their connections. Repeating is safe."""
        threads, self._threads = self._threads, None
        if threads is not None:
            _close_connections(threads)


def _close_connections(executor: ThreadPoolExecutor) -> None:
    """Let every thread close its own connections, then end them all."""
    barrier = threading.Barrier(max(1, len(executor._threads)))

    def close_own() -> None:
        barrier.wait(CLOSE_SECONDS)  # without it one thread could run two of these calls, and another none
        connections.close_all()

    wait([executor.submit(close_own) for _thread in range(barrier.parties)], CLOSE_SECONDS)
    executor.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + CLOSE_SECONDS
    for thread in executor._threads:
        thread.join(max(0.0, deadline - time.monotonic()))


class ViewThreads:
    """A bounded set of threads for synchronous views.

    A request keeps its thread from beginning to end. Django alone would give each request a thread and a connection of
    its own, which on SQLite ends in locked tables.
    """

    def __init__(self, count: int) -> None:
        self._free = deque(ThreadPoolExecutor(1, thread_name_prefix="view") for _ in range(count))
        self._permits = asyncio.Semaphore(count)

    def acquire(self) -> "ViewThread":
        """Return a context manager that waits for a free thread and holds it."""
        return ViewThread(self)

    def close(self) -> None:
        for executor in self._free:
            _close_connections(executor)


class ViewThread:
    """The thread that one request holds; `sync_to_async` runs in it."""

    def __init__(self, threads: ViewThreads) -> None:
        self._threads = threads

    async def __aenter__(self) -> None:
        await self._threads._permits.acquire()
        self._executor = self._threads._free.popleft()
        context: Any = ThreadSensitiveContext(executor=self._executor)
        self._context = context
        await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._context.__aexit__(kind, error, trace)
        self._threads._free.append(self._executor)
        self._threads._permits.release()
