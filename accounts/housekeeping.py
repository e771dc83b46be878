"""Periodic deletions of expired rows; several processes may run them at once."""

from functools import partial
from importlib import import_module

from django.conf import settings

from accounts import guests, jwt, page_texts, tickets, token_limits, token_usage
from accounts.apps import accounts
from accounts.audit import retention
from runtime import database
from runtime.apps import runtime

# Seconds between two deletions of expired tickets.
TICKETS_SECONDS = 300
# Seconds between two deletions of old audit entries, each of at most `retention.SLICE` rows.
AUDIT_SECONDS = 300
# Seconds between two deletions of expired sessions and tokens. Under a day, because timers restart with the process.
SESSIONS_SECONDS = 6 * 3600


def register() -> None:
    runtime().process.every(lambda: TICKETS_SECONDS, "tickets", delete_expired_tickets)
    runtime().process.every(lambda: SESSIONS_SECONDS, "sessions", delete_expired_sessions)
    runtime().process.every(lambda: guests.DELETION_SECONDS, "guests", guests.delete_old)
    runtime().process.every(lambda: page_texts.SECONDS, "texts of pages", look_for_page_texts)
    runtime().process.every(lambda: AUDIT_SECONDS, "audit", partial(database.run, retention.delete_old))


async def look_for_page_texts() -> None:
    await database.run(accounts().page_texts.current)


async def delete_expired_tickets() -> None:
    await database.run(tickets.delete_expired)
    await database.run(token_limits.delete_old)


async def delete_expired_sessions() -> None:
    """Delete expired sessions, expired ids of used refresh tokens, and old usage of tokens."""
    await database.run(jwt.delete_expired)
    await database.run(token_usage.delete_old)
    await database.run(import_module(settings.SESSION_ENGINE).SessionStore.clear_expired)
