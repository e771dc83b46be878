"""What the process does for accounts from time to time. Every deletion may run in several processes at once."""

from importlib import import_module

from django.conf import settings

from accounts import jwt, tickets
from runtime import database
from runtime.apps import runtime

TICKETS_SECONDS = 300
# Timers begin anew with the process: a whole day would never come for one that is restarted daily.
EXPIRED_SECONDS = 6 * 3600


def register() -> None:
    runtime().process.every(lambda: TICKETS_SECONDS, "tickets", prune_tickets)
    runtime().process.every(lambda: EXPIRED_SECONDS, "sessions", forget_expired)


async def prune_tickets() -> None:
    await database.run(tickets.prune)


async def forget_expired() -> None:
    """Delete expired sessions and the ids of used refresh tokens that have expired."""
    await database.run(jwt.forget_expired)
    await database.run(import_module(settings.SESSION_ENGINE).SessionStore.clear_expired)
