"""Migrations beside serving processes: one start at a time, and without holding up readers.

A statement that changes a table waits until other transactions have left it, for example a backup. PostgreSQL lets all
later readers wait behind it. So each migration gives up after a moment and is tried again.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from runtime import schema
from runtime.copies.postgresql import is_pooled

# The key of PostgreSQL's advisory lock: an arbitrary constant.
ADVISORY_LOCK = 7_481_265_018
# Seconds between two attempts to take it, or to get a table; for a table they double, up to the second figure, because
# each attempt reads all migrations.
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.2, 5.0
# Milliseconds that a migration waits for a table, and others behind it.
TABLE_MS = 200
# PostgreSQL's SQLSTATEs of a lock that did not come in time, and of a deadlock.
TRY_AGAIN = {"55P03", "40P01"}


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for other starts: a file lock on this machine, an advisory lock across machines."""
    with (settings.VAR_DIR / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if connection.vendor != "postgresql":
            yield
            return
        # In a transaction of a second connection: behind a pooler only a transaction keeps its server connection.
        holder = connection.copy()
        try:
            # Tried again and again, because a statement that waits keeps PostgreSQL from building an index meanwhile.
            while not _took_lock(holder):
                time.sleep(RETRY_SECONDS)
            yield
        finally:
            holder.close()  # rolls back, which gives the lock back


def migrate(seconds: float, waiting: Callable[[], None]) -> None:
    """Apply pending migrations; try again for so many seconds while a table is in use.

    Calls `waiting` before the second attempt. Raises IncompatibleSchemaError, and OperationalError when a
    table stays in use.
    """
    state = schema.state()
    state.require_known()
    if not state.pending:
        return
    if connection.vendor != "postgresql":
        call_command("migrate", interactive=False, verbosity=0)
        return
    deadline, pause = time.monotonic() + seconds, RETRY_SECONDS
    while True:
        try:
            with _for_migrations():
                call_command("migrate", interactive=False, verbosity=0)
            return
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") not in TRY_AGAIN or time.monotonic() > deadline:
                raise
        if pause == RETRY_SECONDS:
            waiting()
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_RETRY_SECONDS)


@contextmanager
def _for_migrations() -> Iterator[None]:
    """Let each migration take its time, but not wait for tables."""
    ours = connection.SchemaEditorClass

    class Impatient(ours):  # type: ignore[misc, valid-type]
        def __enter__(self) -> Self:
            editor: Any = super().__enter__()
            if self.atomic_migration:
                with self.connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = {TABLE_MS}")
                    cursor.execute("SET LOCAL statement_timeout = 0")
                    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            return cast("Self", editor)

    if not is_pooled():
        # For those without a transaction, which build indexes and let readers and writers pass.
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SET lock_timeout = 0")
    connection.SchemaEditorClass = cast("type[BaseDatabaseSchemaEditor]", Impatient)
    try:
        yield
    finally:
        connection.SchemaEditorClass = ours
        connection.close()  # the next connection has its own limits again


def _took_lock(holder: BaseDatabaseWrapper) -> bool:
    holder.set_autocommit(False)
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        if cursor.fetchone()[0]:
            # It also ends the query before, whose snapshot would keep PostgreSQL from building an index.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            return True
    holder.rollback()
    return False
