"""Lists and searches of the admin and of the staff API are bounded too."""

import time
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test import Client

from accounts.models import User
from chatproject import middleware
from runtime.statement_limit import limited, was_interrupted
from tests import servers

# A statement that takes minutes.
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) FROM n"


@pytest.fixture
def staff(client: Client, carol: User) -> Client:
    client.force_login(carol)
    return client


def test_a_statement_over_the_limit_is_interrupted(database_url: str, django_db_blocker: Any) -> None:
    """A statement that takes too long ends soon after the limit; the connection's next one has no limit."""
    with django_db_blocker.unblock(), servers.connected(database_url), connections["default"].cursor() as cursor:
        started = time.monotonic()
        with limited(0.1), pytest.raises(OperationalError) as error:
            cursor.execute(ENDLESS)
        assert was_interrupted(error.value)
        assert time.monotonic() - started < 60
        cursor.execute(ENDLESS.replace("1000000000", "100000"))
        assert cursor.fetchone() == (100_000,)


def test_a_slow_list_is_refused_with_a_clear_page(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin's list is 503 and says what to do; the next request is served."""
    monkeypatch.setattr(middleware, "STAFF_READ_SECONDS", 0.0)
    monkeypatch.setattr("runtime.statement_limit.INSTRUCTIONS", 1)
    response = staff.get("/admin/accounts/user/?q=a", headers={"Accept-Language": "en"})
    assert response.status_code == 503
    assert "Please search for less" in response.content.decode()
    monkeypatch.undo()
    assert staff.get("/admin/accounts/user/?q=a").status_code == 200


def test_a_slow_staff_list_is_service_unavailable(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of the staff API is 503 `service_unavailable` with `Retry-After`."""
    monkeypatch.setattr(middleware, "STAFF_READ_SECONDS", 0.0)
    monkeypatch.setattr("runtime.statement_limit.INSTRUCTIONS", 1)
    response = staff.get("/api/admin/users/", headers={"Accept-Language": "en"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "service_unavailable")
    assert "narrow down" in response.json()["error"]["message"]
    assert response["Retry-After"]


@pytest.mark.parametrize("table", ["accounts/user", "chat/conversation", "chat/generation", "quotas/ledgerentry"])
def test_a_long_search_is_refused_with_a_message(staff: Client, table: str) -> None:
    """A search of more than 100 characters is not run: the page shows a message instead of a result."""
    page = staff.get(f"/admin/{table}/", {"q": "x" * 101}, headers={"Accept-Language": "en"})
    assert page.status_code == 200
    assert "at most 100 characters" in page.content.decode()
    assert "at most 100" not in staff.get(f"/admin/{table}/", {"q": "x" * 100}).content.decode()
