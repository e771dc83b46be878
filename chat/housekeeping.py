"""Deletions of expired texts, keys, hits and processes."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from chat.models import HAS_TEXT, KEY_LIFETIME, Generation
from chat.screening import audit
from runtime.apps import runtime


def expire_texts() -> None:
    """Delete the texts of generations without a conversation after their retention."""
    before = timezone.now() - timedelta(seconds=settings.CHANNEL_RETENTION_SECONDS)
    Generation.objects.filter(HAS_TEXT, finished_at__lt=before).update(content="", reasoning="")


def expire() -> None:
    """Delete old idempotency keys, old hits of sensitive words, and rows of dead processes."""
    keys = Generation.objects.filter(idempotency_key__isnull=False, created_at__lt=timezone.now() - KEY_LIFETIME)
    keys.update(idempotency_key=None)
    audit.expire()
    runtime().process.delete_dead()
