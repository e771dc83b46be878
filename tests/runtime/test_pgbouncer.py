"""The product behind PgBouncer in transaction mode, as deploy/pgbouncer.ini has it, over a unix socket."""

import re
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader

from chatproject.environment import database_from_url
from runtime import deploy_checks
from runtime.statement_limit import limited, was_interrupted
from tests import servers
from tests.pgbouncer import limit_role, pooling
from tests.product import Product, connected, text_of
from tests.upstreams import FakeOpenAI


def database_findings(url: str) -> list[tuple[str, str, str]]:
    with servers.connected(url):
        return [astuple(finding) for finding in deploy_checks._database()]


def limits_of_statements(url: str) -> list[str]:
    """Return the limit within `limited`, which a slow statement exceeds, and the one afterwards."""
    found = []
    with servers.connected(url), connection.cursor() as cursor:
        with limited(1):
            cursor.execute("SHOW statement_timeout")
            found += cursor.fetchone()
            with pytest.raises(OperationalError) as error:
                cursor.execute("SELECT pg_sleep(20)")
        assert was_interrupted(error.value)
        cursor.execute("SHOW statement_timeout")
        return [*found, *cursor.fetchone()]


def test_a_product_serves_behind_the_pooler(
    pgbouncer: None, postgres: servers.Postgres, upstream: FakeOpenAI, tmp_path: Path, django_db_blocker: Any
) -> None:
    """Setup migrates, two starts serve, and completions, searches and staff lists work with few connections."""
    url = postgres.migrated_database()
    name = url.rpartition("/")[2]
    earlier = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == "quotas")[-2]
    with django_db_blocker.unblock(), servers.connected(url):
        call_command("migrate", "quotas", earlier, verbosity=0)
    limit_role(postgres, name)
    with (
        pooling(postgres, name) as pooled,
        Product(tmp_path / "var", pooled, **connected(upstream)) as product,
    ):
        user = product.register("alice")
        completion = text_of(user.answer("through the pooler", "echo"))
        assert "through the pooler" in completion
        assert product.admin().client.get("/api/admin/credits/").status_code == 200
        assert product.stop() == 0
        product.start()
        found = user.client.get("/api/conversations/", params={"search": "pooler"}).json()["results"]
        assert [row["title"] for row in found] == ["through the pooler"]
        with django_db_blocker.unblock():
            assert [level for level, _name, _text in database_findings(pooled)] == ["ok", "ok", "ok"]
            ((level, _name, text),) = database_findings(pooled.partition("?")[0])
            assert (level, "?pooler=transaction" in text) == ("error", True)
            with servers.connected(pooled), pytest.raises(CommandError, match="leads to a pooler"):
                call_command("backup", str(tmp_path / "backup"))
            assert limits_of_statements(pooled) == ["1s", "30s"]
        assert not re.search(r'"level": ?"error"', product.output)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://u:p@db.example.org:5433/name", "db.example.org", 5433),
        ("postgresql://u@%2FVar%2Frun%2Fpostgresql/name", "/Var/run/postgresql", ""),
        ("postgresql://u@%2Frun%2Fpostgresql:6432/name", "/run/postgresql", 6432),
        ("postgresql:///name?host=/run/postgresql", "/run/postgresql", ""),
        ("postgresql://u:p@[::1]:5432/name", "::1", 5432),
    ],
)
def test_a_url_may_name_a_socket(url: str, host: str, port: object) -> None:
    """Percent-encoded or as a parameter; its case counts."""
    found = database_from_url(url)
    assert (found["HOST"], found["PORT"], found["NAME"]) == (host, port, "name")
    assert "options" in found["OPTIONS"]


def test_a_pooler_gets_no_session_state() -> None:
    """Neither time limits of the session nor prepared statements, unless the URL says that it supports these."""
    found = database_from_url("postgresql://u:p@h/name?pooler=transaction")
    assert found["DISABLE_SERVER_SIDE_CURSORS"]
    assert found["OPTIONS"].get("options") is None
    assert found["OPTIONS"]["prepare_threshold"] is None
    prepared = database_from_url("postgresql://u:p@h/name?pooler=transaction&prepare_threshold=3")
    assert prepared["OPTIONS"]["prepare_threshold"] == 3
    with pytest.raises(ValueError, match="pooler"):
        database_from_url("postgresql://u:p@h/name?pooler=session")
