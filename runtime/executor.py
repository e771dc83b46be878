"""Threads that use the database.

`DatabaseExecutor` serves streams and timers. On SQLite it is one thread for the whole process, so that writers queue
instead of failing with "database is locked"; on PostgreSQL it is a small pool. `ViewThreads` are the threads in which
pages and REST views run. Every thread keeps its connection.
"""

import asyncio
import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import ThreadSensitiveContext
from django.db import connection, connections

P = ParamSpec("P")
R = TypeVar("R")

# Seconds that `close` waits for a thread whose statement is running; after that the thread is abandoned.
CLOSE_SECONDS = 3.0


def keep_connections_by_thread() -> None:
    """Let Django find a thread's connections by `threading.local`.

    Its own place for them asks at each of the many look-ups whether an event loop runs, and has other connections
    there. None is used there: Django refuses that.
    """
    connections._connections = threading.local()  # type: ignore[attr-defined]


def database_thread_count() -> int:
    """Return how many threads may use the database through one executor."""
    return 1 if connection.vendor == "sqlite" else 8


def _tidy_connections() -> None:
    """Do with the connections of this thread what Django does for each request."""
    for own in connections.all(initialized_only=True):
        own.queries_log.clear()
        own.close_if_unusable_or_obsolete()


class DatabaseExecutor:
    """Database threads: `count` of them, or as many as the database allows.

    The first call after a start, `close` or fork makes them.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0
        self._local = threading.local()

    def inside(self) -> bool:
        """Return whether this thread is one of these, which only wait for the database."""
        return getattr(self._local, "inside", False)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a synchronous function in a database thread. Its transaction begins and ends inside it.

        Cancelling the caller does not stop the function: use `asyncio.shield` where a later step must still happen.
        """
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def waiting(self) -> int:
        """Return how many calls wait for a thread."""
        return self._threads._work_queue.qsize() if self._threads else 0

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Do the same without an event loop, and return the future of the result."""

        def call() -> R:
            _tidy_connections()
            return function(*args, **kwargs)

        if self._threads is None or self._pid != os.getpid():
            self._threads = ThreadPoolExecutor(
                self._count or database_thread_count(),
                "database",
                initializer=setattr,
                initargs=(self._local, "inside", True),
            )
            self._pid = os.getpid()
        return self._threads.submit(call)

    def close(self) -> None:
        """End the threads and close their connections. Repeating is safe."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        barrier = threading.Barrier(max(1, len(threads._threads)))

        def close_own() -> None:
            barrier.wait(CLOSE_SECONDS)  # without it one thread could run two of these calls, and another none
            connections.close_all()

        wait([threads.submit(close_own) for _thread in range(barrier.parties)], CLOSE_SECONDS)
        threads.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in threads._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class QueueFull(Exception):  # noqa: N818
    """Too many requests wait for a thread."""


class ViewThreads:
    """A bounded set of threads for synchronous views.

    A request keeps its thread from beginning to end. Django alone would give each request a thread and a connection of
    its own, which on SQLite ends in locked tables. `most_waiting` and `most_of_client` limit how many requests wait, in
    all and of one client address.
    """

    def __init__(self, count: int, most_waiting: float = math.inf, most_of_client: float = math.inf) -> None:
        self._free = deque(ThreadPoolExecutor(1, thread_name_prefix="view") for _ in range(count))
        self._permits = asyncio.Semaphore(count)
        self._most_waiting, self._most_of_client = most_waiting, most_of_client
        self._waiting: Counter[str] = Counter()

    def waiting(self) -> int:
        """Return how many requests wait for a thread."""
        return self._waiting.total()

    @asynccontextmanager
    async def acquire(self, client: str = "") -> AsyncIterator[None]:
        """Wait for a free thread and hold it: `sync_to_async` runs in it. Raises QueueFull."""
        if self._waiting.total() >= self._most_waiting or self._waiting[client] >= self._most_of_client:
            raise QueueFull
        self._waiting[client] += 1
        try:
            await self._permits.acquire()
        finally:
            self._waiting -= Counter({client: 1})
        executor = self._free.popleft()
        try:
            context: Any = ThreadSensitiveContext(executor=executor)
            async with context:
                yield
        finally:
            self._free.append(executor)
            self._permits.release()
