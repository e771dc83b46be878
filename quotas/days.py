"""Quota days: calendar days in TIME_ZONE, also where its clocks change."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from django.utils import timezone


def day_of(now: datetime) -> date:
    """Return the calendar day in TIME_ZONE."""
    return now.astimezone(timezone.get_default_timezone()).date()


def resets_at(now: datetime) -> datetime:
    """Return the first instant of the next day in TIME_ZONE."""
    return _day_after(day_of(now), timezone.get_default_timezone())


def seconds_to_reset(now: datetime) -> float:
    # In UTC, because the difference of two times in one zone ignores a change of its clocks.
    return (resets_at(now).astimezone(UTC) - now.astimezone(UTC)).total_seconds()


@lru_cache(maxsize=8)
def _day_after(day: date, zone: tzinfo) -> datetime:
    """Return the next day's first instant; cached, because requests share it."""
    midnight = datetime.combine(day + timedelta(days=1), time.min, tzinfo=zone)
    # If the clocks skip midnight, the day begins at the time to which they jump.
    return midnight.astimezone(UTC).astimezone(zone)
