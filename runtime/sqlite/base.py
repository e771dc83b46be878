"""Django's SQLite engine, with less work for each statement.

A prompt takes about twenty statements, always the same ones. Translating their placeholders (`%s` to `?`) at each call
was a sixth of their cost, and Django's checks around a cursor and a statement cost more than SQLite itself.
"""

import sqlite3
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db.backends.sqlite3 import base, operations
from django.db.backends.utils import CursorWrapper
from django.utils.functional import cached_property

# Statements whose translation is kept: enough for prompts and most pages. `IN` lists of each length count separately.
CACHED_STATEMENTS = 1_000


@lru_cache(CACHED_STATEMENTS)
def _converted(query: str, param_names: tuple[str, ...] | None) -> str:
    convert: Any = base.SQLiteCursorWrapper.convert_query  # it does not use `self`
    return str(convert(None, query, param_names=param_names))


class Cursor(base.SQLiteCursorWrapper):
    def convert_query(self, query: str, *, param_names: list[str] | None = None) -> str:
        return _converted(query, None if param_names is None else tuple(param_names))


class Statements(CursorWrapper):
    """Django's wrapper of a cursor, which enters its context for errors only where one comes."""

    def execute(self, sql: Any, params: Any = None) -> Any:
        if self.db.execute_wrappers or self.db.needs_rollback:
            return super().execute(sql, params)
        try:
            if params is None:
                return sqlite3.Cursor.execute(self.cursor, sql)
            names = tuple(params) if isinstance(params, dict) else None
            return sqlite3.Cursor.execute(self.cursor, _converted(sql, names), params)
        except sqlite3.Error:
            with self.db.wrap_database_errors:
                raise

    def fetchone(self) -> Any:
        try:
            return self.cursor.fetchone()
        except sqlite3.Error:
            with self.db.wrap_database_errors:
                raise

    def fetchall(self) -> Any:
        try:
            return self.cursor.fetchall()
        except sqlite3.Error:
            with self.db.wrap_database_errors:
                raise

    @property
    def rowcount(self) -> int:
        return int(self.cursor.rowcount)

    def __exit__(self, *_error: object) -> None:
        self.cursor.close()


class Operations(operations.DatabaseOperations):
    def adapt_datetimefield_value(self, value: datetime | None) -> str | None:
        """Return a time as it is stored, in UTC; nearly all of ours are already."""
        if value is not None and value.tzinfo is UTC and self.connection.timezone is UTC:
            return str(value.replace(tzinfo=None))
        return super().adapt_datetimefield_value(value)


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = Operations

    @cached_property
    def _is_debug(self) -> bool:
        # Read once, because it is asked at each statement.
        return bool(settings.DEBUG)

    def get_autocommit(self) -> bool:
        return bool(super().get_autocommit() if self.connection is None else self.autocommit)

    def set_autocommit(self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False) -> None:
        """Begin a transaction or note its end; once a connection is open, this is quick.

        Transactions are begun by a statement of ours, so the driver stays in autocommit mode.
        """
        begins = not autocommit and force_begin_transaction_with_broken_autocommit
        is_open = self.connection is not None and self.connection.isolation_level is None
        if self.in_atomic_block or not is_open or not (autocommit or begins):
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
            return
        if begins:
            self._start_transaction_under_autocommit()  # type: ignore[attr-defined]
        self.autocommit = autocommit
        if autocommit and self.run_commit_hooks_on_set_autocommit_on:
            self.run_and_clear_commit_hooks()
            self.run_commit_hooks_on_set_autocommit_on = False

    def _commit(self) -> None:
        if self.connection is None or self.force_debug_cursor or self._is_debug:
            super()._commit()  # type: ignore[misc]
            return
        try:
            self.connection.commit()
        except sqlite3.Error:
            with self.wrap_database_errors:
                raise

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)

    def cursor(self) -> CursorWrapper:
        """Return a cursor; once a connection is open, this is quick."""
        if self.connection is None or self.force_debug_cursor or self._is_debug:
            return super().cursor()
        return Statements(self.connection.cursor(factory=Cursor), self)
