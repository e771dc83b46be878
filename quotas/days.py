"""Quota days: calendar days in TIME_ZONE, whatever the clocks there do."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from django.utils import timezone


def day_of(now: datetime) -> date:
    """Return the calendar day in TIME_ZONE."""
    return now.astimezone(timezone.get_default_timezone()).date()


def resets_at(now: datetime) -> datetime:
    """Return when the next day begins in TIME_ZONE: its first instant, also where clocks change at midnight."""
    return _day_after(day_of(now), timezone.get_default_timezone())[0]


def resets_at_json(now: datetime) -> str:
    """Return the same as JSON has it."""
    return _day_after(day_of(now), timezone.get_default_timezone())[1]


def seconds_to_reset(now: datetime) -> float:
    # In UTC: the difference of two times in one zone would be that of their clock faces.
    return (resets_at(now).astimezone(UTC) - now.astimezone(UTC)).total_seconds()


@lru_cache(maxsize=8)
def _day_after(day: date, zone: tzinfo) -> tuple[datetime, str]:
    """Asked for each answer, new once a day."""
    midnight = datetime.combine(day + timedelta(days=1), time.min, tzinfo=zone)
    # A midnight that the clocks skip becomes the moment to which they jump.
    begins = midnight.astimezone(UTC).astimezone(zone)
    return begins, begins.isoformat()
