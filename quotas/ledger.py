"""Reserve, settle, release, grant: the only door to what people have used and still have, and the only decider.

Everything here is synchronous and belongs inside the caller's transaction, the one that stores the message. A unit is
taken when a generation begins and made final or given back when it ends, exactly once, by guarded updates
(`statements.py`). A reservation belongs to the day on which it began, a calendar day in TIME_ZONE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from providers.errors import UnknownModel
from quotas import statements
from quotas.errors import QuotaExhausted
from quotas.models import Quota, QuotaModel, Reservation
from runtime.refusals import InvalidRequest

log = structlog.get_logger("quotas")

QuotaState = dict[str, Any]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """A reservation that was made. `quota` is the contract's `Quota` after it, `remaining` its value there."""

    reservation_id: int
    quota_id: int
    quota: QuotaState
    resets_at: datetime
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Charge:
    """What a generation has cost."""

    amount: int
    source: Literal["daily", "credit", "none"]
    reason: str

    def as_json(self) -> dict[str, Any]:
        return {"amount": self.amount, "source": self.source, "reason": self.reason}


def reserve(user_id: int, model_id: int, reference: str, now: datetime | None = None) -> Held:
    """Hold one unit for the generation `reference`: of the day's allowance, else a credit.

    Raises QuotaExhausted when there is neither, InvalidRequest for a model without a quota, and IntegrityError for a
    reference that already holds one.
    """
    _require_transaction()
    now = now or timezone.now()
    with connection.cursor() as cursor:
        quota_id, daily_limit = _quota_of(cursor, model_id)
        unit = {"user": user_id, "quota": quota_id, "day": _date_value(day_of(now)), "reference": reference}
        source = _take(cursor, unit, daily_limit)
        if source is None:
            raise QuotaExhausted(retry_after=_seconds_to_reset(now) if daily_limit else None)
        _change(cursor, statements.HOLD, {**unit, "source": source, "now": _datetime_value(now)})
        rows = _rows(cursor, statements.STATE, unit)
    quota = _state(rows, now)
    return Held(rows[0][-1], quota_id, quota, resets_at(now), quota["remaining"])


def settle(reference: str, reason: str) -> Charge:
    """Make the reservation final and enter it in the ledger; one that has ended stays as it is and keeps its charge."""
    with connection.cursor() as cursor:
        ended_now, unit, charge = _end(cursor, reference, Reservation.Status.SETTLED, reason)
        if ended_now:
            _record(cursor, {**unit, "amount": -1, "reason": reason, "reference": reference})
    return charge


def release(reference: str, reason: str) -> Charge:
    """Give the unit back to where it came from; a reservation that has ended stays as it is and keeps its charge."""
    with connection.cursor() as cursor:
        ended_now, unit, charge = _end(cursor, reference, Reservation.Status.RELEASED, reason)
        if ended_now:
            _give_back(cursor, unit)
    return charge


def grant(user_id: int, quota_id: int, amount: int, reason: str) -> None:
    """Add credits, or take back as many as are left when `amount` is negative; the ledger has a row for either.

    Raises InvalidRequest when fewer are left, when it would be more than can be counted, and for 0.
    """
    unit = {"user": user_id, "quota": quota_id, "amount": amount, "source": Reservation.Source.CREDIT.value}
    with transaction.atomic(), connection.cursor() as cursor:
        if not _add_credits(cursor, unit):
            raise InvalidRequest(details={"amount": [_("The balance does not allow this amount.")]})
        _record(cursor, {**unit, "reason": reason, "reference": ""})


def state(user_id: int, quota_id: int, now: datetime | None = None) -> QuotaState:
    """Return the contract's `Quota` of one quota as this user has it; raise Quota.DoesNotExist for an unknown one."""
    now = now or timezone.now()
    with connection.cursor() as cursor:
        rows = _rows(cursor, statements.STATE, {"quota": quota_id, **_seen_by(user_id, now)})
    if not rows:
        raise Quota.DoesNotExist(quota_id)
    return _state(rows, now)


def overview(user: AbstractBaseUser) -> list[QuotaState]:
    """Return the contract's `Quota` of each quota that has an enabled model, in one query."""
    now = timezone.now()
    with connection.cursor() as cursor:
        rows = _rows(cursor, statements.STATES_IN_USE, _seen_by(user.pk, now))
    return [_state(list(of_quota), now) for _slug, of_quota in groupby(rows, key=lambda row: row[0])]


def quota_slugs() -> dict[int, str]:
    """Return the quota's slug by model id, for lists of models; a model without a quota is not in it."""
    return dict(QuotaModel.objects.values_list("model_id", "quota__slug"))


def open_reservations(older_than: datetime) -> QuerySet[Reservation]:
    """Return the reservations made before then and still held: none should be much older than a generation can be."""
    return Reservation.objects.filter(status=Reservation.Status.RESERVED, created_at__lt=older_than)


def day_of(now: datetime) -> date:
    """Return the calendar day in TIME_ZONE."""
    return now.astimezone(timezone.get_default_timezone()).date()


def resets_at(now: datetime) -> datetime:
    """Return when the next day begins in TIME_ZONE: its first instant, also where clocks change at midnight."""
    return _day_after(day_of(now), timezone.get_default_timezone())[0]


@lru_cache(maxsize=8)
def _day_after(day: date, zone: tzinfo) -> tuple[datetime, str]:
    """Return when the day after begins, and the same as JSON has it: asked for each answer, new once a day."""
    midnight = datetime.combine(day + timedelta(days=1), time.min, tzinfo=zone)
    # A midnight that the clocks skip becomes the moment to which they jump.
    begins = midnight.astimezone(UTC).astimezone(zone)
    return begins, begins.isoformat()


def _seconds_to_reset(now: datetime) -> float:
    # In UTC: the difference of two times in one zone would be that of their clock faces.
    return (resets_at(now).astimezone(UTC) - now.astimezone(UTC)).total_seconds()


def _quota_of(cursor: CursorWrapper, model_id: int) -> tuple[int, int | None]:
    rows = _rows(cursor, statements.QUOTA_OF_MODEL, {"model": model_id})
    if not rows:
        raise UnknownModel(_("This model has no quota."))
    return rows[0]


def _take(cursor: CursorWrapper, unit: Values, daily_limit: int | None) -> str | None:
    limit = statements.MOST if daily_limit is None else daily_limit
    if limit and _change(cursor, statements.TAKE_DAILY, {**unit, "limit": limit}):
        return Reservation.Source.DAILY.value
    if _change(cursor, statements.TAKE_CREDIT, unit):
        return Reservation.Source.CREDIT.value
    return None


def _end(
    cursor: CursorWrapper, reference: str, status: Reservation.Status, reason: str
) -> tuple[bool, dict[str, Any], Charge]:
    """End the reservation if it is open; return whether this call did, the unit it held, and what its end charges."""
    _require_transaction()
    now = _datetime_value(timezone.now())
    ends = {"reference": reference, "status": status.value, "reason": reason, "now": now}
    ended_now = _change(cursor, statements.END, ends) == 1
    rows = _rows(cursor, statements.RESERVATION, {"reference": reference})
    if not rows:
        raise Reservation.DoesNotExist(reference)
    user_id, quota_id, day, source, ended_as, first_reason = rows[0]
    settled = ended_as == Reservation.Status.SETTLED.value
    charge = Charge(1, source, first_reason) if settled else Charge(0, "none", first_reason)
    return ended_now, {"user": user_id, "quota": quota_id, "day": day, "source": source}, charge


def _give_back(cursor: CursorWrapper, unit: Values) -> None:
    if unit["source"] == Reservation.Source.CREDIT.value:
        given = _add_credits(cursor, {**unit, "amount": 1})
    else:
        given = _change(cursor, statements.GIVE_BACK_DAILY, unit) == 1
    if not given:
        # Someone has changed the books by hand. The generation must end all the same.
        log.error("nothing to give a unit back to", user=unit["user"], quota=unit["quota"], source=unit["source"])


def _add_credits(cursor: CursorWrapper, unit: Values) -> bool:
    amount = unit["amount"]
    if amount < 0:
        return amount >= -statements.MOST and _change(cursor, statements.TAKE_CREDITS_BACK, unit) == 1
    room = statements.MOST - amount
    return amount > 0 and room >= 0 and _change(cursor, statements.ADD_CREDITS, {**unit, "room": room}) == 1


def _record(cursor: CursorWrapper, entry: Values) -> None:
    _change(cursor, statements.RECORD, {**entry, "now": _datetime_value(timezone.now())})


def _seen_by(user_id: int, now: datetime) -> dict[str, Any]:
    return {"user": user_id, "day": _date_value(day_of(now)), "reference": ""}


def _state(rows: list[tuple[Any, ...]], now: datetime) -> QuotaState:
    slug, title, daily_limit, used, credit, *_model = rows[0]
    return {
        "slug": slug,
        "title": title,
        "models": [row[5] for row in rows if row[5] is not None],
        "daily_limit": daily_limit,
        "used_today": used,
        "credits": credit,
        "remaining": None if daily_limit is None else max(0, daily_limit - used) + credit,
        "resets_at": _day_after(day_of(now), timezone.get_default_timezone())[1],
    }


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "quotas are changed inside the transaction that stores the message"
        )


def _change(cursor: CursorWrapper, statement: str, values: Values) -> int:
    cursor.execute(statement, values)
    return int(cursor.rowcount)


def _rows(cursor: CursorWrapper, statement: str, values: Values) -> list[tuple[Any, ...]]:
    cursor.execute(statement, values)
    return list(cursor.fetchall())


def _date_value(day: date) -> Any:
    return connection.ops.adapt_datefield_value(day)


def _datetime_value(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)
