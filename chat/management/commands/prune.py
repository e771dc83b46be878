"""`manage.py prune`: delete now what timers of the serving processes delete in time."""

import asyncio

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from chat.models import DraftPiece
from runtime import database
from runtime.apps import runtime

# Timers of chat/apps.py and accounts/housekeeping.py that are safe beside serving processes.
# Some delete a few rows each time.
TIMERS = (
    *("retention", "expiry", "temporary conversations", "texts", "prune push channels", "kept responses"),
    *("unused attachments", "tickets", "sessions"),
)


class Command(BaseCommand):
    help = (
        "Delete now what has passed its time: what is older than RETENTION_DAYS, expired sessions, tokens, tickets, "
        "shares, texts, attachments and channels. Safe to repeat, and while the service runs."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        if not settings.RETENTION_DAYS:
            self.stdout.write("RETENTION_DAYS is not set: conversations and generations stay.")
        before = _counts()
        try:
            asyncio.run(_prune())
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {error}") from error
        finally:
            database.close()
        after = _counts()
        for name, rows in before.items():
            if after[name] < rows:
                self.stdout.write(f"{name}: {rows - after[name]} rows deleted")


async def _prune() -> None:
    """Repeat all steps until no table has fewer rows than before."""
    shrank, before = True, await database.run(_counts)
    while shrank:
        for name in TIMERS:
            await runtime().process.callbacks[name]()
        after = await database.run(_counts)
        shrank, before = any(after[name] < rows for name, rows in before.items()), after


def _counts() -> dict[str, int]:
    # Not drafts, which serving processes delete all the time.
    models = (model for model in apps.get_models() if model is not DraftPiece)
    return {model._meta.db_table: model._default_manager.count() for model in models}
