"""Backups of both kinds of database: made, destroyed, restored, and refused where they would do harm."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from quotas.models import LedgerEntry
from runtime.copies import backup
from runtime.copies.contents import CopyError, figures
from runtime.models import Process
from tests import factories, servers


@pytest.fixture
def var_dir(tmp_path: Path, settings: Any) -> Path:
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()
    (settings.VAR_DIR / "secret_key").write_text("signing")
    return Path(settings.VAR_DIR)


@contextmanager
def used(url: str) -> Iterator[None]:
    """Use this database; it gets a user who has credits."""
    with servers.connected(url):
        factories.credits_for(factories.user("alice"), factories.quota("standard"), 7)
        yield


@pytest.fixture
def on_each_kind(database_url: str, var_dir: Path, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), used(database_url):
        yield


@pytest.fixture
def on_sqlite(tmp_path: Path, var_dir: Path, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), used(servers.migrated_sqlite(tmp_path)):
        yield


def command(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def credits_granted() -> list[int]:
    return list(LedgerEntry.objects.values_list("amount", flat=True))


def test_what_was_destroyed_comes_back(on_each_kind: None, tmp_path: Path, var_dir: Path) -> None:
    """A backup that is made while the service runs restores the database and the secret files after a loss."""
    folder = tmp_path / "backup"
    Process.objects.create(id="serving", host="elsewhere", pid=1)
    before = figures(connection)
    assert "tables with" in command("backup", str(folder))
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir() if path.name != backup.MANIFEST)

    Process.objects.all().delete()
    factories.credits_for(factories.user("bob"), factories.quota("later"), 5)
    (var_dir / "secret_key").write_text("another")
    assert "Restored and verified" in command("restore", str(folder), "--overwrite")
    assert figures(connection) == before
    assert credits_granted() == [7]
    assert (var_dir / "secret_key").read_text() == "signing"
    (kept,) = var_dir.glob("secret_key.before-restore-*")
    assert kept.read_text() == "another"


def test_a_lost_file_is_restored_without_a_flag(on_sqlite: None, tmp_path: Path, var_dir: Path) -> None:
    """A database that is not there is filled; without one there is no backup, and no file is left."""
    folder, file = tmp_path / "backup", Path(connection.settings_dict["NAME"])
    command("backup", str(folder))
    connection.close()
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)
    with pytest.raises(CommandError, match="cannot be made"):
        command("backup", str(tmp_path / "another"))
    assert [path.name for path in tmp_path.iterdir() if "another" in path.name] == []
    (var_dir / "secret_key").unlink()
    user = 65_534 if os.geteuid() == 0 else os.geteuid()  # the service's user, when root restores
    for place in (var_dir, file.parent):
        os.chown(place, user, -1)
    command("restore", str(folder))
    for path in (file, var_dir / "secret_key"):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (user, 0o600)
    assert credits_granted() == [7]
    assert (var_dir / "secret_key").read_text() == "signing"


def test_a_restore_is_private_from_the_first_byte(
    on_sqlite: None, tmp_path: Path, var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other users of the machine cannot read what is restored, not even before a later change of its mode."""
    folder, file = tmp_path / "backup", Path(connection.settings_dict["NAME"])
    command("backup", str(folder))
    monkeypatch.setattr(Path, "chmod", lambda _path, _mode: None)
    command("restore", str(folder), "--overwrite")
    assert [path.stat().st_mode & 0o077 for path in (file, var_dir / "secret_key")] == [0, 0]


def test_two_commands_at_once_leave_one_whole_backup(
    on_sqlite: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two commands that make the same folder, the first to end makes it, and the other one says so."""
    folder, fill = tmp_path / "new" / "backup", backup._fill

    def overtaken(unfinished: Path, *, with_secrets: bool) -> backup.Manifest:
        monkeypatch.setattr(backup, "_fill", fill)
        backup.make(folder, with_secrets=True)
        return fill(unfinished, with_secrets=with_secrets)

    monkeypatch.setattr(backup, "_fill", overtaken)
    with pytest.raises(CopyError):
        backup.make(folder, with_secrets=True)
    assert [path.name for path in folder.parent.iterdir()] == ["backup"]
    assert backup._checked(folder).figures == figures(connection)


def test_a_database_that_is_away_is_one_line(tmp_path: Path, var_dir: Path, django_db_blocker: Any) -> None:
    """Each command says so."""
    with django_db_blocker.unblock(), servers.connected("postgresql://u:p@127.0.0.1:1/x"):
        for arguments in (["backup", str(tmp_path / "backup")], ["move_database", "sqlite:///x"]):
            with pytest.raises(CommandError) as caught:
                command(*arguments)
            assert "\n" not in str(caught.value)


def test_a_restore_that_would_do_harm_is_refused(on_each_kind: None, tmp_path: Path) -> None:
    """It neither overwrites tables without a flag, nor works beside a service, nor takes a damaged backup."""
    folder = tmp_path / "backup"
    command("backup", str(folder), "--without-secrets")
    assert not (folder / "secret_key").exists()
    with pytest.raises(CommandError, match="exists"):
        command("backup", str(folder))
    with pytest.raises(CommandError, match="has tables already"):
        command("restore", str(folder))
    Process.objects.create(id="serving", host="elsewhere", pid=1)
    with pytest.raises(CommandError, match="Stop the service first"):
        command("restore", str(folder), "--overwrite")
    Process.objects.all().delete()
    (folder / backup.DATABASE[connection.vendor]).write_bytes(b"something else")
    with pytest.raises(CommandError, match="not what was backed up"):
        command("restore", str(folder), "--overwrite")
    assert credits_granted() == [7]


def changed(folder: Path, **values: Any) -> None:
    path = folder / backup.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_other_kinds_and_newer_releases_are_refused(on_sqlite: None, tmp_path: Path) -> None:
    """A backup of another kind or of a newer release, or no backup, is refused with the way out."""
    folder = tmp_path / "backup"
    with pytest.raises(CommandError, match="is not a complete backup"):
        command("restore", str(folder))
    command("backup", str(folder))
    changed(folder, migrations=["chat.9999_future"])
    with pytest.raises(CommandError, match=r"newer release, which knows chat\.9999_future"):
        command("restore", str(folder), "--overwrite")
    changed(folder, kind="postgresql")
    with pytest.raises(CommandError, match="move_database"):
        command("restore", str(folder), "--overwrite")


def test_figures_that_differ_fail(on_sqlite: None, tmp_path: Path) -> None:
    """A restore whose ledger adds up to something else fails, and leaves the database as it was."""
    folder = tmp_path / "backup"
    command("backup", str(folder))
    with closing(sqlite3.connect(folder / "database.sqlite3")) as copy, copy:
        copy.execute("UPDATE quotas_ledgerentry SET amount = 8")
    changed(folder, digests={"database.sqlite3": backup._digest(folder / "database.sqlite3")})
    with pytest.raises(CommandError, match=r"quotas_ledgerentry\.amount: 8 instead of 7"):
        command("restore", str(folder), "--overwrite")
    assert credits_granted() == [7]
