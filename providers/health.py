"""How keys and upstreams are, at a glance, for operators: admin pages and staff routes read the same here.

Why a key is left out and how it comes back is decided in `keys`.
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
# `off`: switched off by somebody; `warning`: it works, but not with all it has; `down`: it cannot be used now.
Level = Literal["ok", "off", "warning", "down"]


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """The worst that is the matter with a key; `everywhere`: with whatever model."""

    status: Status
    reason: str = ""
    cooldown_until: datetime | None = None
    everywhere: bool = True


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """An upstream and its pool: how many keys there are, how many can be used now, and what is the matter."""

    level: Level
    text: str
    keys: int
    usable: int
    cooling: int
    quarantined: int


def of_key(key: ApiKey) -> KeyHealth:
    """Return the health of a key; one that has cooled down and waits for its first try is `ok`."""
    if key.secret() is None:
        return KeyHealth("quarantined", _("The secret cannot be decrypted. Enter it again."))
    shut = [trouble for trouble in key.troubles.all() if trouble.status in {"cooling", "quarantined"}]
    if not shut:
        return KeyHealth("ok")
    worst = max(shut, key=lambda trouble: (trouble.quarantined_at is not None, trouble.model == ""))
    everywhere = any(trouble.model == "" for trouble in shut)
    if worst.quarantined_at:
        return KeyHealth("quarantined", _reason(worst), None, everywhere)
    return KeyHealth("cooling", _reason(worst), worst.cooldown_until, everywhere)


def clear(keys: QuerySet[ApiKey]) -> None:
    """Put keys back to full use."""
    KeyTrouble.objects.filter(key__in=keys).delete()


def level_of_key(key: ApiKey) -> Level:
    """Return how loudly to say it."""
    found = of_key(key)
    if not key.enabled:
        return "off"
    if found.status == "ok":
        return "warning" if key.troubles.all() else "ok"
    return "down" if found.everywhere else "warning"


def text_of_key(key: ApiKey) -> str:
    """Say all that is the matter with a key: since or until when, with which model, and why."""
    if key.secret() is None:
        return of_key(key).reason
    return "; ".join(_trouble(trouble) for trouble in key.troubles.all()) or _("ok")


def of_upstream(upstream: Upstream) -> UpstreamHealth:
    """Return the health of an upstream; its keys and their troubles are best fetched before."""
    keys = [key for key in upstream.keys.all() if key.enabled]
    found = [of_key(key) for key in keys]
    usable = sum(health.status == "ok" or not health.everywhere for health in found)
    counts = [sum(health.status == status for health in found) for status in ("cooling", "quarantined")]
    level, text = _judged(upstream, len(keys), usable, troubled=any(counts))
    return UpstreamHealth(level, text, len(upstream.keys.all()), usable, *counts)


def _judged(upstream: Upstream, keys: int, usable: int, *, troubled: bool) -> tuple[Level, str]:
    until = upstream.cooldown_until
    if not upstream.enabled:
        return "off", _("switched off")
    if until and until > timezone.now():
        text = _("cooling until %(time)s") % {"time": _shown(until)}
        return "down", f"{text}: {status_texts.shown(upstream.status_reason)}"
    if not keys:
        # Without any key row it is taken to need none; rows that are all switched off are nothing to ask with.
        return ("down", _("all keys are switched off")) if upstream.keys.all() else ("ok", _("ok, without a key"))
    if usable < keys:
        text = ngettext("%(count)d key cannot be used", "%(count)d keys cannot be used", keys - usable)
        return ("warning" if usable else "down"), text % {"count": keys - usable}
    return ("warning", _("some models cannot be used with every key")) if troubled else ("ok", _("ok"))


def _trouble(trouble: KeyTrouble) -> str:
    if trouble.quarantined_at:
        text = _("quarantined since %(time)s") % {"time": _shown(trouble.quarantined_at)}
    elif trouble.status == "cooling" and trouble.cooldown_until:
        text = _("cooling until %(time)s") % {"time": _shown(trouble.cooldown_until)}
    else:
        text = _("waits for one successful try")
    return f"{text}: {_reason(trouble)}"


def _reason(trouble: KeyTrouble) -> str:
    scope = f" ({trouble.model})" if trouble.model else ""
    return status_texts.shown(trouble.status_reason) + scope


def _shown(moment: datetime) -> str:
    """Return a moment as one looks at a clock: the time, with the day when it is another one."""
    local = timezone.localtime(moment)
    return local.strftime("%H:%M:%S" if local.date() == timezone.localdate() else "%Y-%m-%d %H:%M")
