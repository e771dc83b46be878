"""What is thrown away in time: finished logs, push channels, old idempotency keys, rows of processes long gone.

Timers call it.
"""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from chat.channels import store
from chat.events.local import logs
from chat.models import HAS_TEXT, KEY_LIFETIME, Generation
from chat.screening import audit
from runtime import database
from runtime.apps import runtime


async def bound_logs() -> None:
    """Drop logs that nobody will replay any more."""
    logs.bound()


def prune_seconds() -> float:
    """Return how often to prune: an expired channel is replaced in due time anyway, this only gives the room back."""
    return min(60.0, max(1.0, settings.CHANNEL_RETENTION_SECONDS))


async def prune_channels() -> None:
    """Delete push channels that have had their time."""
    await database.run(store.prune)


async def expire() -> None:
    """Forget idempotency keys that are a day old, old hits of sensitive words, and processes that are long gone."""
    await database.run(_expire)


async def expire_texts() -> None:
    """Delete the texts of answers that are not kept as a conversation, once they need not be read any more."""
    await database.run(_expire_texts)


def _expire_texts() -> None:
    before = timezone.now() - timedelta(seconds=settings.CHANNEL_RETENTION_SECONDS)
    Generation.objects.filter(HAS_TEXT, finished_at__lt=before).update(content="", reasoning="")


def _expire() -> None:
    Generation.objects.filter(idempotency_key__isnull=False, created_at__lt=timezone.now() - KEY_LIFETIME).update(
        idempotency_key=None
    )
    audit.expire()
    runtime().process.forget_dead()
