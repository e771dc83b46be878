"""Bound reading statements in time, interrupt one from another thread, notice what PostgreSQL ended."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, connection, connections, transaction

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic

# SQLite instructions between two looks at the clock: a few microseconds of work, unless a row holds megabytes.
INSTRUCTIONS = 1_000
# Seconds to wait for PostgreSQL's confirmation that a statement is interrupted.
CONFIRM_SECONDS = 1.0
# PostgreSQL's SQLSTATE of a statement that was interrupted or took too long.
QUERY_CANCELED = "57014"
# PostgreSQL's SQLSTATE of a connection that it ended, because its transaction had nothing to do for too long.
IDLE_TOO_LONG = "25P03"


@contextmanager
def limited(seconds: float, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Interrupt statements of this thread that take too long.

    The limit holds for each statement on PostgreSQL, for all together on SQLite.
    """
    connection = connections[using]
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        deadline = time.monotonic() + seconds
        raw = connection.connection
        raw.set_progress_handler(lambda: time.monotonic() > deadline, INSTRUCTIONS)
        try:
            yield
        finally:
            raw.set_progress_handler(None, INSTRUCTIONS)
        return
    milliseconds = str(round(seconds * 1000))
    if connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):  # behind a pooler only a transaction has settings
        with transaction.atomic(using=using), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [milliseconds])
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", [milliseconds])
    try:
        yield
    finally:
        if connection.connection is not None:
            with suppress(OperationalError), connection.cursor() as cursor:  # a lost connection keeps no setting
                cursor.execute("RESET statement_timeout")


def was_interrupted(error: OperationalError) -> bool:
    """Return whether the database ended a statement because of its time or of `Interruptible.interrupt`."""
    return str(error) == "interrupted" or getattr(error.__cause__, "sqlstate", "") == QUERY_CANCELED


def was_cut_off(error: InternalError) -> bool:
    """Return whether PostgreSQL ended the connection because this process stood still within a transaction."""
    return getattr(error.__cause__, "sqlstate", "") == IDLE_TOO_LONG


def count_cut_offs(*, connection: Any, **_signal: Any) -> None:
    """Prepare a new connection for `cut_offs_unread`; a receiver of Django's signal."""

    def note(diagnostic: "Diagnostic") -> None:
        if diagnostic.sqlstate == IDLE_TOO_LONG:
            connection.cut_offs_unread = cut_offs_unread(connection) + 1

    if connection.vendor == "postgresql":
        connection.connection.add_notice_handler(note)


def cut_offs_unread(connection: Any) -> int:
    """Return how often this thread got the error of `was_cut_off` as a notice.

    A process that stood still while it waited for a reply reads that and the error together, and libpq takes the error
    for a notice. The next statement then fails with an error that says only that the connection is lost.
    """
    return int(vars(connection).get("cut_offs_unread", 0))


class Interruptible:
    """Statements of one database thread that another thread may interrupt, before or while they run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self._interrupted = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block's statements; raise OperationalError if they were interrupted before."""
        connection.ensure_connection()
        with self._lock:
            if self._interrupted:
                raise OperationalError("interrupted")
            self._connection = connections[DEFAULT_DB_ALIAS]
        try:
            yield
        finally:
            with self._lock:  # so that no interruption reaches the thread's next statements
                self._connection = None

    def interrupt(self) -> None:
        """End the running statement, and prevent further ones. It may wait for the database."""
        with self._lock:
            self._interrupted = True
            if self._connection is None:
                return
            if self._connection.vendor == "sqlite":
                self._connection.connection.interrupt()
            else:
                with suppress(self._connection.Database.Error):
                    self._connection.connection.cancel_safe(timeout=CONFIRM_SECONDS)
