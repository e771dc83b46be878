"""Alerts in words, in the active language."""

from django.conf import settings
from django.template.defaultfilters import floatformat
from django.utils import timezone
from django.utils.translation import gettext as _

from providers import status_texts
from providers.alerts.models import Alert, AlertMessage
from providers.alerts.rounds import LAPSES_AFTER

Kind = Alert.Kind


def headline(alert: Alert) -> str:
    """Return what is the matter, in one line."""
    details = {**alert.details, "reason": status_texts.in_words(str(alert.details.get("reason", "")))}
    if details.get("model"):
        details["reason"] += f" ({details['model']})"
    match alert.kind:
        case Kind.KEY_DEAD:
            return _("Key %(key)s of %(upstream)s is dead: %(reason)s") % details
        case Kind.BALANCE_EMPTY:
            return _("The balance behind key %(key)s of %(upstream)s is empty: %(reason)s") % details
        case Kind.CIRCUIT_OPEN if details.get("policy") == "open":
            return _("The moderation service fails, and prompts pass without it: %(reason)s") % details
        case Kind.CIRCUIT_OPEN if details.get("policy"):
            return _("The moderation service fails, and prompts are refused: %(reason)s") % details
        case Kind.CIRCUIT_OPEN:
            return _("Upstream %(upstream)s fails and is left out: %(reason)s") % details
        case Kind.DISK_NEARLY_FULL:
            details["free"] = floatformat(details["free_gib"], 1)
            return _("The disk of VAR_DIR on %(host)s is %(percent)s %% full, %(free)s GiB are free") % details
    return _("Group %(group)s has used %(percent)s %% of its allowance of quota %(quota)s today") % details


def title(alert: Alert, event: str) -> str:
    """Return the first line of a message."""
    if event == AlertMessage.Event.OPENED:
        return headline(alert)
    if alert.ended_at and alert.ended_at - alert.seen_at >= LAPSES_AFTER:
        return _("No longer reported: %(headline)s") % {"headline": headline(alert)}
    return _("Recovered: %(headline)s") % {"headline": headline(alert)}


def body(alert: Alert, event: str) -> str:
    """Return the lines below the title: the times, and where to look."""
    lines = [_("Since %(time)s") % {"time": _time(alert.opened_at)}]
    if event == AlertMessage.Event.ENDED and alert.ended_at:
        lines = [_("From %(begin)s to %(end)s") % {"begin": _time(alert.opened_at), "end": _time(alert.ended_at)}]
    if settings.PUBLIC_URL:
        lines.append(f"{settings.PUBLIC_URL}/admin/providers/alert/{alert.pk}/change/")
    return "\n".join(lines)


def _time(moment: object) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z")  # type: ignore[arg-type]
