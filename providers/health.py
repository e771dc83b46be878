"""Describe the health of keys and upstreams for admin pages and staff routes.

`keys` decides when a key is left out and how it comes back.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from providers import status_texts
from providers.models import ApiKey, KeyTrouble, Upstream

Status = Literal["ok", "cooling", "quarantined"]
# `off`: an operator disabled it; `warning`: it works, but not with all its keys or models; `down`: it is unusable now.
Level = Literal["ok", "off", "warning", "down"]


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """The worst trouble of a key; `everywhere`: it concerns all models."""

    status: Status
    reason: str = ""
    cooldown_until: datetime | None = None
    everywhere: bool = True


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """The health of an upstream, which `text` explains, and of its `keys`."""

    level: Level
    text: str
    keys: int
    usable: int
    cooling: int
    quarantined: int


def of_key(key: ApiKey) -> KeyHealth:
    """Return the health of a key; `ok` while it only waits for its probe."""
    if key.secret() is None:
        return KeyHealth("quarantined", _("The secret cannot be decrypted. Enter it again."))
    troubles = [trouble for trouble in key.troubles.all() if trouble.status in {"cooling", "quarantined"}]
    if not troubles:
        return KeyHealth("ok")
    worst = max(troubles, key=lambda trouble: (trouble.quarantined_at is not None, trouble.model == ""))
    everywhere = any(trouble.model == "" for trouble in troubles)
    if worst.quarantined_at:
        return KeyHealth("quarantined", _reason(worst), None, everywhere)
    return KeyHealth("cooling", _reason(worst), worst.cooldown_until, everywhere)


def clear(keys: QuerySet[ApiKey]) -> None:
    """Put keys back to full use."""
    KeyTrouble.objects.filter(key__in=keys).delete()


def level_of_key(key: ApiKey) -> Level:
    """Return the level at which a key's health is displayed."""
    health = of_key(key)
    if not key.enabled:
        return "off"
    if health.status == "ok":
        return "warning" if key.troubles.all() else "ok"
    return "down" if health.everywhere else "warning"


def text_of_key(key: ApiKey) -> str:
    """Return all troubles of a key in words, with reasons, times and models."""
    if key.secret() is None:
        return of_key(key).reason
    return "; ".join(_trouble(trouble) for trouble in key.troubles.all()) or _("ok")


def of_upstream(upstream: Upstream) -> UpstreamHealth:
    """Return the health of an upstream; prefetch its keys and their troubles."""
    keys = [key for key in upstream.keys.all() if key.enabled]
    healths = [of_key(key) for key in keys]
    usable = sum(health.status == "ok" or not health.everywhere for health in healths)
    counts = [sum(health.status == status for health in healths) for status in ("cooling", "quarantined")]
    level, text = _level_and_text(upstream, len(keys), usable, troubled=any(counts))
    return UpstreamHealth(level, text, len(upstream.keys.all()), usable, *counts)


def _level_and_text(upstream: Upstream, keys: int, usable: int, *, troubled: bool) -> tuple[Level, str]:
    until = upstream.cooldown_until
    if not upstream.enabled:
        return "off", _("switched off")
    if until and until > timezone.now():
        text = _("cooling until %(time)s") % {"time": _clock_time(until)}
        return "down", f"{text}: {status_texts.in_words(upstream.status_reason)}"
    if not keys:
        # An upstream without key rows needs no key. When all its key rows are disabled, no attempt is possible.
        return ("down", _("all keys are switched off")) if upstream.keys.all() else ("ok", _("ok, without a key"))
    if usable < keys:
        text = ngettext("%(count)d key cannot be used", "%(count)d keys cannot be used", keys - usable)
        return ("warning" if usable else "down"), text % {"count": keys - usable}
    return ("warning", _("some models cannot be used with every key")) if troubled else ("ok", _("ok"))


def _trouble(trouble: KeyTrouble) -> str:
    if trouble.quarantined_at:
        text = _("quarantined since %(time)s") % {"time": _clock_time(trouble.quarantined_at)}
    elif trouble.status == "cooling" and trouble.cooldown_until:
        text = _("cooling until %(time)s") % {"time": _clock_time(trouble.cooldown_until)}
    else:
        text = _("waits for one successful attempt")
    return f"{text}: {_reason(trouble)}"


def _reason(trouble: KeyTrouble) -> str:
    scope = f" ({trouble.model})" if trouble.model else ""
    return status_texts.in_words(trouble.status_reason) + scope


def _clock_time(moment: datetime) -> str:
    """Return the local time, with the date when it is not today's."""
    local = timezone.localtime(moment)
    return local.strftime("%H:%M:%S" if local.date() == timezone.localdate() else "%Y-%m-%d %H:%M")
