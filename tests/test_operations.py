"""The handbook: each `manage.py` command in docs/operations.md runs as it stands there."""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command, get_commands
from django.db import connection, connections

from accounts.models import User
from quotas.models import LedgerEntry
from runtime import database
from runtime.copies.contents import figures
from tests import factories, servers

HANDBOOK = (servers.ROOT / "docs/operations.md").read_text(encoding="utf-8")
# Commands that do not end, or ask at the terminal; other tests start them.
NOT_HERE = {"serve", "changepassword", "demo_push"}


def commands() -> list[tuple[list[str], bool]]:
    """Return the arguments of each command in a block, and whether the new address is its input."""
    blocks = re.findall(r"```sh\n(.*?)```", HANDBOOK, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if "manage.py " in line]
    return [
        (shlex.split(line.partition("manage.py ")[2], comments=True), line.startswith('echo "$NEW_DATABASE_URL" |'))
        for line in lines
    ]


@pytest.fixture
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any) -> Iterator[Path]:
    """An installation on SQLite with a group of users, and a CSV file of new ones."""
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text("username,email\nnew,new@example.org\n")
    with django_db_blocker.unblock(), servers.connected(servers.migrated_sqlite(settings.VAR_DIR)):
        database.close()  # so that its next threads connect to this database too
        monkeypatch.setitem(connections.settings, "default", connection.settings_dict)
        factories.group("Class 3", factories.user("alice"))
        yield tmp_path


def test_each_command_of_the_handbook_runs(
    folder: Path, postgres: servers.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commands, in the order of the handbook, on one installation: from setup to the move to PostgreSQL."""
    target, called = postgres.migrated_database(), []
    for arguments, is_fed in commands():
        if arguments[0] not in NOT_HERE:
            if is_fed:
                monkeypatch.setattr("sys.stdin", io.StringIO(f"{target}\n"))
            call_command(*arguments, stdout=io.StringIO(), stderr=io.StringIO())
            called.append(arguments[0])
    assert User.objects.filter(username="new").exists()
    assert LedgerEntry.objects.get().amount == 20
    assert "new,new@" not in Path("november.csv").read_text(encoding="utf-8-sig")
    with servers.connected(target):
        assert figures(connection)["quotas_ledgerentry"]["amount"] == 20
    assert called.index("setup") < called.index("check_deploy") < called.index("backup") < called.index("restore")


def test_each_command_is_in_the_handbook() -> None:
    """Our own commands, and no others of our own that do not exist."""
    labels = {app.name for app in apps.get_app_configs() if (servers.ROOT / app.name).is_dir()}
    own = {name for name, package in get_commands().items() if package in labels}
    named = set(re.findall(r"manage\.py (\w+)", HANDBOOK))
    assert own <= named
    assert named <= set(get_commands())
    assert {arguments[0] for arguments, _fed in commands()} >= own - NOT_HERE
