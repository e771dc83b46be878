"""Dump and restore a PostgreSQL database with PostgreSQL's own programs."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from psycopg import pq
from psycopg.conninfo import make_conninfo

from runtime.copies.contents import CopyError, Figures, figures, migrations

# Everything that the dump brings back. In one transaction with it, so that a failure leaves the old tables.
DROP_ALL = """
SET lock_timeout = '15s';
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE 'DROP TABLE ' || name || ' CASCADE';
    END LOOP;
    -- Functions of triggers, such as the one that keeps the audit, but not those of extensions.
    FOR name IN SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND prorettype = 'trigger'::regtype
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') LOOP
        EXECUTE 'DROP FUNCTION ' || name;
    END LOOP;
END $$;
"""


def dump(path: Path) -> tuple[Figures, list[str]]:
    """Dump the database into a file; return the figures and migrations of the same moment."""
    require_no_pooler()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # This transaction waits while pg_dump reads what it sees.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        snapshot = cursor.fetchone()[0]
        found, applied = figures(connection), migrations(connection)
        options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={path}"]
        with _address() as address:
            _run("pg_dump", [*options, address])
    return found, applied


def restore(path: Path) -> None:
    """Replace all tables by those of a dump, in one transaction."""
    require_no_pooler()
    connection.close()  # it would keep its locks
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.VAR_DIR) as folder, _address() as address:
        script = Path(folder, "restore.sql")
        _run("pg_restore", ["--no-owner", "--no-privileges", f"--file={script}", str(path)])
        options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
        _run("psql", [*options, f"--command={DROP_ALL}", f"--file={script}", address])


def require_no_pooler() -> None:
    """Raise CopyError when a pooler stands before the server."""
    if is_pooled():
        raise CopyError(
            "DATABASE_URL leads to a pooler, which cannot pass a dump on. Run this command with the address of "
            "PostgreSQL itself in DATABASE_URL."
        )


def is_pooled() -> bool:
    """Return whether a pooler stands before the server.

    A pooler makes up the process number of a connection, and the server has another one.
    """
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return bool(cursor.fetchone()[0] != connection.connection.info.backend_pid)


def _run(program: str, arguments: list[str]) -> None:
    """Run one of PostgreSQL's programs; raise CopyError with its first complaint."""
    path = shutil.which(program)
    if path is None:
        raise CopyError(f"{program} is not installed. On Debian: apt-get install postgresql-client")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise CopyError(f"{program} failed: {(lines or ['no reason given'])[0].strip()}")


@contextmanager
def _address() -> Iterator[str]:
    """Yield the address of the database for a program, without our time limits.

    The password is in a file, because other users of this machine can read arguments.
    """
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    given = {name: value for name, value in connection.get_connection_params().items() if name in known}
    password = given.pop("password", "")
    with tempfile.NamedTemporaryFile("w", prefix=".pgpass-", dir=settings.VAR_DIR) as file:
        file.write("*:*:*:*:" + re.sub(r"([\\:])", r"\\\1", password) + "\n")
        file.flush()
        yield "--dbname=" + make_conninfo(**{**given, "options": "", **({"passfile": file.name} if password else {})})
