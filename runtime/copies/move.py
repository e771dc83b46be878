"""Move all rows from SQLite to an empty PostgreSQL database, and verify them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import DatabaseError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from runtime.copies.contents import COPY, CopyError, Figures, differences, figures, opened, require_no_service
from runtime.database_url import database_from_url

MIGRATIONS = "django_migrations"
# Tables in which migrating leaves rows; those of the source replace them.
FILLED_BY_MIGRATING = {
    *(MIGRATIONS, "django_content_type", "auth_permission"),
    *("auth_group", "auth_group_permissions"),  # the group of auditors
}


def move(url: str, report: Callable[[str], None]) -> Figures:
    """Copy every row into the database of this URL; return the figures of both.

    The rows come in one transaction, so that a failure leaves none. The source stays as it is. Raises CopyError.
    """
    try:
        database = database_from_url(url)
    except ValueError as error:
        raise CopyError("The target is not a postgresql://user:password@host:port/name URL") from error
    if connection.vendor != "sqlite" or "postgresql" not in database["ENGINE"]:
        raise CopyError("This moves the SQLite database that is in use now to a PostgreSQL database.")
    if _pending(connection):
        raise CopyError("Migrations are pending. Run `manage.py setup` with the SQLite database first.")
    require_no_service(connection)
    # Long statements are allowed here.
    database["OPTIONS"] = {**database["OPTIONS"], "options": "-c lock_timeout=15000"}
    try:
        with opened(database) as target:
            _require_empty(target)
            report("Making the tables")
            call_command("migrate", database=COPY, interactive=False, verbosity=0)
            with _source() as source:
                return _copy(source, target, report)
    except (DatabaseError, psycopg.Error, sqlite3.Error) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CopyError(f"The target cannot take the rows: {reason or type(error).__name__}") from error


def _pending(database: BaseDatabaseWrapper) -> bool:
    executor = MigrationExecutor(database)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _require_empty(target: BaseDatabaseWrapper) -> None:
    """Raise CopyError when a table has rows that migrating does not leave."""
    names = set(target.introspection.table_names())
    if unknown := names - _tables() - FILLED_BY_MIGRATING:
        raise CopyError(f"The target is not empty: it has the table {min(unknown)}.")
    quoted = target.ops.quote_name
    with target.cursor() as cursor:
        for name in sorted(names - FILLED_BY_MIGRATING):
            cursor.execute(f"SELECT EXISTS (SELECT FROM {quoted(name)})")  # noqa: S608 - from the catalogue
            if cursor.fetchone()[0]:
                raise CopyError(f"The target is not empty: its table {name} has rows.")


def _tables() -> set[str]:
    return {model._meta.db_table for model in apps.get_models(include_auto_created=True)}


@contextmanager
def _source() -> Iterator[sqlite3.Connection]:
    """Open the file for reading, in one transaction, with values as SQLite stores them."""
    place = Path(connection.settings_dict["NAME"]).absolute().as_uri()
    with closing(sqlite3.connect(f"{place}?mode=ro", uri=True, isolation_level=None)) as source:
        source.execute("BEGIN")
        yield source


def _copy(source: sqlite3.Connection, target: BaseDatabaseWrapper, report: Callable[[str], None]) -> Figures:
    expected = {name: numbers for name, numbers in figures(connection).items() if name != MIGRATIONS}
    quoted = target.ops.quote_name
    with transaction.atomic(using=COPY), target.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")  # of the times in SQLite's texts
        cursor.execute(f"TRUNCATE {', '.join(map(quoted, expected))} CASCADE")
        for name, numbers in expected.items():
            report(f"{name}: {numbers['rows']} rows")
            _copy_table(source, cursor, quoted, name)
        for statement in target.ops.sequence_reset_sql(no_style(), apps.get_models(include_auto_created=True)):
            cursor.execute(statement)
        found = figures(target)
        if differing := differences(expected, found):
            raise CopyError(f"The target differs, so nothing was moved: {'; '.join(differing[:5])}")
    with target.cursor() as cursor:
        cursor.execute("ANALYZE")
    return expected


def _copy_table(source: sqlite3.Connection, cursor: Any, quoted: Callable[[str], str], table: str) -> None:
    """Copy a table's rows as texts, which PostgreSQL reads as the types of its columns."""
    rows = source.execute(f"SELECT * FROM {quoted(table)}")  # noqa: S608 - a name from the catalogue
    columns = ", ".join(quoted(column[0]) for column in rows.description)
    try:
        with cursor.copy(f"COPY {quoted(table)} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise CopyError(f"The target refuses a row of {table}: {str(error).partition(chr(10))[0]}") from error
