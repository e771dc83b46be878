"""Usage of each API token, by day and model.

The end of a generation counts it; pages, API and admin read it. `token_limits` counts the uses that limit a token;
these rows only report, and stay when the token is deleted.
"""

from datetime import date, timedelta
from typing import Any

from django.db import connection
from django.db.models import F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import ApiToken, TokenDay
from quotas import days

# Days that lists of tokens add up, today included.
SHOWN_DAYS = 30
# Tokens in a list of sums. A user has 50 at most; more are deleted ones.
MOST_SHOWN = 100
# How long usage is kept: the API returns at most a year.
KEPT = timedelta(days=367)

COUNTERS = ("answers", "input_tokens", "output_tokens")
# SQL, because the ORM has no upsert that adds to a column. A token that was deleted while its generation ran has no
# name any more, so that generation counts as one without a token.
_COUNT = f"""
INSERT INTO accounts_tokenday (user_id, token_id, name, day, model, {", ".join(COUNTERS)})
SELECT user_id, id, name, %(day)s, %(model)s, {", ".join(f"%({name})s" for name in COUNTERS)}
FROM accounts_apitoken WHERE id = %(token)s
ON CONFLICT (token_id, day, model) DO UPDATE
SET {", ".join(f"{name} = accounts_tokenday.{name} + excluded.{name}" for name in COUNTERS)}
"""  # noqa: S608 - made of our own names


def count(token_id: int, day: date, model: str, *, answers: int, input_tokens: int, output_tokens: int) -> None:
    """Count a generation that has just ended; call this inside the transaction that ends it."""
    given = {
        "token": token_id,
        "day": connection.ops.adapt_datefield_value(day),
        "model": model,
        "answers": answers,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, given)


def of_user(user_id: int, since: date) -> QuerySet[TokenDay]:
    """Return the usage of a user's tokens, oldest first, deleted tokens included."""
    return TokenDay.objects.filter(user=user_id, day__gte=since, answers__gt=0).order_by("day", "token_id", "model")


def sums(user_id: int, since: date) -> list[dict[str, Any]]:
    """Return the sums of each token, the most used first; one query."""
    rows = of_user(user_id, since).order_by().values("token_id", "name")
    added = rows.annotate(
        all_answers=Sum("answers"), all_input_tokens=Sum("input_tokens"), all_output_tokens=Sum("output_tokens")
    )
    return [dict(row) for row in added.order_by("-all_answers", "token_id")[:MOST_SHOWN]]


def with_usage(tokens: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
    """Return tokens with their sums of the last 30 days: `recent_answers`, `recent_tokens`."""
    since = days.day_of(timezone.now()) - timedelta(days=SHOWN_DAYS - 1)
    own = TokenDay.objects.filter(token=OuterRef("pk"), day__gte=since).order_by().values("token")
    both = F("input_tokens") + F("output_tokens")
    return tokens.annotate(
        recent_answers=Coalesce(Subquery(own.annotate(sum=Sum("answers")).values("sum")), 0),
        recent_tokens=Coalesce(Subquery(own.annotate(sum=Sum(both)).values("sum")), 0),
    )


def delete_old() -> None:
    """Delete the usage of days that nothing shows any more."""
    TokenDay.objects.filter(day__lt=days.day_of(timezone.now() - KEPT)).delete()
