"""Sends some reads to a replica of the database.

With DATABASE_REPLICA_URL, lists of the staff read from it; nothing that decides does. A read goes to the replica once
that has all that the primary had when the read began. So staff find what they wrote, and a replica that lags or hangs
is left out.
"""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, connections

from runtime import statement_limit
from runtime.bounded_postgresql import REPLY_SECONDS

R = TypeVar("R")

log = structlog.get_logger("runtime")

ALIAS = "replica"
# Seconds to wait until the replica has what the primary has, and between two looks. A healthy one takes milliseconds.
CATCH_UP_SECONDS, LOOK_SECONDS = 0.2, 0.005
# Seconds for which a replica that was away, behind or without a reply is left out.
AWAY_SECONDS = 10.0

_reads_replica: ContextVar[bool] = ContextVar("reads_replica", default=False)


class Router:
    """Sends everything to the primary, but for reads inside `ReadReplica.read`."""

    def db_for_read(self, _model: Any, **_hints: Any) -> str:
        return ALIAS if _reads_replica.get() else DEFAULT_DB_ALIAS

    def db_for_write(self, _model: Any, **_hints: Any) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, _one: Any, _other: Any, **_hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, _app_label: str, **_hints: Any) -> bool:
        return db == DEFAULT_DB_ALIAS


class ReadReplica:
    """Whether the replica of the database may be used now."""

    def __init__(self) -> None:
        # Until this time on the monotonic clock it is left out; 0 while it is used.
        self._away_until = 0.0
        self._lock = threading.Lock()

    @property
    def exists(self) -> bool:
        """Return whether DATABASE_REPLICA_URL names one."""
        return ALIAS in connections.settings

    def read(self, function: Callable[[], R], seconds: float) -> R:
        """Return what a function reads, from the replica if that is up to date.

        A statement there takes `seconds` at most. If the replica fails, or hangs for a second more, the function is
        called again for the primary.
        """
        if not self.exists or not self._may_use():
            return function()
        replica: Any = connections[ALIAS]
        token = _reads_replica.set(True)
        replica.reply_seconds = seconds + REPLY_SECONDS
        try:
            with statement_limit.limited(seconds, ALIAS):
                return function()
        except (OperationalError, InterfaceError) as error:
            if isinstance(error, OperationalError) and statement_limit.was_interrupted(error):
                raise
            self._leave_out(error)
        finally:
            replica.reply_seconds = REPLY_SECONDS
            _reads_replica.reset(token)
        return function()

    def _may_use(self) -> bool:
        with self._lock:
            if time.monotonic() < self._away_until:
                return False
            if self._away_until:  # one caller looks whether it is back, while the others use the primary
                self._away_until = time.monotonic() + AWAY_SECONDS
        try:
            if not _has_caught_up():
                self._leave_out("it is behind, or no replica")
                return False
        except DatabaseError as error:
            self._leave_out(error)
            return False
        with self._lock:
            was_away, self._away_until = self._away_until, 0.0
        if was_away:
            log.info("replica of the database is used again")
        return True

    def _leave_out(self, reason: object) -> None:
        with self._lock:
            was_away, self._away_until = self._away_until, time.monotonic() + AWAY_SECONDS
        if not was_away:
            line = str(reason).partition("\n")[0]
            log.warning("replica of the database is left out, the primary takes its reads", reason=line)
        connections[ALIAS].close()


def _has_caught_up() -> bool:
    """Return whether the replica soon has all that the primary has stored until now."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_flush_lsn()::text")
        (place,) = cursor.fetchone()
    deadline = time.monotonic() + CATCH_UP_SECONDS
    with connections[ALIAS].cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::text::pg_lsn", [place])
            (found,) = cursor.fetchone()
            if found:
                return True
            if found is None or time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
