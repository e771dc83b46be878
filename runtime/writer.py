"""Transactions that writers share: those who wait together take one database thread and one commit.

A commit costs as much as several statements, and so does the way into a thread and back. Writers wait only while all
threads are busy, never for company. Savepoints cost two statements for each write, so they are used only when writes
fail.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    Error,
    IntegrityError,
    InternalError,
    OperationalError,
    close_old_connections,
    connections,
    transaction,
)

from runtime.executor import DatabaseExecutor
from runtime.statement_limit import cut_offs_unread, was_cut_off

P = ParamSpec("P")
R = TypeVar("R")

# Writes that share a transaction at most. All of them end when the last one does.
MOST_TOGETHER = 32
# Shared transactions with savepoints after one without, in which a write failed: all of its writes had to run again.
CAREFUL_TRANSACTIONS = 100

Order = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Write:
    """A function that waits for its transaction, and the future of its result."""

    order: Order
    function: Callable[..., Any]
    future: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result or the error of a write."""

    write: Write
    result: Any = None
    error: Exception | None = None


class Writer:
    """Runs functions that write in database threads, and commits those together that waited together."""

    def __init__(self, database: DatabaseExecutor) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: deque[Write] = deque()
        # Calls that wait for a thread. Each takes up to MOST_TOGETHER of the waiting writes.
        self._calls = 0
        # Shared transactions that will still use savepoints.
        self._careful = 0

    async def run(self, order: Order, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that writes within `transaction.atomic(savepoint=savepoint)`; return once that is committed.

        The function gets `savepoint` by name. Others may share the commit. After the failure of one, all of them run
        again, with savepoints, so that only that one fails; after a failure of the database each runs alone.
        Transactions take locks in the same `order`, which is the user's id, then 0 where the user's row is locked and
        1 elsewhere.
        """
        write = Write(order, partial(function, *args, **kwargs), asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiting.append(write)
            needs_call = len(self._waiting) > self._calls * MOST_TOGETHER
            self._calls += needs_call
        if needs_call:
            self._database.submit(self._serve_waiting).add_done_callback(self._refuse_unserved)
        return await write.future  # type: ignore[no-any-return]

    def waiting(self) -> int:
        """Return how many writes wait for a thread."""
        return len(self._waiting)

    def _serve_waiting(self) -> None:
        """Commit writes that wait, and publish their outcomes. Runs in a database thread."""
        _publish(self._commit_waiting())

    def _commit_waiting(self) -> list[Outcome]:
        """Commit writes that wait, except those whose callers have left."""
        taken = self._take(MOST_TOGETHER)
        writes = sorted((write for write in taken if not write.future.cancelled()), key=lambda write: write.order)
        if len(writes) < 2:
            return [_alone(write) for write in writes]
        if self._careful <= 0:  # below 0 once two threads have counted the last one
            if outcomes := _together(writes, savepoint=False):
                return outcomes
            self._careful = CAREFUL_TRANSACTIONS
        self._careful -= 1
        return _together(writes, savepoint=True) or [_alone(write, again=True) for write in writes]

    def _take(self, most: int | None = None) -> list[Write]:
        """Take the oldest writes that wait, all of them without `most`, for one call."""
        with self._lock:
            self._calls -= 1
            waiting = len(self._waiting)
            return [self._waiting.popleft() for _write in range(waiting if most is None else min(most, waiting))]

    def _refuse_unserved(self, call: "Future[None]") -> None:
        """Refuse what waits after a call that took nothing.

        Then the threads have ended, or got no connection.
        """
        if call.cancelled() or call.exception():
            error = OperationalError("no database thread served this write")
            _publish([Outcome(write, error=error) for write in self._take()])


def _publish(outcomes: list[Outcome]) -> None:
    """Pass outcomes to the callers' event loops, from the thread that has them."""
    for loop in {outcome.write.future.get_loop() for outcome in outcomes}:
        with suppress(RuntimeError):  # this loop is closed, so nothing waits there
            loop.call_soon_threadsafe(_settle, [each for each in outcomes if each.write.future.get_loop() is loop])


def _settle(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        future = outcome.write.future
        if future.done():
            continue  # its caller has left
        if outcome.error is None:
            future.set_result(outcome.result)
        else:
            future.set_exception(outcome.error)


def _together(writes: list[Write], *, savepoint: bool) -> list[Outcome]:
    """Run the writes in one transaction; return their outcomes after its commit.

    The list is empty when nothing is stored and they are to run again: one of them failed, or PostgreSQL ended the
    transaction because this process stood still.
    """
    stage, unread = "begin", cut_offs_unread(connections[DEFAULT_DB_ALIAS])
    try:
        with transaction.atomic():
            stage = "writes"
            outcomes = [_within(write, savepoint=savepoint) for write in writes]
            _require_commit()
            stage = "commit"
    except Exception as error:  # noqa: BLE001 - the callers get it
        if stage == "writes" or isinstance(error, IntegrityError) or _was_cut_off(error, unread):
            return []
        # The database is locked or away; or lost at the commit, so that running them again might store them twice.
        return [Outcome(write, error=error) for write in writes]
    return outcomes


def _require_commit() -> None:
    """Raise if a write without a savepoint failed, because the commit would then do nothing."""
    if transaction.get_rollback():
        raise transaction.TransactionManagementError("a write was not rolled back")


def _within(write: Write, *, savepoint: bool) -> Outcome:
    """Run a write in the transaction of all; raise what may have broken that."""
    try:
        return Outcome(write, write.function(savepoint=savepoint))
    except Exception as error:
        if not savepoint or isinstance(error, Error):
            raise
        return Outcome(write, error=error)


def _alone(write: Write, *, again: bool = False) -> Outcome:
    """Run a write in a transaction of its own."""
    unread = cut_offs_unread(connections[DEFAULT_DB_ALIAS])
    try:
        if again:
            close_old_connections()  # the connection may be what failed
        return Outcome(write, write.function(savepoint=True))
    except Exception as error:  # noqa: BLE001 - its caller gets it
        if not again and _was_cut_off(error, unread):
            return _alone(write, again=True)
        return Outcome(write, error=error)


def _was_cut_off(error: Exception, unread: int) -> bool:
    """Return whether PostgreSQL ended the transaction, so that nothing of it is stored.

    `unread` is what `cut_offs_unread` returned before it.
    """
    if isinstance(error, InternalError) and was_cut_off(error):
        return True
    return cut_offs_unread(connections[DEFAULT_DB_ALIAS]) > unread
