"""Open and end alerts, and hand out their messages, each to exactly one process.

Plain synchronous functions for a database thread. Guarded updates and a constraint decide, so any number of processes
may look at the same conditions at the same time.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from providers.alerts.conditions import Condition, Source
from providers.alerts.models import Alert, AlertMessage

# How long a condition must be gone before its alert ends, so that one that comes and goes is one alert.
QUIET = timedelta(seconds=30)
# After this time without a look at the condition, any process ends the alert: its host was removed.
LAPSES_AFTER = timedelta(days=1)
# How long ended alerts are kept.
KEPT = timedelta(days=90)
# Seconds until the next attempt of a message after each one, longer than an attempt may take; then it is given up.
PAUSES = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
# Messages that a process sends at one time; services for groups refuse more than about 20 a minute.
SENT_AT_ONCE = 10
# Seconds between two updates of `seen_at`.
_SEEN_SECONDS = 5

log = structlog.get_logger("alerts")


def note(source: Source, found: Iterable[Condition], targets: Collection[str]) -> None:
    """Open alerts for new conditions, and end those of this source that are gone."""
    now = timezone.now()
    conditions = {(str(condition.kind), condition.subject): condition for condition in found}
    rows = Alert.objects.filter(kind__in=source.kinds, subject__startswith=source.prefix, ended_at=None)
    known = {(row.kind, row.subject): row for row in rows}
    seen = [row.pk for place, row in known.items() if place in conditions]
    earlier = now - timedelta(seconds=_SEEN_SECONDS)
    Alert.objects.filter(pk__in=seen, ended_at=None, seen_at__lt=earlier).update(seen_at=now)
    for place in conditions.keys() - known.keys():
        _open(conditions[place], targets, now)
    for place in known.keys() - conditions.keys():
        _end(known[place], now - QUIET, targets, now)


def end_lapsed(targets: Collection[str]) -> None:
    """End the alerts of hosts that are gone, and delete old ones."""
    now = timezone.now()
    for alert in Alert.objects.filter(ended_at=None, seen_at__lt=now - LAPSES_AFTER):
        _end(alert, now - LAPSES_AFTER, targets, now)
    Alert.objects.filter(ended_at__lt=now - KEPT).delete()


def claim(targets: Collection[str]) -> list[AlertMessage]:
    """Return the messages that this process is to send now.

    Each claim counts as an attempt.
    """
    now = timezone.now()
    open_rows = AlertMessage.objects.filter(sent_at=None, attempts__lt=len(PAUSES), target__in=targets)
    # A recovery comes after what it is about; until then it takes no place of other messages.
    began = open_rows.filter(alert=OuterRef("alert"), target=OuterRef("target"), event=AlertMessage.Event.OPENED)
    due = open_rows.filter(due_at__lte=now).exclude(Q(event=AlertMessage.Event.ENDED) & Exists(began))
    claimed = []
    for row in due.select_related("alert").order_by("id")[:SENT_AT_ONCE]:
        due_at = now + timedelta(seconds=PAUSES[row.attempts])
        if open_rows.filter(pk=row.pk, attempts=row.attempts).update(attempts=F("attempts") + 1, due_at=due_at):
            claimed.append(row)
    return claimed


def settle(message: AlertMessage, error: str) -> None:
    """Store how an attempt ended; empty: the message was sent."""
    values = {"error": error[:100]} if error else {"error": "", "sent_at": timezone.now()}
    AlertMessage.objects.filter(pk=message.pk).update(**values)


def _open(condition: Condition, targets: Collection[str], now: datetime) -> None:
    alert = Alert(kind=condition.kind, subject=condition.subject, details=condition.details, opened_at=now, seen_at=now)
    try:
        with transaction.atomic():
            alert.save()
            _add_messages(alert, AlertMessage.Event.OPENED, targets, now)
    except IntegrityError:  # another process was first
        return
    log.warning("alert began", kind=alert.kind, subject=alert.subject, **condition.details)


def _end(alert: Alert, unseen_since: datetime, targets: Collection[str], now: datetime) -> None:
    with transaction.atomic():
        rows = Alert.objects.filter(pk=alert.pk, ended_at=None, seen_at__lte=unseen_since)
        if not rows.update(ended_at=now):
            return
        _add_messages(alert, AlertMessage.Event.ENDED, targets, now)
    log.info("alert ended", kind=alert.kind, subject=alert.subject)


def _add_messages(alert: Alert, event: str, targets: Collection[str], now: datetime) -> None:
    AlertMessage.objects.bulk_create(
        [AlertMessage(alert=alert, event=event, target=target, due_at=now) for target in targets]
    )
