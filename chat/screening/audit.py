"""Storing hits: user, what was found, direction and generation.

A text is stored with them only if it was refused and the operator wants that.
"""

from collections.abc import Collection, Sequence

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from chat.screening.found import Found
from chat.screening.hits import CATEGORY_CHARS, HITS_KEPT, Hit
from chat.screening.lexicon import Lexicon

# Characters of a refused prompt that are searched for the place of its excerpt.
SEARCHED_CHARS = 200_000
# Hits stored for one text at most.
MOST_HITS = 100


def record(user_id: int, generation: str | None, direction: str, found: Collection[Found], excerpt: str = "") -> None:
    """Store one hit for each finding in a text."""
    if not found:
        return  # the usual case: an empty bulk_create costs as much as all of the ledger's work
    Hit.objects.bulk_create(
        Hit(
            user_id=user_id,
            source=each.source,
            word_id=each.id,
            category=each.category[:CATEGORY_CHARS],
            action=each.action,
            direction=direction,
            generation_id=generation,
            excerpt=excerpt,
        )
        for each in sorted(set(found))[:MOST_HITS]
    )


def record_refusal(user_id: int, found: Collection[Found], excerpt: str = "") -> None:
    """Store the hits of a refused prompt; call this after the rollback of its start."""
    record(user_id, None, Hit.Direction.INPUT, found, excerpt)
    count_abuse(user_id)


def excerpt(found: Collection[Found], lexicon: Lexicon, texts: Sequence[str]) -> str:
    """Return up to HIT_EXCERPT_CHARS characters around what blocks a prompt.

    Its hits keep them. There are none by default, and where something in an attachment blocks.
    """
    most = settings.HIT_EXCERPT_CHARS
    if not most:
        return ""
    for text in texts:
        for match in lexicon.find(text[:SEARCHED_CHARS]):
            if match.term.blocks:
                start = max(0, (match.start + match.end + 1 - most) // 2)
                return text[start : start + most]
    is_judged = any(each.source == Hit.Source.SERVICE for each in found)
    return next(filter(str.strip, texts), "")[:most] if is_judged else ""


def count_abuse(user_id: int) -> None:
    """Count a prompt that our screening or the upstream's moderation refused, for operators to see."""
    User.objects.filter(pk=user_id).update(abuse_count=F("abuse_count") + 1)


def expire() -> None:
    Hit.objects.filter(created_at__lt=timezone.now() - HITS_KEPT).delete()
