"""Tickets for event streams that are opened by code without cookies and headers (`EventSource`).

They are stored in the database, so that a ticket works in every process, and only once.
"""

import secrets
from datetime import timedelta
from urllib.parse import unquote

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Ticket, User, digest, queue_writes
from web.refusals import TooManyRequests

# Seconds a ticket is valid.
LIFETIME_SECONDS = 30
# Unused tickets that one user may have; a further one is refused with 429.
MOST_UNUSED = 100


def issue(user: User, path: str, token_id: int | None = None) -> str:
    """Return a new ticket for one GET of `path`, whose query is ignored.

    Raises TooManyRequests when the user has too many unused ones.
    """
    ticket = secrets.token_urlsafe(32)
    now, own = timezone.now(), Ticket.objects.filter(user=user)
    with transaction.atomic():
        queue_writes(user.pk)
        own.filter(expires_at__lte=now).delete()
        if own.count() >= MOST_UNUSED:
            raise TooManyRequests(_("You have too many unused tickets."), retry_after=LIFETIME_SECONDS)
        own.create(
            user=user,
            token_id=token_id,
            path=unquote(path.partition("?")[0]),
            digest=digest(ticket),
            expires_at=now + timedelta(seconds=LIFETIME_SECONDS),
        )
    return ticket


def redeem(ticket: str, path: str) -> Ticket | None:
    """Use a ticket and return it; None if not valid for `path`."""
    row = (
        Ticket.objects.select_related("user", "token")
        .filter(digest=digest(ticket), expires_at__gt=timezone.now())
        .first()
    )
    if row is None or row.path != path or (row.token_id and row.token is None):  # such a token was deleted
        return None
    # Of several requests that read the row at the same time, one deletes it.
    deleted, _rows = Ticket.objects.filter(pk=row.pk).delete()
    return row if deleted else None


def delete_expired() -> None:
    Ticket.objects.filter(expires_at__lte=timezone.now()).delete()
