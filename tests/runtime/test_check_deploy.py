"""`manage.py check_deploy`: one line for each check, and an exit code."""

from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from chatproject import environment
from tests import servers

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def var_dir(tmp_path: Path, settings: Any) -> Path:
    """A folder as `setup` leaves it."""
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir(mode=0o700)
    (settings.VAR_DIR / "secret_key").touch(mode=0o600)
    return Path(settings.VAR_DIR)


def check() -> tuple[int, str]:
    """Run it; return its exit code and what it printed."""
    out = StringIO()
    try:
        call_command("check_deploy", stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_sound_deployment_has_no_error() -> None:
    """A first installation passes."""
    code, printed = check()
    assert code == 0
    assert "ok      DATABASE_URL: SQLite 3" in printed
    assert "ok      migrations: all are applied" in printed


def test_pending_migrations_are_counted() -> None:
    """They are no error, because `setup` comes next; tables of a newer release are one."""
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("quotas", "0001_initial")
    code, printed = check()
    assert (code, "warning migrations: 1 are pending" in printed) == (0, True)
    recorder.record_applied("chat", "0099_drop_needs_schema_99")
    code, printed = check()
    assert (code, "error   migrations: DATABASE_URL: a newer release" in printed) == (1, True)


def test_each_mistake_is_one_line(var_dir: Path, settings: Any) -> None:
    """Readable secrets, a proxy that is not trusted, debugging, and a Redis that is away."""
    (var_dir / "secret_key").chmod(0o644)
    settings.PUBLIC_URL, settings.TRUSTED_PROXIES, settings.DEBUG = "https://chat.example.org", [], True
    settings.REDIS_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    (var_dir / "given").touch(mode=0o644)
    settings.SECRET_FILES = environment.secret_files({"SECRET_KEY_FILE": str(var_dir / "given"), "HOST_FILE": "none"})
    code, printed = check()
    assert code == 1
    assert f"warning {var_dir / 'given'}: every user" in printed
    errors = [line.split()[1] for line in printed.splitlines() if line.startswith("error")]
    assert errors == ["DEBUG:", "VAR_DIR:", "REDIS_URL:", "TRUSTED_PROXIES:"]


def test_a_database_must_take_all_texts(postgres: servers.Postgres) -> None:
    """`setup` and the check refuse a database of the locale C, in which the first Chinese text would fail."""
    with psycopg.connect(postgres.url(), autocommit=True) as server:
        server.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    with servers.connected(postgres.url("ascii")):
        code, printed = check()
        assert code == 1
        assert "error   migrations: DATABASE_URL: the database is encoded in SQL_ASCII" in printed
        with pytest.raises(SystemExit, match="createdb --encoding UTF8 --template template0"):
            call_command("setup")


def test_servers_are_named_with_their_versions(
    postgres: servers.Postgres, redis_server: servers.Redis, settings: Any
) -> None:
    """PostgreSQL and Redis."""
    settings.REDIS_URL = redis_server.url
    with servers.connected(postgres.migrated_database()):
        code, printed = check()
    assert code == 0, printed
    assert "ok      DATABASE_URL: PostgreSQL 1" in printed
    assert "ok      REDIS_URL: Redis or Valkey " in printed
