"""Timers that delete push channels, unkept texts, keys, hits and processes."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from chat.channels import store
from chat.models import HAS_TEXT, KEY_LIFETIME, Generation
from chat.screening import audit
from runtime import database
from runtime.apps import runtime


def prune_seconds() -> float:
    """Return seconds between two prunings, which only free space: use renews expired channels."""
    return min(60.0, max(1.0, settings.CHANNEL_RETENTION_SECONDS))


async def prune_channels() -> None:
    """Delete expired push channels."""
    await database.run(store.prune)


async def expire() -> None:
    """Delete old idempotency keys, old hits of sensitive words, and rows of dead processes."""
    await database.run(_expire)


async def expire_texts() -> None:
    """Delete the texts of generations without a conversation after their retention."""
    await database.run(_expire_texts)


def _expire_texts() -> None:
    before = timezone.now() - timedelta(seconds=settings.CHANNEL_RETENTION_SECONDS)
    Generation.objects.filter(HAS_TEXT, finished_at__lt=before).update(content="", reasoning="")


def _expire() -> None:
    Generation.objects.filter(idempotency_key__isnull=False, created_at__lt=timezone.now() - KEY_LIFETIME).update(
        idempotency_key=None
    )
    audit.expire()
    runtime().process.delete_dead()
