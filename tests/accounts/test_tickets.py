"""accounts/tickets.py and POST /api/tickets/: passes for event streams."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from accounts import tickets
from accounts.models import Ticket, User

pytestmark = pytest.mark.django_db
PATH = "/api/generations/1/events/"


def test_a_ticket_gives_its_account_at_its_path(alice: User) -> None:
    """A ticket gives its user, at its path."""
    assert tickets.redeem(tickets.issue(alice, PATH), PATH) == alice.pk


@pytest.mark.contract("a used or old ticket")
def test_it_is_good_once(alice: User) -> None:
    """A used ticket is worth nothing."""
    ticket = tickets.issue(alice, PATH)
    tickets.redeem(ticket, PATH)
    assert tickets.redeem(ticket, PATH) is None


@pytest.mark.django_db(transaction=True)
def test_many_hands_one_use(alice: User) -> None:
    """Of twenty that redeem one ticket at the same moment, one gets in."""
    ticket = tickets.issue(alice, PATH)

    def redeem(_hand: int) -> int | None:
        try:
            return tickets.redeem(ticket, PATH)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as hands:
        assert sorted(hands.map(redeem, range(20)), key=bool) == [None] * 19 + [alice.pk]


@pytest.mark.contract("a used or old ticket")
def test_it_is_good_at_its_path_only(alice: User) -> None:
    """At another path it is refused, and not used up by that."""
    ticket = tickets.issue(alice, PATH)
    assert tickets.redeem(ticket, "/api/generations/2/events/") is None
    assert tickets.redeem(ticket, PATH.rstrip("/")) is None
    assert tickets.redeem(ticket, PATH) == alice.pk


def test_a_query_and_escapes_do_not_matter(alice: User) -> None:
    """The path is compared as the server sees it: without a query, unescaped."""
    assert tickets.redeem(tickets.issue(alice, "/sse/a%3Ab/?x=1"), "/sse/a:b/") == alice.pk


@pytest.mark.contract("a used or old ticket")
def test_it_lives_thirty_seconds(alice: User) -> None:
    """An old ticket is refused."""
    ticket = tickets.issue(alice, PATH)
    left = Ticket.objects.get().expires_at - timezone.now()
    assert timedelta(seconds=25) < left <= timedelta(seconds=30)
    Ticket.objects.update(expires_at=timezone.now())
    assert tickets.redeem(ticket, PATH) is None


@pytest.mark.parametrize("ticket", ["", "x", "\x00", "票", "x" * 100_000])
def test_garbage_is_refused(ticket: str, alice: User) -> None:
    """What was never issued finds nobody."""
    assert tickets.redeem(ticket, PATH) is None


def test_it_is_not_stored_in_clear(alice: User) -> None:
    """The row knows a ticket by its digest only, and tickets cannot be guessed."""
    ticket = tickets.issue(alice, PATH)
    assert len(ticket) >= 43  # 32 random bytes
    assert ticket not in str(Ticket.objects.values().get())


def test_unused_ones_are_pruned(alice: User) -> None:
    """Housekeeping takes away old tickets and leaves good ones."""
    tickets.issue(alice, PATH)
    Ticket.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    fresh = tickets.issue(alice, PATH)
    tickets.delete_expired()
    assert Ticket.objects.count() == 1
    assert tickets.redeem(fresh, PATH) == alice.pk


@pytest.mark.contract("POST /api/tickets/")
def test_the_route_issues_one(alice: User, bearer: Any) -> None:
    """POST /api/tickets/ answers 201 with the ticket and its lifetime."""
    answer = bearer(alice).post("/api/tickets/", {"path": PATH}, "application/json")
    assert answer.status_code == 201
    assert answer.json()["expires_in"] == 30
    assert tickets.redeem(answer.json()["ticket"], PATH) == alice.pk


@pytest.mark.parametrize("body", [{}, {"path": "api/"}, {"path": "//evil"}, {"path": ["/"]}, {"path": PATH, "user": 1}])
def test_the_route_refuses_other_bodies(body: dict[str, Any], alice: User, bearer: Any) -> None:
    """Anything but a path of this server is invalid_request, and says which field."""
    answer = bearer(alice).post("/api/tickets/", body, "application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert set(answer.json()["error"]["details"]) <= {"path", "user"}
