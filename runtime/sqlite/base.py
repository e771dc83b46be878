"""Django's SQLite engine, which here translates each statement to SQLite's placeholders once, not at each call.

A question takes about twenty statements, always the same ones; the translation was a sixth of what they cost.
"""

from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

# Those of the questions, and of most pages; a list of ids of each length is a statement of its own.
KEPT = 1_000


@lru_cache(KEPT)
def _converted(query: str, param_names: tuple[str, ...] | None) -> str:
    convert: Any = base.SQLiteCursorWrapper.convert_query  # which has no use for a cursor
    return str(convert(None, query, param_names=param_names))


class Cursor(base.SQLiteCursorWrapper):
    def convert_query(self, query: str, *, param_names: list[str] | None = None) -> str:
        return _converted(query, None if param_names is None else tuple(param_names))


class DatabaseWrapper(base.DatabaseWrapper):
    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)
