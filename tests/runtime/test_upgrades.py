"""Upgrades: what refuses to start on which tables, and migrations that stay out of the way of others."""

import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from runtime import migrating, schema
from runtime.schema import IncompatibleSchemaError
from tests import servers
from tests.product import Product

BREAKING = f"0099_drop_revision_needs_schema_{schema.SCHEMA + 1}"


@pytest.mark.django_db
def test_an_older_release_knows_whether_it_can_run() -> None:
    """It ignores additions of a newer release, and refuses once something that it uses was removed."""
    schema.require_current()
    recorder = MigrationRecorder(connection)
    recorder.record_applied("chat", "0098_addition")
    recorder.record_applied("chat", f"0098_drop_other_needs_schema_{schema.SCHEMA}")
    schema.require_current()
    recorder.record_applied("chat", BREAKING)
    with pytest.raises(IncompatibleSchemaError, match="a newer release has changed the tables"):
        schema.require_current()
    with pytest.raises(SystemExit, match="Install that release"):
        call_command("setup")


@pytest.mark.django_db
def test_a_newer_release_asks_for_setup() -> None:
    """Until its own migrations are applied."""
    MigrationRecorder(connection).record_unapplied("quotas", "0001_initial")
    with pytest.raises(IncompatibleSchemaError, match=r"lack 1 migrations of this release\. Run `manage\.py setup`"):
        schema.require_current()


def test_no_migration_needs_more_than_this_release_has() -> None:
    """A release can live with its own migrations."""
    found = [schema.NEEDS.search(name) for _app, name in MigrationLoader(None).disk_migrations]
    assert all(int(needed[1]) <= schema.SCHEMA for needed in found if needed)


# Migrations that change rows in many short transactions.
IN_BATCHES = {"0007_fill_username_skeletons"}


def test_only_indexes_change_without_a_transaction() -> None:
    """Because such a migration waits for tables without a limit, it must let readers and writers pass."""
    folders = {app.path for app in apps.get_app_configs()}
    for migration in MigrationLoader(None).disk_migrations.values():
        path = Path(sys.modules[type(migration).__module__].__file__ or "")
        if (
            not migration.atomic
            and migration.name not in IN_BATCHES
            and str(path.parent.parent) in folders
            and servers.ROOT in path.parents
        ):
            names = {type(operation).__name__ for operation in migration.operations}
            assert names <= {"AddIndexWhileInUse", "DropIndexWhileInUse"}, path


@pytest.mark.server
def test_serving_refuses_with_one_line(tmp_path: Path) -> None:
    """The line says what to do, and the exit code is not 0."""
    servers.migrated_sqlite(tmp_path)
    product = Product(tmp_path)
    product.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('chat', ?, '2026-01-01')", BREAKING)
    done = product.manage("serve")
    (line,) = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode
    assert "a newer release has changed the tables" in line


def test_a_migration_waits_without_holding_up_readers(
    postgres: servers.Postgres, tmp_path: Path, settings: Any, django_db_blocker: Any
) -> None:
    """While a backup reads the tables, others read them too, and another start waits its turn."""
    settings.VAR_DIR, url = tmp_path, postgres.migrated_database()
    migrations = {name: row for (app, name), row in MigrationLoader(None).disk_migrations.items() if app == "quotas"}
    names = sorted(migrations)
    # The newest one that changes a table; those that build indexes let readers and writers pass.
    changing = max(name for name, row in migrations.items() if row.atomic)
    happened: list[str] = []
    with django_db_blocker.unblock(), servers.connected(url), psycopg.connect(url) as backup:
        call_command("migrate", "quotas", names[names.index(changing) - 1], verbosity=0)
        tables = [name for name in connection.introspection.table_names() if name.startswith("quotas_")]
        backup.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE")

        def waiting() -> None:
            with psycopg.connect(url, options="-c statement_timeout=20000") as other:
                for table in tables:
                    other.execute(f"SELECT count(*) FROM {table}")
                taken = other.execute("SELECT pg_try_advisory_lock(%s)", [migrating.ADVISORY_LOCK]).fetchone()
                happened.append(f"another start took the lock: {taken}")
            backup.commit()

        with migrating.one_at_a_time():
            migrating.migrate(60, waiting)
        assert happened == ["another start took the lock: (False,)"]
        schema.require_current()
        with psycopg.connect(url) as other:
            taken = other.execute("SELECT pg_try_advisory_lock(%s)", [migrating.ADVISORY_LOCK]).fetchone()
        assert taken == (True,)
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("30s",)
