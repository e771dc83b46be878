"""Tickets for event streams that are opened by code without cookies and headers (`EventSource`).

They are stored in the database, so that a ticket works in every process, and only once.
"""

import secrets
from datetime import timedelta
from urllib.parse import unquote

from django.utils import timezone

from accounts.models import Ticket, User, digest

# Seconds a ticket is valid.
LIFETIME_SECONDS = 30


def issue(user: User, path: str) -> str:
    """Return a new ticket for one GET of `path`, whose query is ignored."""
    ticket = secrets.token_urlsafe(32)
    Ticket.objects.create(
        user=user,
        path=unquote(path.partition("?")[0]),
        digest=digest(ticket),
        expires_at=timezone.now() + timedelta(seconds=LIFETIME_SECONDS),
    )
    return ticket


def redeem(ticket: str, path: str) -> int | None:
    """Use a ticket and return its user's id; None if not valid for `path`."""
    row = Ticket.objects.filter(digest=digest(ticket), expires_at__gt=timezone.now()).first()
    if row is None or row.path != path:
        return None
    # Of several requests that read the row at the same time, one deletes it.
    deleted, _rows = Ticket.objects.filter(pk=row.pk).delete()
    return row.user_id if deleted else None


def delete_expired() -> None:
    Ticket.objects.filter(expires_at__lte=timezone.now()).delete()
