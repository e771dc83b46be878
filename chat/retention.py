"""Deletion of what is older than RETENTION_DAYS.

Each pass reads whole tables in slices by primary key, so that other work gets the database thread between two slices,
and no index is needed that each new row would have to enter.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Model, OuterRef, Q
from django.utils import timezone

from accounts.models import TokenDay
from chat.models import HAS_TEXT, Conversation, DailyAnswers, Generation, Hit, Message
from quotas.models import DailyUsage, InviterDay, Reservation
from runtime import database

# Rows looked at in one transaction.
SLICE = 500
# Conversations deleted in one transaction; each may have thousands of messages.
CONVERSATIONS_AT_ONCE = 20
# Seconds in which others get the database thread between two slices.
PAUSE_SECONDS = 0.02

# Deletes what is too old in the slice behind a primary key, and returns the key of its last row; None at the end.
Step = Callable[[Any], Any]


async def delete_old() -> None:
    """Delete what is older than RETENTION_DAYS, where it is set.

    Repeating is safe, in several processes too.
    """
    if settings.RETENTION_DAYS:
        for step in steps(timezone.now(), settings.RETENTION_DAYS):
            last = await database.run(step, None)
            while last is not None:
                await asyncio.sleep(PAUSE_SECONDS)
                last = await database.run(step, last)


def steps(now: datetime, days: int) -> list[Step]:
    """Return the steps of one pass.

    Reservations and daily counts go with the whole day in TIME_ZONE, so that a day's units stay the sum of its rows.
    """
    day = timezone.localdate(now) - timedelta(days=days)
    midnight = timezone.make_aware(datetime.combine(day, time()))
    return [
        partial(_delete_conversations, now - timedelta(days=days)),
        partial(_delete_generations, midnight),
        partial(_delete_rows, Hit, Q(created_at__lt=midnight)),
        *(partial(_delete_rows, model, Q(day__lt=day)) for model in (DailyUsage, DailyAnswers, TokenDay, InviterDay)),
    ]


def _slice(model: type[Model], last: Any) -> list[Any]:
    """Return the primary keys of the rows behind `last`, in order."""
    rows = model._default_manager.order_by("pk")
    if last is not None:
        rows = rows.filter(pk__gt=last)
    return list(rows.values_list("pk", flat=True)[:SLICE])


def _delete_conversations(before: datetime, last: Any) -> Any:
    """Delete conversations without a message since then.

    Pinned ones stay, and those with a running generation.
    """
    ids = _slice(Conversation, last)
    messages = Message.objects.filter(conversation=OuterRef("pk"))
    running = Generation.objects.running().filter(conversation=OuterRef("pk"))
    is_used = Exists(messages.filter(created_at__gte=before)) | Exists(running)
    rows = Conversation.objects.filter(pinned=False).exclude(is_used).exclude(~Exists(messages), created_at__gte=before)
    old = list(rows.filter(id__in=ids).order_by("id").values_list("id", flat=True)[:CONVERSATIONS_AT_ONCE])
    # Asked again, because a user may have gone on with one meanwhile.
    rows.filter(id__in=old).delete()
    if len(old) == CONVERSATIONS_AT_ONCE:
        return old[-1]
    return ids[-1] if ids else None


def _delete_generations(before: datetime, last: Any) -> Any:
    """Delete ended generations with their reservations.

    Those whose text is not expired yet stay for a later pass.
    """
    ids = _slice(Reservation, last)
    ended = Reservation.objects.filter(id__in=ids, created_at__lt=before).exclude(status=Reservation.Status.RESERVED)
    with transaction.atomic():
        old = list(ended.values_list("id", flat=True))
        generations = Generation.objects.filter(reservation__in=old)
        generations.exclude(HAS_TEXT).exclude(status=Generation.Status.RUNNING).delete()
        ended.exclude(Exists(Generation.objects.filter(reservation=OuterRef("pk")))).delete()
    return ids[-1] if ids else None


def _delete_rows(model: type[Model], condition: Q, last: Any) -> Any:
    ids = _slice(model, last)
    model._default_manager.filter(condition, pk__in=ids).delete()
    return ids[-1] if ids else None
