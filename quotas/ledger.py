"""Reserve, settle, release, grant: the only door to what people have used and still have, and the only decider.

Everything here is synchronous and belongs inside the caller's transaction, the one that stores the message. A unit is
taken when a generation begins and made final or given back when it ends, exactly once, by guarded updates
(`statements.py`). A reservation belongs to the day on which it began, a calendar day in TIME_ZONE.

Whatever is read or changed here is noted for the counters in Redis once it is committed; they decide nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal

import structlog
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from providers.errors import UnknownModel
from quotas import days, hints, schemas, snapshot, statements
from quotas.counts import Counts, Found
from quotas.days import day_of as day_of
from quotas.days import resets_at as resets_at
from quotas.errors import QuotaExhausted
from quotas.models import CreditBalance, DailyUsage, Quota, Reservation
from quotas.snapshot import QuotaConfig
from web.refusals import InvalidRequest

log = structlog.get_logger("quotas")

QuotaState = schemas.Quota
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """A reservation that was made at `began_at`, which says its day.

    `quota` is the contract's `Quota` after it, `remaining` its value there.
    """

    began_at: datetime
    reservation_id: int
    quota_id: int
    quota: QuotaState
    resets_at: datetime
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Charge:
    """What a generation has cost. `invitation`: the one that this charge makes real, if the user's is still pending."""

    amount: int
    source: Literal["daily", "credit", "none"]
    reason: str
    invitation: int | None = None

    def as_json(self) -> schemas.Charge:
        return {"amount": self.amount, "source": self.source, "reason": self.reason}


def reserve(user_id: int, model_id: int, reference: str, now: datetime | None = None) -> Held:
    """Hold one unit for the generation `reference`: of the day's allowance, else a credit.

    Raises QuotaExhausted when there is neither, InvalidRequest for a model without a quota, and IntegrityError for a
    reference that already holds one.
    """
    _require_transaction()
    now = now or timezone.now()
    with connection.cursor() as cursor:
        quota_id, daily_limit = _quota_of(cursor, user_id, model_id)
        unit = {"user": user_id, "quota": quota_id, "day": _date_value(day_of(now)), "reference": reference}
        source = _take(cursor, unit, daily_limit)
        if source is None:
            raise _exhausted(daily_limit, now)
        _change(cursor, statements.HOLD, {**unit, "source": source, "now": _datetime_value(now)})
        ((counts, reservation_id),) = _standing(cursor, "one", unit, now)
        _tell_counters([counts])
    quota = _state(counts, now)
    return Held(now, reservation_id, quota_id, quota, resets_at(now), quota["remaining"])


def check(user_id: int, model_id: int, seen: Found) -> None:
    """Raise QuotaExhausted when `reserve` would just now: one read, which changes nothing and promises nothing.

    `seen` is the counter that made the caller ask.
    """
    now = timezone.now()
    with connection.cursor() as cursor:
        for counts, _none in _standing(cursor, "of_model", {"user": user_id, "model": model_id}, now):
            if not counts.same(seen.counts):
                _tell_counters([counts], {counts.quota: seen})
            if counts.none_left:
                raise _exhausted(counts.limit, now)


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
            _count_anew(cursor, unit)
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
        _count_anew(cursor, unit)


def state(user_id: int, quota_id: int, now: datetime | None = None) -> QuotaState:
    """Return the contract's `Quota` of one quota as this user has it; raise Quota.DoesNotExist for an unknown one."""
    now = now or timezone.now()
    with connection.cursor() as cursor:
        for counts, _none in _standing(cursor, "one", {"user": user_id, "quota": quota_id}, now):
            _tell_counters([counts])
            return _state(counts, now)
    raise Quota.DoesNotExist(quota_id)


def overview(user: AbstractBaseUser) -> list[QuotaState]:
    """Return the contract's `Quota` of each quota, but for those whose models are all kept for others.

    Where somebody has credits it is shown all the same: what was given is to be seen. The figures are those of the
    counters where they may be believed, else the ledger's own, read in one query.
    """
    now, known = timezone.now(), snapshot.current()
    groups = known.groups_of(user.pk)
    found = hints.look_from_thread(user.pk, known.quotas, now)
    counted = {
        quota_id: replace(counter.counts, limit=known.quotas[quota_id].limit_for(groups))
        for quota_id, counter in found.items()
        if counter.counts and counter.trusted
    }
    if len(counted) < len(known.quotas):
        with connection.cursor() as cursor:
            counted = {counts.quota: counts for counts, _none in _standing(cursor, "all", {"user": user.pk}, now)}
        _tell_counters(counted.values(), found)
    states = (
        (quota, _shown(quota, counted[quota.id], groups, now)) for quota in known.quotas.values() if quota.id in counted
    )
    return [state for quota, state in states if state["models"] or state["credits"] or not quota.models]


def count_anew(user_ids: Iterable[int]) -> None:
    """Read what these people have, for the counters to be built from it."""
    now = timezone.now()
    with connection.cursor() as cursor:
        for user_id in user_ids:
            _tell_counters([counts for counts, _none in _standing(cursor, "all", {"user": user_id}, now)])


def counted_today() -> list[int]:
    """Return the ids of all whose figures are not those of a new user."""
    used = DailyUsage.objects.filter(day=day_of(timezone.now())).values_list("user_id")
    have = CreditBalance.objects.filter(credits__gt=0).values_list("user_id")
    return [user_id for (user_id,) in used.union(have)]


def quota_slugs() -> dict[int, str]:
    """Return the quota's slug by model id, for lists of models; a model without a quota is not in it."""
    return {model.id: quota.slug for quota in snapshot.current().quotas.values() for model in quota.models}


def _quota_of(cursor: CursorWrapper, user_id: int, model_id: int) -> tuple[int, int | None]:
    rows = _rows(cursor, statements.quota_of_model(), {"model": model_id, "user": user_id})
    if not rows:
        raise UnknownModel(_("This model has no quota."))
    quota_id, everybodys, of_groups = rows[0]
    return quota_id, _limit(everybodys, of_groups)


def _limit(everybodys: int | None, of_groups: int | None) -> int | None:
    """Return the limit that holds: the best of the user's groups instead of everybody's, where there is one."""
    if of_groups is None:
        return everybodys
    return None if of_groups >= statements.MOST else of_groups


def _exhausted(daily_limit: int | None, now: datetime) -> QuotaExhausted:
    return QuotaExhausted(retry_after=days.seconds_to_reset(now) if daily_limit else None)


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
    user_id, quota_id, day, source, ended_as, first_reason, invitation = rows[0]
    settled = ended_as == Reservation.Status.SETTLED.value
    charge = Charge(1, source, first_reason, invitation) if settled else Charge(0, "none", first_reason)
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


def _count_anew(cursor: CursorWrapper, unit: Values) -> None:
    if settings.REDIS_URL:
        _tell_counters([counts for counts, _none in _standing(cursor, "one", unit, timezone.now())])


def _tell_counters(read: Collection[Counts], seen: Mapping[int, Found] | None = None) -> None:
    """Let the counters hear what was read, once it is committed."""
    if settings.REDIS_URL and read:
        transaction.on_commit(lambda: hints.note(read, seen or {}), robust=True)


def _record(cursor: CursorWrapper, entry: Values) -> None:
    _change(cursor, statements.RECORD, {**entry, "now": _datetime_value(timezone.now())})


def _standing(
    cursor: CursorWrapper, which: Literal["one", "all", "of_model"], values: Values, now: datetime
) -> list[tuple[Counts, Any]]:
    """Return what a user has used and has left, each with the id of the reservation that `values` name, if they do."""
    day, read_at = day_of(now), int(now.timestamp())
    rows = _rows(cursor, statements.standing(which), {"reference": "", **values, "day": _date_value(day)})
    standing = []
    for quota_id, everybodys, of_groups, used, used_revision, credit, credit_revision, reservation_id in rows:
        limit = _limit(everybodys, of_groups)
        counts = Counts(values["user"], quota_id, day, used, used_revision, limit, credit, credit_revision, read_at)
        standing.append((counts, reservation_id))
    return standing


def _state(counts: Counts, now: datetime) -> QuotaState:
    quota = snapshot.quota(counts.quota)
    return _shown(quota, counts, snapshot.current().groups_of(counts.user), now)


def _shown(quota: QuotaConfig, counts: Counts, groups: Set[int], now: datetime) -> QuotaState:
    return {
        "slug": quota.slug,
        "title": str(quota.title),
        "models": quota.slugs_for(groups),
        "daily_limit": counts.limit,
        "used_today": counts.used,
        "credits": counts.credits,
        "remaining": None if counts.limit is None else max(0, counts.limit - counts.used) + counts.credits,
        "resets_at": days.resets_at_json(now),
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
