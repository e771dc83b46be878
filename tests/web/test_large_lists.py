"""Lists of staff on PostgreSQL with many rows: they read few of them, and at full size take less than a second."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from chat.models import Conversation, Generation, Hit, Message
from quotas.models import LedgerEntry, RedeemCode, Reservation
from tests import factories, filling, lists, servers
from tests.staff import calling
from web import large_tables

SOAK = "SOAK" in os.environ
SIZE = filling.Size(100_000, 300_000, 1_000_000) if SOAK else filling.Size(1_000, 2_000, 6_000)
# Rows of one of these tables that a statement may read: a page, what a search finds, and where reasons are searched
# the thousand grants. The ledger has seven times as many.
LARGE = {model._meta.db_table for model in (Generation, Hit, LedgerEntry, Message, RedeemCode, Reservation)}
MOST_ROWS = 1_100
# Seconds of a whole response, on a machine that does nothing else.
MOST_SECONDS = 1.0


@pytest.fixture
def clients(postgres: servers.Postgres, django_db_blocker: Any, settings: Any) -> Iterator[tuple[Client, Client]]:
    """A superuser at the administration and at the API, of a filled database."""
    settings.ALLOWED_HOSTS = ["testserver"]
    with django_db_blocker.unblock(), servers.connected(postgres.migrated_database()):
        filling.fill(SIZE)
        root, pages = factories.user("root", is_staff=True, is_superuser=True), Client()
        pages.force_login(root)
        yield pages, calling(root)


@pytest.mark.soak
def test_lists_of_staff_read_few_rows(clients: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a large table and a rare search read few rows; at full size each list takes less than a second."""
    monkeypatch.setattr(large_tables, "COUNTED", SIZE.users // 10)  # so that small tables are estimated too
    read = {path: _rows_read(clients, path) for path in lists.large_lists()}
    assert len(read) > 20
    bound = MOST_ROWS * SIZE.users / 1_000
    assert {path: rows for path, rows in read.items() if rows > bound} == {}
    if SOAK:
        took = {path: _seconds(clients, path) for path in lists.every_list()}
        assert {path: seconds for path, seconds in took.items() if seconds > MOST_SECONDS} == {}


def _get(clients: tuple[Client, Client], path: str) -> None:
    pages, api = clients
    response = (api if path.startswith("/api/") else pages).get(path)
    # Django sends away from a further page that a small table lacks.
    lacks = "?p=" in path and response.status_code == 302 and response.headers["Location"].endswith("?e=1")
    assert lacks or response.status_code == 200, path


def _seconds(clients: tuple[Client, Client], path: str) -> float:
    began = time.perf_counter()
    _get(clients, path)
    return time.perf_counter() - began


def _rows_read(clients: tuple[Client, Client], path: str) -> float:
    """Return the most rows of a large table that a statement of this page reads."""
    statements: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        _get(clients, path)
    plans = []
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")  # few rows are read fastest one after the other
        for sql, params in statements:
            if sql.startswith("SELECT") and any(f'"{table}"' in sql for table in LARGE):
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                plans.append(cursor.fetchone()[0][0]["Plan"])
        cursor.execute("RESET enable_seqscan")
    return max(map(_most_rows, plans), default=0)


def _most_rows(plan: dict[str, Any]) -> float:
    removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    own = (plan["Actual Rows"] + removed) * plan["Actual Loops"] if plan.get("Relation Name") in LARGE else 0
    return max([own, *map(_most_rows, plan.get("Plans", ()))])


@pytest.mark.django_db
def test_searches_of_large_tables(client: Client, alice: Any, bob: Any, carol: Any) -> None:
    """Rows are found by a part of their user's name, the whole id of a generation, and a part of a grant's reason."""
    quota = factories.quota("standard")
    values = {"quota": quota, "source": "credit"}
    LedgerEntry.objects.create(user=alice, amount=5, reason="Gift of spring", **values)
    LedgerEntry.objects.create(user=bob, amount=-1, reason="stop", reference="f" * 32, **values)
    client.force_login(carol)
    for text, shown in {"ali": "alice", "SPRING": "alice", "f" * 32: "bob", "bob@example.org": "bob"}.items():
        page = client.get(lists.changelist(LedgerEntry), {"q": text}).content.decode()
        assert f">{shown}</a></td>" in page or f">{shown}<" in page, text
        assert page.count('class="action-select"') + page.count("field-amount") == 1
    for text in ("stop", "f" * 31, "nothing"):
        assert "field-amount" not in client.get(lists.changelist(LedgerEntry), {"q": text}).content.decode()
    Conversation.objects.create(user=alice, title="Tides")
    found = client.get(lists.changelist(Conversation), {"q": "tide"}).content.decode()
    assert "Tides" in found
    assert client.get(lists.changelist(Hit), {"q": "9" * 30}).status_code == 200


@pytest.mark.django_db
def test_lists_of_the_staff_api_have_pages(carol: Any) -> None:
    """`limit` bounds a list, `Link` leads through all of it, and `search` finds what the administration finds."""
    names = [f"page{number}" for number in range(5)]
    for name in names:
        factories.user(name, password=None)
    staff, address, found = calling(carol), "/api/admin/users/?limit=2&search=page", []
    while address:
        response = staff.get(address)
        found += [row["username"] for row in response.json()]
        link = response.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        address = link.removeprefix("<http://testserver").partition(">")[0]
    assert found == names
    assert [row["username"] for row in staff.get("/api/admin/users/?search=page3").json()] == ["page3"]
    grants = [_grant(name) for name in names]
    first = staff.get("/api/admin/credits/?limit=3")
    rest = staff.get(first.headers["Link"].removeprefix("<http://testserver").partition(">")[0])
    assert [row["id"] for row in first.json() + rest.json()] == grants[::-1], "the newest first"
    for query in ("limit=0", "limit=2001", "cursor=x", "limit=1e3", f"search={'x' * 101}"):
        assert staff.get(f"/api/admin/users/?{query}").status_code == 400, query


def _grant(name: str) -> int:
    quota = factories.Quota.objects.filter(slug="standard").first() or factories.quota("standard")
    user = factories.get_user_model().objects.get(username=name)
    row = LedgerEntry.objects.create(user=user, quota=quota, amount=1, source="credit", reason="gift")
    return int(row.pk)
