"""accounts/housekeeping.py: the periodic deletion of expired rows."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts import housekeeping, tickets
from accounts.models import Ticket, User
from runtime import database
from runtime.apps import runtime


@pytest.mark.django_db(transaction=True)
async def test_expired_sessions_and_tickets_are_deleted(alice: User) -> None:
    """Expired sessions and tickets are deleted, valid ones stay."""
    try:
        await database.run(_create_sessions_and_tickets, alice)
        await housekeeping.delete_expired_tickets()
        await housekeeping.delete_expired_sessions()
        assert await database.run(Ticket.objects.count) == 1
        assert await database.run(Session.objects.count) == 1
    finally:
        database.close()


def _create_sessions_and_tickets(user: User) -> None:
    for _time in range(2):
        Client().force_login(user)
        tickets.issue(user, "/sse/x/")
    past = timezone.now() - timedelta(seconds=1)
    Session.objects.filter(pk=Session.objects.values_list("pk").first()[0]).update(expire_date=past)  # type: ignore[index]
    Ticket.objects.filter(pk=Ticket.objects.values_list("pk").first()[0]).update(expires_at=past)  # type: ignore[index]


def test_both_deletions_are_timers() -> None:
    """Both deletions are among the timers that `serve` starts."""
    assert {"tickets", "sessions"} <= runtime().process.timers.keys()
