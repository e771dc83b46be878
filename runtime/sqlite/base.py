"""Django's SQLite engine with a cache for the translation of placeholders (`%s` to `?`).

A prompt takes about twenty statements, always the same ones; translating them at each call was a sixth of their cost.
"""

from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

# Statements whose translation is kept: enough for prompts and most pages. `IN` lists of each length count separately.
CACHED_STATEMENTS = 1_000


@lru_cache(CACHED_STATEMENTS)
def _converted(query: str, param_names: tuple[str, ...] | None) -> str:
    convert: Any = base.SQLiteCursorWrapper.convert_query  # it does not use `self`
    return str(convert(None, query, param_names=param_names))


class Cursor(base.SQLiteCursorWrapper):
    def convert_query(self, query: str, *, param_names: list[str] | None = None) -> str:
        return _converted(query, None if param_names is None else tuple(param_names))


class DatabaseWrapper(base.DatabaseWrapper):
    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)
