"""Quota days: calendar days in TIME_ZONE, whatever its clocks do."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from quotas import ledger
from quotas.errors import QuotaExhausted
from quotas.models import DailyUsage, Reservation
from tests import factories

pytestmark = pytest.mark.django_db

SHANGHAI = ZoneInfo("Asia/Shanghai")
# Clocks that change at midnight, by half an hour, by a whole day, or never.
ZONES = [
    "Asia/Shanghai",
    "America/Havana",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Europe/London",
    "UTC",
]


@pytest.fixture
def model():
    return factories.chat_model(of=factories.quota(daily_limit=1))


def reserve(user, model, reference, now):
    with transaction.atomic():
        return ledger.reserve(user.pk, model.pk, reference, now)


@pytest.mark.contract("setting: TIME_ZONE")
def test_a_day_ends_at_midnight(alice, model):
    """A day ends at midnight in TIME_ZONE, and JSON has its offset."""
    now = datetime(2026, 11, 21, 23, 59, 59, 900_000, tzinfo=SHANGHAI)
    unit = reserve(alice, model, "g1", now)
    assert unit.resets_at == datetime(2026, 11, 22, tzinfo=SHANGHAI)
    assert unit.resets_at.isoformat() == "2026-11-22T00:00:00+08:00"
    with pytest.raises(QuotaExhausted) as refused:
        reserve(alice, model, "g2", now)
    assert refused.value.retry_after == pytest.approx(0.1)
    assert refused.value.headers() == {"Retry-After": "1"}


def test_reservation_belongs_to_the_day_it_began(alice, model):
    """A unit reserved just before midnight and released after it returns to its day."""
    before = datetime(2026, 11, 21, 23, 59, 59, 900_000, tzinfo=SHANGHAI)
    after = before + timedelta(seconds=0.2)
    reserve(alice, model, "g1", before)
    reserve(alice, model, "g2", after)
    days = dict(Reservation.objects.values_list("reference", "day"))
    assert (days["g1"].day, days["g2"].day) == (21, 22)
    ledger.release("g1", "interrupted")
    assert dict(DailyUsage.objects.values_list("day__day", "used")) == {21: 0, 22: 1}


def test_same_instant_is_the_same_day_in_any_zone(alice, model):
    """It is TIME_ZONE that counts, not the zone in which the time was given."""
    now = datetime(2026, 11, 21, 16, 30, tzinfo=UTC)
    assert ledger.day_of(now) == ledger.day_of(now.astimezone(ZoneInfo("America/New_York")))
    assert reserve(alice, model, "g1", now).resets_at == datetime(2026, 11, 23, tzinfo=SHANGHAI)


def test_clock_set_back_restores_nothing(alice, model):
    """A clock set back over midnight finds the day before as used as it was."""
    midnight = datetime(2026, 11, 22, tzinfo=SHANGHAI)
    reserve(alice, model, "g1", midnight - timedelta(minutes=10))
    reserve(alice, model, "g2", midnight + timedelta(minutes=10))
    for moment in (midnight - timedelta(minutes=50), midnight + timedelta(minutes=10)):
        with pytest.raises(QuotaExhausted):
            reserve(alice, model, "g3", moment)


def test_an_hour_back_restores_nothing(alice, model):
    """Used units stay used when an hour is lived twice."""
    quota = model.quota_link.quota
    with override_settings(TIME_ZONE="Europe/London"):
        first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 01:30, and an hour later it is 01:30 again
        again = first + timedelta(hours=1)
        factories.credits_for(alice, quota, 1)
        reserve(alice, model, "g1", first)
        assert ledger.state(alice.pk, quota.pk, first)["used_today"] == 1
        reserve(alice, model, "g2", again)
        assert ledger.state(alice.pk, quota.pk, again)["credits"] == 0
        for moment in (again, first, first - timedelta(hours=1)):
            with pytest.raises(QuotaExhausted):
                reserve(alice, model, "g3", moment)
            state = ledger.state(alice.pk, quota.pk, moment)
            assert (state["used_today"], state["credits"], state["remaining"]) == (1, 0, 0)


def test_credit_reserved_over_midnight(alice, model):
    """A credit reserved over midnight comes back when the generation fails."""
    quota = model.quota_link.quota
    factories.credits_for(alice, quota, 1)
    midnight = datetime(2026, 11, 22, tzinfo=SHANGHAI)
    before, after = midnight - timedelta(seconds=1), midnight + timedelta(seconds=1)
    reserve(alice, model, "g1", before)
    reserve(alice, model, "g2", before)
    assert ledger.state(alice.pk, quota.pk, before)["credits"] == 0
    ledger.release("g2", "interrupted")
    ledger.release("g1", "interrupted")
    state = ledger.state(alice.pk, quota.pk, after)
    assert (state["used_today"], state["credits"], state["remaining"]) == (0, 1, 2)
    assert ledger.state(alice.pk, quota.pk, before)["used_today"] == 0


def test_settled_after_midnight(alice, model):
    """A completion that ends after midnight is charged to its first day."""
    midnight = datetime(2026, 11, 22, tzinfo=SHANGHAI)
    reserve(alice, model, "g1", midnight - timedelta(seconds=1))
    assert ledger.settle("g1", "stop").source == "daily"
    days = dict(DailyUsage.objects.values_list("day__day", "used"))
    assert days == {21: 1}
    assert ledger.state(alice.pk, model.quota_link.quota_id, midnight)["remaining"] == 1


@pytest.mark.parametrize(
    ("zone", "now", "begins"),
    [
        ("Europe/London", "2026-03-28T12:00+00:00", "2026-03-29T00:00:00+00:00"),
        ("Europe/London", "2026-03-29T12:00+01:00", "2026-03-30T00:00:00+01:00"),
        ("Europe/London", "2026-10-25T00:30+01:00", "2026-10-26T00:00:00+00:00"),
        # Clocks jump from midnight to one: that is where the day begins.
        ("America/Sao_Paulo", "2018-11-03T12:00-03:00", "2018-11-04T01:00:00-02:00"),
        # Midnight comes twice: the first one counts.
        ("America/Havana", "2026-10-31T12:00-04:00", "2026-11-01T00:00:00-04:00"),
        # 30 December 2011 never was in Samoa.
        ("Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-31T00:00:00+14:00"),
    ],
)
def test_days_around_changes_of_the_clock(alice, model, zone, now, begins):
    """The wait for the next day's first instant is counted in real seconds."""
    with override_settings(TIME_ZONE=zone):
        moment = datetime.fromisoformat(now)
        unit = reserve(alice, model, "g1", moment)
        assert unit.resets_at.isoformat() == begins
        with pytest.raises(QuotaExhausted) as refused:
            reserve(alice, model, "g2", moment)
        assert refused.value.retry_after == (datetime.fromisoformat(begins) - moment).total_seconds()
        assert reserve(alice, model, "g3", unit.resets_at).remaining == 0


@pytest.mark.parametrize("zone", ZONES)
@given(second=st.integers(1_100_000_000, 2_100_000_000))
def test_next_day_begins_where_this_one_ends(zone, second):
    """In any zone, the last microsecond before the reset is today, the reset is not."""
    now = datetime.fromtimestamp(second, UTC)
    with override_settings(TIME_ZONE=zone):
        begins = ledger.resets_at(now).astimezone(UTC)
        assert now < begins <= now + timedelta(hours=26)
        assert ledger.day_of(begins - timedelta(microseconds=1)) == ledger.day_of(now)
        assert ledger.day_of(begins) > ledger.day_of(now)
