"""Figures about a database, which each copy of it must show too."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend
from django.utils import timezone

from runtime.models import Process

# For each table the number of its rows, and by column the sum of whole numbers. The ledger's amounts are among them.
Figures = dict[str, dict[str, int]]
ROWS = "rows"
# Table, name and type of each column. Django's introspection parses the text of each table, which takes a hundred times
# longer.
_COLUMNS = {
    "sqlite": (
        "SELECT made.name, columns.name, columns.type FROM sqlite_master made, pragma_table_info(made.name) columns "
        "WHERE made.type = 'table' AND made.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY made.name"
    ),
    "postgresql": (
        "SELECT columns.table_name, column_name, data_type FROM information_schema.columns "
        "JOIN information_schema.tables USING (table_schema, table_name) "
        "WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY columns.table_name"
    ),
}
_WHOLE = {"smallint", "integer", "bigint"}
# The alias of the second database of a command.
COPY = "copy"


class CopyError(Exception):
    """A backup, a restore or a move is impossible; the message gives the reason."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a CopyError or a failing database into the one line of a command."""
    try:
        yield
    except CopyError as error:
        raise CommandError(str(error)) from error
    except DatabaseError as error:
        reason = str(error).strip().partition("\n")[0]
        raise CommandError(f"DATABASE_URL: the database cannot be used ({reason})") from error


@contextmanager
def opened(database: dict[str, Any]) -> Iterator[BaseDatabaseWrapper]:
    """Connect to a second database with these settings, as Django's `DATABASES` has them."""
    configured = connections.configure_settings({"default": database})["default"]
    with closing(load_backend(configured["ENGINE"]).DatabaseWrapper(configured, COPY)) as connection:
        connections.settings[COPY], connections[COPY] = configured, connection
        try:
            yield connection
        finally:
            del connections[COPY], connections.settings[COPY]


def figures(connection: BaseDatabaseWrapper) -> Figures:
    """Count the rows of each table, and add up its whole numbers."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL statement_timeout = 0")  # large tables take their time
        cursor.execute(_COLUMNS[connection.vendor])
        columns: dict[str, list[str]] = {}
        for table, column, kind in cursor.fetchall():
            columns.setdefault(table, []).extend([column] if kind.lower().partition(" ")[0] in _WHOLE else [])
        return {table: _of_table(connection, cursor, table, whole) for table, whole in columns.items()}


def differences(expected: Figures, found: Figures) -> list[str]:
    """Return one text for each figure that is not as expected."""
    empty: dict[str, int] = {}
    return [
        f"{table}.{name}: {found.get(table, empty).get(name)} instead of {number}"
        for table, numbers in expected.items()
        for name, number in numbers.items()
        if found.get(table, empty).get(name) != number
    ]


def migrations(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of the applied migrations, such as `chat.0001_initial`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        return sorted(f"{app}.{name}" for app, name in cursor.fetchall())


def serving_since_last_lease(connection: BaseDatabaseWrapper) -> int:
    """Return the number of processes with a heartbeat within the lease."""
    row = Process._meta
    oldest = timezone.now() - timedelta(seconds=settings.PROCESS_LEASE_SECONDS)
    with connection.cursor() as cursor:
        if row.db_table not in connection.introspection.table_names(cursor):
            return 0
        limit = connection.ops.adapt_datetimefield_value(oldest)
        cursor.execute(f"SELECT count(*) FROM {row.db_table} WHERE beat_at > %s", [limit])  # noqa: S608 - our own name
        return int(cursor.fetchone()[0])


def require_no_service(connection: BaseDatabaseWrapper) -> None:
    """Raise CopyError while a process serves from this database."""
    try:
        serving = serving_since_last_lease(connection)
    except DatabaseError:  # a damaged database is what a restore replaces
        return
    if serving:
        raise CopyError(
            f"{serving} serving process(es) use this database. Stop the service first; after a kill wait "
            f"{settings.PROCESS_LEASE_SECONDS:g} s."
        )


def _of_table(connection: BaseDatabaseWrapper, cursor: Any, table: str, whole: list[str]) -> dict[str, int]:
    quoted = connection.ops.quote_name
    sums = "".join(f", sum({quoted(name)})" for name in whole)
    cursor.execute(f"SELECT count(*){sums} FROM {quoted(table)}")  # noqa: S608 - names from the database's own catalogue
    return {name: int(value or 0) for name, value in zip([ROWS, *whole], cursor.fetchone(), strict=True)}
