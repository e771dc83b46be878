"""The tables' own constraints, for every writer."""

from datetime import date

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from quotas import ledger
from quotas.models import CreditBalance, DailyUsage, LedgerEntry, Quota, QuotaModel, Reservation
from tests import factories

pytestmark = pytest.mark.django_db

TODAY = date(2026, 11, 21)


@pytest.fixture
def quota():
    return factories.quota()


def usage(user, quota, **values):
    return DailyUsage.objects.create(user=user, quota=quota, **{"day": TODAY, "used": 1, **values})


def reservation(user, quota, **values):
    values = {"day": TODAY, "source": "daily", "reference": "g1", **values}
    return Reservation.objects.create(user=user, quota=quota, **values)


def entry(user, quota, **values):
    values = {"amount": -1, "source": "daily", "reason": "stop", "reference": "g1", **values}
    return LedgerEntry.objects.create(user=user, quota=quota, **values)


def refused(call, *arguments, **values):
    with pytest.raises(IntegrityError), transaction.atomic():
        call(*arguments, **values)


def test_valid_rows_are_accepted(alice, quota):
    """Each table accepts a valid row and describes it."""
    rows = [
        usage(alice, quota),
        reservation(alice, quota),
        entry(alice, quota),
        CreditBalance.objects.create(user=alice, quota=quota, credits=0),
        QuotaModel.objects.create(quota=quota, model=factories.chat_model()),
        quota,
    ]
    assert all(str(row) for row in rows)


def test_one_usage_row_a_day(alice, quota):
    """A user has one count for each quota and day."""
    usage(alice, quota)
    refused(usage, alice, quota)
    usage(alice, quota, day=date(2026, 11, 22))


def test_usage_is_never_negative(alice, quota):
    """Usage cannot be negative."""
    usage(alice, quota, used=0)
    refused(DailyUsage.objects.update, used=-1)


def test_one_balance_never_negative(alice, quota):
    """A user has one balance for each quota, and no debts."""
    CreditBalance.objects.create(user=alice, quota=quota, credits=1)
    refused(CreditBalance.objects.create, user=alice, quota=quota)
    refused(CreditBalance.objects.update, credits=-1)


def test_model_has_one_quota(quota):
    """A model counts against exactly one quota."""
    model = factories.chat_model(of=quota)
    refused(QuotaModel.objects.create, quota=factories.quota(), model=model)


def test_limits_are_never_negative(quota):
    """Limits and credits of a quota start at nothing."""
    for field in ("daily_limit", "inviter_credits", "invitee_credits"):
        refused(Quota.objects.update, **{field: -1})


def test_slug_is_unique(quota):
    """Two quotas cannot share a slug."""
    refused(factories.quota, quota.slug)


def test_one_reservation_per_generation(alice, bob, quota):
    """A generation has one reservation, ended or not, of any user."""
    reservation(alice, quota, status="released", ended_at=timezone.now())
    refused(reservation, bob, quota)


def test_reservation_is_open_or_ended(alice, quota):
    """An open reservation has no end, an ended one has; there is no third thing."""
    row = Reservation.objects.filter(pk=reservation(alice, quota).pk)
    refused(row.update, status="settled")
    refused(row.update, ended_at=timezone.now())
    refused(row.update, status="lost", ended_at=timezone.now())
    refused(row.update, source="gift")
    row.update(status="settled", ended_at=timezone.now())
    refused(row.update, status="reserved")


def test_generation_spends_once(alice, quota):
    """A generation spends one unit once; an operator may take back repeatedly."""
    entry(alice, quota)
    refused(entry, alice, quota)
    refused(entry, alice, quota, source="credit")
    refused(entry, alice, quota, reference="g2", amount=-2, source="credit")
    entry(alice, quota, reference="", amount=-3, source="credit")
    entry(alice, quota, reference="", amount=-3, source="credit")


def test_entry_makes_sense(alice, quota):
    """No entry is empty, grants a day's allowance, or has an unknown source."""
    refused(entry, alice, quota, amount=0)
    refused(entry, alice, quota, amount=1, source="daily")
    refused(entry, alice, quota, reference="", source="daily")
    refused(entry, alice, quota, source="gift")


def test_ledger_rows_are_only_added(alice, quota):
    """A row of the ledger cannot be saved again."""
    row = entry(alice, quota)
    row.amount = -5
    with pytest.raises(TypeError):
        row.save()
    assert LedgerEntry.objects.get().amount == -1


def test_quota_with_ledger_rows_stays(alice, quota):
    """A quota cannot be deleted once the ledger or a reservation names it."""
    with transaction.atomic():
        ledger.grant(alice.pk, quota.pk, 1, "gift")
    with pytest.raises(ProtectedError):
        quota.delete()


def test_rows_go_with_the_user(alice, quota):
    """Deleting a user deletes the user's rows; the ledger keeps amounts without a user."""
    usage(alice, quota)
    reservation(alice, quota)
    entry(alice, quota)
    alice.delete()
    assert not any(table.objects.exists() for table in (DailyUsage, Reservation))
    assert LedgerEntry.objects.get().user is None
