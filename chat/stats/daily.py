"""Daily counts of generations, updated at each end, so that statistics never read generations.

There is one row per user, day, model and upstream. The transaction that ends a generation also counts it.
"""

from datetime import date, timedelta
from typing import Any

from django.db import connection
from django.db.models import F, Sum
from django.utils import timezone

from accounts import token_usage
from chat.models import DailyAnswers, Generation
from quotas import ledger

Row = dict[str, Any]

COUNTERS = ("answers", "daily_charges", "credit_charges", "failures", "input_tokens", "output_tokens")
# SQL, because the ORM has no upsert that adds to a column.
_COUNT = f"""
INSERT INTO chat_dailyanswers (user_id, day, model, upstream, {", ".join(COUNTERS)})
VALUES (%(user)s, %(day)s, %(model)s, %(upstream)s, {", ".join(f"%({name})s" for name in COUNTERS)})
ON CONFLICT (user_id, day, model, upstream) DO UPDATE
SET {", ".join(f"{name} = chat_dailyanswers.{name} + excluded.{name}" for name in COUNTERS)}
"""  # noqa: S608 - made of our own names


def count(row: Generation) -> None:
    """Count a generation that has just ended; call this inside the transaction that ends it."""
    day = ledger.day_of(row.created_at)
    completed = row.status == Generation.Status.COMPLETED
    source = row.charge["source"] if row.charge else "none"
    values: dict[str, Any] = {
        "user": row.user_id,
        "model": row.model,
        "upstream": row.upstream,
        "answers": int(completed),
        "daily_charges": int(source == "daily"),
        "credit_charges": int(source == "credit"),
        "failures": int(not completed),
        # The usage of a failed generation is only an estimate, so it is not counted.
        "input_tokens": (row.input_tokens or 0) if completed else 0,
        "output_tokens": (row.output_tokens or 0) if completed else 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {**values, "day": cursor.db.ops.adapt_datefield_value(day)})
    if row.token_id is not None and completed:
        token_usage.count(
            row.token_id,
            day,
            row.model,
            answers=int(source != "none"),
            input_tokens=row.input_tokens or 0,
            output_tokens=row.output_tokens or 0,
        )


def last_days(days: int) -> list[date]:
    """Return the last `days` calendar days in TIME_ZONE, up to today."""
    today = ledger.day_of(timezone.now())
    return [today - timedelta(days=back) for back in reversed(range(days))]


def by_model(user_id: int, days: int) -> list[Row]:
    """Return a user's charged completions as `{day, model, charged, read, written}`, oldest first; one query."""
    rows = DailyAnswers.objects.filter(user_id=user_id, day__gte=last_days(days)[0]).values("day", "model")
    sums = rows.annotate(
        charged=Sum(F("daily_charges") + F("credit_charges")), read=Sum("input_tokens"), written=Sum("output_tokens")
    )
    return [dict(row) for row in sums.filter(charged__gt=0).order_by("day", "model")]


def of_all_users(days: int) -> list[Row]:
    """Return the sums of all counters by `day`, `model` and `upstream`, oldest first; one query."""
    rows = DailyAnswers.objects.filter(day__gte=last_days(days)[0]).values("day", "model", "upstream")
    sums = rows.annotate(**{f"all_{name}": Sum(name) for name in COUNTERS}).order_by("day", "model", "upstream")
    return [dict(row) for row in sums]
