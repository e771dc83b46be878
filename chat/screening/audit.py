"""Storing hits: user, what was found, direction and generation, never the text."""

from collections.abc import Collection

from django.db.models import F
from django.utils import timezone

from accounts.models import User
from chat.screening.found import Found
from chat.screening.models import HITS_KEPT, Hit

# Hits stored for one text at most.
MOST_HITS = 100


def record(user_id: int, generation: str | None, direction: str, found: Collection[Found | int]) -> None:
    """Store one hit for each finding in a text; numbers are ids of words."""
    if not found:
        return  # the usual case: an empty bulk_create costs as much as all of the ledger's work
    word_ids = {each if isinstance(each, int) else each.id for each in found}
    Hit.objects.bulk_create(
        Hit(user_id=user_id, word_id=word_id, direction=direction, generation_id=generation)
        for word_id in sorted(word_ids)[:MOST_HITS]
    )


def record_refusal(user_id: int, found: Collection[Found | int]) -> None:
    """Store the hits of a refused prompt; call this after the rollback of its start."""
    record(user_id, None, Hit.Direction.INPUT, found)
    count_abuse(user_id)


def count_abuse(user_id: int) -> None:
    """Count a prompt that our screening or the upstream's moderation refused, for operators to see."""
    User.objects.filter(pk=user_id).update(abuse_count=F("abuse_count") + 1)


def expire() -> None:
    Hit.objects.filter(created_at__lt=timezone.now() - HITS_KEPT).delete()
