"""Reserve, settle, release, grant: the only code that decides and changes what users have.

Everything here is synchronous and belongs inside the caller's transaction, the one that stores the message. A unit is
taken when a generation begins and made final or given back when it ends, exactly once, by guarded updates
(`statements.py`). A reservation belongs to the day on which it began, a calendar day in TIME_ZONE.
"""

from collections.abc import Collection, Mapping, Set
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
from quotas import days, schemas, statements
from quotas.apps import quotas_app
from quotas.days import day_of as day_of
from quotas.days import resets_at as resets_at
from quotas.errors import QuotaExhausted
from quotas.hints import Figures
from quotas.models import LedgerEntry, Quota, Reservation, Source
from quotas.snapshot import QuotaConfig
from web.refusals import InvalidRequest

log = structlog.get_logger("quotas")

QuotaState = schemas.Quota
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReservedUnit:
    """A reservation made at `began_at`, which decides its day.

    `remaining` is that of the contract's `Quota` after it.
    """

    began_at: datetime
    reservation_id: int
    quota_id: int
    resets_at: datetime
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Charge:
    """The cost of a generation; `invitation` is the user's pending one, if charged."""

    amount: int
    source: Literal["daily", "credit", "none"]
    reason: str
    invitation: int | None = None

    def as_json(self) -> schemas.Charge:
        return {"amount": self.amount, "source": self.source, "reason": self.reason}


def reserve(user_id: int, model_id: int, reference: str, now: datetime | None = None) -> ReservedUnit:
    """Reserve one unit for the generation `reference`: of the day's allowance, else a credit.

    Raises QuotaExhausted when there is neither, InvalidRequest for a model without a quota, and IntegrityError for a
    reference that already has one.
    """
    _require_transaction()
    now = now or timezone.now()
    with connection.cursor() as cursor:
        unit = {"user": user_id, "model": model_id, "day": _date_value(cursor, day_of(now)), "reference": reference}
        quota_id, source, figures = _take(cursor, unit, now)
        reserved = {**unit, "quota": quota_id, "source": source, "now": _datetime_value(cursor, now)}
        reservation_id = _insert(cursor, statements.RESERVE, reserved)
    _delete_counter(user_id)
    return ReservedUnit(now, reservation_id, quota_id, resets_at(now), figures.remaining)


def confirm_exhausted(user_id: int, model_id: int) -> None:
    """Raise QuotaExhausted if `reserve` would raise it now.

    This is one read outside a transaction, so a later `reserve` may decide differently. The caller saw a counter with
    nothing left; when the counter is wrong, it is deleted.
    """
    now = timezone.now()
    with connection.cursor() as cursor:
        for _quota_id, figures in _standing(cursor, "of_model", {"user": user_id, "model": model_id}, now):
            if figures.exhausted:
                raise _exhausted(figures.limit, now)
    _delete_counter(user_id)


def settle(reference: str, reason: str) -> Charge:
    """Make a reservation final and record it; one that has ended keeps its charge."""
    with connection.cursor() as cursor:
        ended_now, unit, charge = _end(cursor, reference, Reservation.Status.SETTLED, reason)
        if ended_now:  # the figures do not change: the unit was counted when it was reserved
            _record(cursor, {**unit, "amount": -1, "reason": reason, "reference": reference})
    return charge


def release(reference: str, reason: str) -> Charge:
    """Give a reserved unit back; a reservation that has ended keeps its charge."""
    with connection.cursor() as cursor:
        ended_now, unit, charge = _end(cursor, reference, Reservation.Status.RELEASED, reason)
        if ended_now:
            _give_back(cursor, unit)
            _delete_counter(unit["user"])
    return charge


def grant(user_id: int, quota_id: int, amount: int, reason: str) -> None:
    """Add credits, or take them back if `amount` is negative, and record it.

    Raises InvalidRequest when fewer are left, when the balance would exceed its column, and for 0.
    """
    unit = {"user": user_id, "quota": quota_id, "amount": amount, "source": Source.CREDIT.value}
    with transaction.atomic(), connection.cursor() as cursor:
        if not _add_credits(cursor, unit):
            raise InvalidRequest(details={"amount": [_("The balance does not allow this amount.")]})
        _record(cursor, {**unit, "reason": reason, "reference": ""})
        _delete_counter(user_id)


def detach(user_id: int, own_reasons: Collection[str]) -> None:
    """Keep the amounts of a user who is being deleted, without the user.

    Other reasons than `own_reasons` were typed by operators and may name the user, so they go too.
    """
    rows = LedgerEntry.objects.filter(user_id=user_id)
    rows.filter(reference="").exclude(reason__in=own_reasons).update(reason="")
    rows.update(user=None)


def state(user_id: int, quota_id: int, now: datetime | None = None, language: str | None = None) -> QuotaState:
    """Return the contract's `Quota` of one quota for this user; raise Quota.DoesNotExist.

    Its title is in the given language, else in the active one.
    """
    now = now or timezone.now()
    with connection.cursor() as cursor:
        for _quota_id, figures in _standing(cursor, "one", {"user": user_id, "quota": quota_id}, now):
            return _state(user_id, quota_id, figures, now, language)
    raise Quota.DoesNotExist(quota_id)


def overview(user: AbstractBaseUser) -> list[QuotaState]:
    """Return the contract's `Quota` of each quota with models or credits for the user.

    The figures are those of the user's counter while it is fresh, else the ledger's own, read in one query.
    """
    now, hints, table = timezone.now(), quotas_app().hints, quotas_app().snapshot.current()
    groups = table.groups_of(user.pk)
    counted = hints.read_from_thread(user.pk)
    if table.quotas.keys() <= counted.keys():
        figures = {id_: replace(counted[id_], limit=quota.limit_for(groups)) for id_, quota in table.quotas.items()}
    else:
        with connection.cursor() as cursor:
            figures = _all_figures(cursor, user.pk, now)
        transaction.on_commit(lambda: hints.store(user.pk, figures, now), robust=True)
    states = (
        (quota, _shown(quota, figures[quota.id], groups, now, str(quota.title)))
        for quota in table.quotas.values()
        if quota.id in figures
    )
    return [state for quota, state in states if state["models"] or state["credits"] or not quota.models]


def quota_slugs() -> dict[int, str]:
    """Return quota slugs by model id, without models that have no quota."""
    table = quotas_app().snapshot.current()
    return {model.id: quota.slug for quota in table.quotas.values() for model in quota.models}


def _quota_of(cursor: CursorWrapper, user_id: int, model_id: int) -> tuple[int, int | None]:
    rows = _rows(cursor, statements.quota_of_model(), {"model": model_id, "user": user_id})
    if not rows:
        raise UnknownModel(_("This model has no quota."))
    quota_id, quotas_own, of_groups = rows[0]
    return quota_id, _limit(quotas_own, of_groups)


def _limit(quotas_own: int | None, of_groups: int | None) -> int | None:
    """Return the limit of the user's groups, else the quota's own."""
    if of_groups is None:
        return quotas_own
    return None if of_groups >= statements.MOST else of_groups


def _exhausted(daily_limit: int | None, now: datetime) -> QuotaExhausted:
    return QuotaExhausted(retry_after=days.seconds_to_reset(now) if daily_limit else None)


def _take(cursor: CursorWrapper, unit: Values, now: datetime) -> tuple[int, str, Figures]:
    """Take one unit for a model; return quota, source and the figures after it."""
    if _returns(cursor):
        for quota_id, used, limit, credits_left in _rows(cursor, statements.take_daily("returning"), unit):
            return quota_id, Source.DAILY.value, Figures(used, _limit(None, limit), credits_left)
    elif _change(cursor, statements.take_daily("again"), unit) or _change(cursor, statements.take_daily("first"), unit):
        ((quota_id, figures),) = _standing(cursor, "of_model", unit, now)
        return quota_id, Source.DAILY.value, figures
    user_id = unit["user"]
    quota_id, daily_limit = _quota_of(cursor, user_id, unit["model"])
    if _change(cursor, statements.TAKE_CREDIT, {**unit, "quota": quota_id}):
        ((_quota_id, figures),) = _standing(cursor, "one", {**unit, "quota": quota_id}, now)
        return quota_id, Source.CREDIT.value, figures
    if settings.REDIS_URL:
        # Not on commit, because a refusal rolls back. The next request is then refused early.
        quotas_app().hints.store(user_id, _all_figures(cursor, user_id, now), now)
    raise _exhausted(daily_limit, now)


def _end(
    cursor: CursorWrapper, reference: str, status: Reservation.Status, reason: str
) -> tuple[bool, dict[str, Any], Charge]:
    """End an open reservation; return whether this call did, its unit, and its charge."""
    _require_transaction()
    now = _datetime_value(cursor, timezone.now())
    ends = {"reference": reference, "status": status.value, "reason": reason, "now": now}
    if _returns(cursor):
        rows = _rows(cursor, statements.END + statements.ENDED, ends)
        ended_now = bool(rows)
    else:
        ended_now, rows = _change(cursor, statements.END, ends) == 1, []
    if not (rows := rows or _rows(cursor, statements.RESERVATION, {"reference": reference})):
        raise Reservation.DoesNotExist(reference)
    user_id, quota_id, day, source, ended_as, first_reason, invitation = rows[0]
    settled = ended_as == Reservation.Status.SETTLED.value
    charge = Charge(1, source, first_reason, invitation) if settled else Charge(0, "none", first_reason)
    return ended_now, {"user": user_id, "quota": quota_id, "day": day, "source": source}, charge


def _give_back(cursor: CursorWrapper, unit: Values) -> None:
    if unit["source"] == Source.CREDIT.value:
        given = _add_credits(cursor, {**unit, "amount": 1})
    else:
        given = _change(cursor, statements.GIVE_BACK_DAILY, unit) == 1
    if not given:
        # An operator has changed the tables by hand. The generation must end all the same.
        log.error("released unit lacks its row", user=unit["user"], quota=unit["quota"], source=unit["source"])


def _add_credits(cursor: CursorWrapper, unit: Values) -> bool:
    amount = unit["amount"]
    if amount < 0:
        return amount >= -statements.MOST and _change(cursor, statements.TAKE_CREDITS_BACK, unit) == 1
    room = statements.MOST - amount
    return amount > 0 and room >= 0 and _change(cursor, statements.ADD_CREDITS, {**unit, "room": room}) == 1


def _delete_counter(user_id: int) -> None:
    if settings.REDIS_URL:
        transaction.on_commit(lambda: quotas_app().hints.changed(user_id), robust=True)


def _record(cursor: CursorWrapper, entry: Values) -> None:
    _change(cursor, statements.RECORD, {**entry, "now": _datetime_value(cursor, timezone.now())})


def _all_figures(cursor: CursorWrapper, user_id: int, now: datetime) -> dict[int, Figures]:
    return dict(_standing(cursor, "all", {"user": user_id}, now))


def _standing(
    cursor: CursorWrapper, which: Literal["one", "all", "of_model"], values: Values, now: datetime
) -> list[tuple[int, Figures]]:
    """Return quota ids with a user's figures."""
    rows = _rows(cursor, statements.standing(which), {**values, "day": _date_value(cursor, day_of(now))})
    return [
        (quota_id, Figures(used, _limit(quotas_own, of_groups), credits_left))
        for quota_id, quotas_own, of_groups, used, credits_left in rows
    ]


def _state(user_id: int, quota_id: int, figures: Figures, now: datetime, language: str | None) -> QuotaState:
    snapshot = quotas_app().snapshot
    quota, table = snapshot.quota(quota_id), snapshot.current()
    return _shown(quota, figures, table.groups_of(user_id), now, table.title(quota, language))


def _shown(quota: QuotaConfig, figures: Figures, groups: Set[int], now: datetime, title: str) -> QuotaState:
    return {
        "slug": quota.slug,
        "title": title,
        "models": quota.slugs_for(groups),
        "daily_limit": figures.limit,
        "used_today": figures.used,
        "credits": figures.credits,
        "remaining": figures.remaining,
        "resets_at": resets_at(now).isoformat(),
    }


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "quotas are changed inside the transaction that stores the message"
        )


def _returns(cursor: CursorWrapper) -> bool:
    """Return whether `RETURNING` costs less than a query.

    SQLite makes a temporary table for it.
    """
    return bool(cursor.db.vendor != "sqlite")


def _insert(cursor: CursorWrapper, statement: str, values: Values) -> int:
    """Insert a row and return its id."""
    if not _returns(cursor):
        cursor.execute(statement, values)
        return int(cursor.lastrowid)
    ((row_id,),) = _rows(cursor, statement + " RETURNING id", values)
    return int(row_id)


def _change(cursor: CursorWrapper, statement: str, values: Values) -> int:
    cursor.execute(statement, values)
    return int(cursor.rowcount)


def _rows(cursor: CursorWrapper, statement: str, values: Values) -> list[tuple[Any, ...]]:
    cursor.execute(statement, values)
    return list(cursor.fetchall())


def _date_value(cursor: CursorWrapper, day: date) -> Any:
    return cursor.db.ops.adapt_datefield_value(day)


def _datetime_value(cursor: CursorWrapper, moment: datetime) -> Any:
    return cursor.db.ops.adapt_datetimefield_value(moment)
