"""accounts/tickets.py and POST /api/tickets/: tickets for event streams."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from accounts import tickets
from accounts.models import ApiToken, Ticket, User

pytestmark = pytest.mark.django_db
PATH = "/api/generations/1/events/"


def redeemed(ticket: str, path: str) -> int | None:
    """Use a ticket; return its user's id, None when it is not valid."""
    row = tickets.redeem(ticket, path)
    return row.user_id if row else None


def test_a_ticket_gives_its_account_at_its_path(alice: User) -> None:
    """A ticket identifies its user at its path."""
    assert redeemed(tickets.issue(alice, PATH), PATH) == alice.pk


@pytest.mark.contract("a used or old ticket")
def test_a_ticket_works_once(alice: User) -> None:
    """A used ticket is refused."""
    ticket = tickets.issue(alice, PATH)
    redeemed(ticket, PATH)
    assert redeemed(ticket, PATH) is None


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_uses_one_succeeds(alice: User) -> None:
    """Of twenty concurrent uses of one ticket one succeeds."""
    ticket = tickets.issue(alice, PATH)

    def redeem(_hand: int) -> int | None:
        try:
            return redeemed(ticket, PATH)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as hands:
        assert sorted(hands.map(redeem, range(20)), key=bool) == [None] * 19 + [alice.pk]


@pytest.mark.contract("a used or old ticket")
def test_a_ticket_works_at_its_path_only(alice: User) -> None:
    """At another path a ticket is refused and not used up."""
    ticket = tickets.issue(alice, PATH)
    assert redeemed(ticket, "/api/generations/2/events/") is None
    assert redeemed(ticket, PATH.rstrip("/")) is None
    assert redeemed(ticket, PATH) == alice.pk


def test_a_query_and_escapes_do_not_matter(alice: User) -> None:
    """The path is compared without a query and with escapes decoded."""
    assert redeemed(tickets.issue(alice, "/sse/a%3Ab/?x=1"), "/sse/a:b/") == alice.pk


@pytest.mark.contract("a used or old ticket")
def test_a_ticket_expires_after_thirty_seconds(alice: User) -> None:
    """An expired ticket is refused."""
    lifetime = timedelta(seconds=30)
    before = timezone.now()
    ticket = tickets.issue(alice, PATH)
    assert before + lifetime <= Ticket.objects.get().expires_at <= timezone.now() + lifetime
    Ticket.objects.update(expires_at=timezone.now())
    assert redeemed(ticket, PATH) is None


@pytest.mark.parametrize("ticket", ["", "x", "\x00", "票", "x" * 100_000])
def test_an_unknown_ticket_is_refused(ticket: str, alice: User) -> None:
    """A ticket that was never issued is refused."""
    assert redeemed(ticket, PATH) is None


def test_only_a_digest_is_stored(alice: User) -> None:
    """The row contains only a digest, and tickets cannot be guessed."""
    ticket = tickets.issue(alice, PATH)
    assert len(ticket) >= 43  # 32 random bytes
    assert ticket not in str(Ticket.objects.values().get())


def test_a_ticket_ends_with_its_token(alice: User) -> None:
    """A token that a process of the previous release deleted takes its tickets along."""
    token, _secret = ApiToken.issue(alice, "program")
    ticket = tickets.issue(alice, PATH, token.pk)
    rows = ApiToken.objects.filter(pk=token.pk)
    rows._raw_delete(rows.db)  # as a process does that knows no tickets of tokens
    connections["default"].check_constraints()
    assert redeemed(ticket, PATH) is None


def test_expired_tickets_are_deleted(alice: User) -> None:
    """Housekeeping deletes expired tickets and keeps valid ones."""
    tickets.issue(alice, PATH)
    Ticket.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    fresh = tickets.issue(alice, PATH)
    tickets.delete_expired()
    assert Ticket.objects.count() == 1
    assert redeemed(fresh, PATH) == alice.pk


@pytest.mark.contract("POST /api/tickets/")
def test_the_route_issues_a_ticket(alice: User, bearer: Any) -> None:
    """POST /api/tickets/ returns 201 with the ticket and its lifetime."""
    response = bearer(alice).post("/api/tickets/", {"path": PATH}, "application/json")
    assert response.status_code == 201
    assert response.json()["expires_in"] == 30
    assert redeemed(response.json()["ticket"], PATH) == alice.pk


@pytest.mark.parametrize("body", [{}, {"path": "api/"}, {"path": "//evil"}, {"path": ["/"]}, {"path": PATH, "user": 1}])
def test_the_route_refuses_other_bodies(body: dict[str, Any], alice: User, bearer: Any) -> None:
    """A body without a path of this server is invalid_request that names the field."""
    response = bearer(alice).post("/api/tickets/", body, "application/json")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert set(response.json()["error"]["details"]) <= {"path", "user"}
