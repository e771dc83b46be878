"""Tickets: passes for event streams opened by code that can send neither a cookie nor a header.

Kept in the database, so that a ticket is good in every process and in one only once.
"""

import secrets
from datetime import timedelta
from urllib.parse import unquote

from django.utils import timezone

from accounts.models import Ticket, User, digest

LIFETIME_SECONDS = 30


def issue(user: User, path: str) -> str:
    """Return a new ticket for one GET of `path` by `user`; a query is cut off, escapes are resolved."""
    ticket = secrets.token_urlsafe(32)
    Ticket.objects.create(
        user=user,
        path=unquote(path.partition("?")[0]),
        digest=digest(ticket),
        expires_at=timezone.now() + timedelta(seconds=LIFETIME_SECONDS),
    )
    return ticket


def redeem(ticket: str, path: str) -> int | None:
    """Use a ticket up and return its user's id; None when it is unknown, used, old or for another path."""
    row = Ticket.objects.filter(digest=digest(ticket), expires_at__gt=timezone.now()).first()
    if row is None or row.path != path:
        return None
    # Of those who found the row at the same moment, one deletes it.
    deleted, _rows = Ticket.objects.filter(pk=row.pk).delete()
    return row.user_id if deleted else None


def prune() -> None:
    """Delete the tickets that nobody used in time."""
    Ticket.objects.filter(expires_at__lte=timezone.now()).delete()
