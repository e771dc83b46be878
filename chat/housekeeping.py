"""Deletions of expired texts, keys, shares, hits and processes, and recounts of stored bytes."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from chat import storage
from chat.models import HAS_TEXT, KEY_LIFETIME, Conversation, Generation, Message, Share, StorageUse
from chat.screening import audit
from runtime import database
from runtime.apps import runtime

# The age of a user's count of stored bytes at which it is made again: it is exact, except while an older release runs.
RECOUNT_AFTER = timedelta(days=1)
# How long after its last message a temporary conversation is kept.
TEMPORARY_LIFETIME = timedelta(days=1)
# Temporary conversations deleted at one time, so that others do not wait long for the database thread.
EXPIRED_AT_ONCE = 50
# Users whose bytes are counted at one time, so that others do not wait long for the database thread.
RECOUNTED_AT_ONCE = 5


def expire_texts() -> None:
    """Delete the texts of generations without a conversation after their retention."""
    before = timezone.now() - timedelta(seconds=settings.CHANNEL_RETENTION_SECONDS)
    expired = Generation.objects.filter(HAS_TEXT, finished_at__lt=before)
    for user_id in sorted(set(expired.values_list("user_id", flat=True))):
        with transaction.atomic():
            storage.lock(user_id)
            rows = expired.owned_by(user_id)
            storage.add(user_id, "unkept", -rows.stored_bytes())
            rows.update(content="", reasoning="", sources="")


async def recount_storage() -> None:
    """Count again what users keep, those first whose last count is the oldest."""
    for user_id in await database.run(_users_to_recount):
        await database.run(StorageUse.recount, user_id)


def _users_to_recount() -> list[int]:
    due = StorageUse.objects.filter(recounted_at__lt=timezone.now() - RECOUNT_AFTER).order_by("recounted_at")
    return list(due.values_list("user_id", flat=True)[:RECOUNTED_AT_ONCE])


def expire_temporary() -> None:
    """Delete temporary conversations a day after their last message, a few at a time."""
    before = timezone.now() - TEMPORARY_LIFETIME
    newer = Message.objects.filter(conversation=OuterRef("pk"), created_at__gte=before)
    running = Generation.objects.running().filter(conversation=OuterRef("pk"))
    rows = Conversation.objects.filter(temporary=True, updated_at__lt=before).exclude(Exists(newer) | Exists(running))
    ids = list(rows.order_by("updated_at").values_list("id", flat=True)[:EXPIRED_AT_ONCE])
    # Asked again, because a user may have gone on with one meanwhile.
    rows.filter(id__in=ids).delete()


def expire() -> None:
    """Delete old keys and hits, ended shares, and rows of dead processes."""
    keys = Generation.objects.filter(idempotency_key__isnull=False, created_at__lt=timezone.now() - KEY_LIFETIME)
    keys.update(idempotency_key=None)
    ids = list(Share.objects.ended().values_list("id", flat=True)[:EXPIRED_AT_ONCE])
    Share.objects.filter(id__in=ids).delete()
    audit.expire()
    runtime().process.delete_dead()
