"""What is kept of hits: who, which word, in which direction, in which generation. Never the text."""

from collections.abc import Collection

from django.db.models import F
from django.utils import timezone

from accounts.models import User
from chat.screening.models import HITS_KEPT, Hit

# A list may be longer than an answer is worth rows.
MOST_HITS = 100


def found(user_id: int, generation: str | None, direction: str, word_ids: Collection[int]) -> None:
    """Keep that these words were found: a row for each, once per text."""
    if not word_ids:
        return  # as a rule; the ORM would take as long to insert nothing as the ledger takes for all it does
    Hit.objects.bulk_create(
        Hit(user_id=user_id, word_id=word_id, direction=direction, generation_id=generation)
        for word_id in sorted(word_ids)[:MOST_HITS]
    )


def refused(user_id: int, word_ids: Collection[int]) -> None:
    """Keep that a prompt was refused; to be called when what had begun with it is rolled back."""
    found(user_id, None, Hit.Direction.INPUT, word_ids)
    count_abuse(user_id)


def count_abuse(user_id: int) -> None:
    """Count a prompt that moderation refused, ours or a vendor's, for operators to look at."""
    User.objects.filter(pk=user_id).update(abuse_count=F("abuse_count") + 1)


def expire() -> None:
    """Delete hits that are too old to be asked for."""
    Hit.objects.filter(created_at__lt=timezone.now() - HITS_KEPT).delete()
