"""Describe the health of keys and upstreams for admin pages and staff routes.

`providers.health` decides when a key or an upstream is left out and how it comes back.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from providers import status_texts
from providers.learned import Learned
from providers.models import ApiKey, ChatModel, KeyTrouble, Route, Upstream, UpstreamTrouble

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
    """The health of an upstream and of its keys.

    `text` explains the level. `keys` counts all keys, `usable` those that can be used now.
    """

    level: Level
    text: str
    keys: int
    usable: int
    cooling: int
    quarantined: int


def of_key(key: ApiKey) -> KeyHealth:
    """Return the health of a key.

    A suspect, and a key whose cooldown has passed, are `ok`.
    """
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


def level_of_key(key: ApiKey) -> Level:
    """Return the level at which a key's health is displayed."""
    health = of_key(key)
    if not key.enabled:
        return "off"
    if health.status == "ok":
        return "warning" if key.troubles.all() else "ok"
    return "down" if health.everywhere else "warning"


def text_of_key(key: ApiKey) -> str:
    """Return all troubles of a key in words.

    Each has its reason, the time when it began or ends, the model it concerns, its class, evidence and probes.
    """
    if key.secret() is None:
        return of_key(key).reason
    return "; ".join(map(_of_trouble, key.troubles.all())) or _("ok")


def of_upstream(upstream: Upstream) -> UpstreamHealth:
    """Return the health of an upstream; prefetch its routes, its troubles, its keys and theirs."""
    keys = [key for key in upstream.keys.all() if key.enabled]
    healths = [of_key(key) for key in keys]
    usable = sum(health.status == "ok" or not health.everywhere for health in healths)
    counts = [sum(health.status == status for health in healths) for status in ("cooling", "quarantined")]
    level, text = _level_and_text(upstream, len(keys), usable, troubled=any(counts))
    routes = [route for route in upstream.routes.all() if route.passed_over_since]
    if routes and upstream.enabled:
        texts = [text] if level != "ok" else []
        text = "; ".join([*texts, *(f"{route.model.slug}: {of_route(route)[1]}" for route in routes)])
        level = "warning" if level == "ok" else level
    return UpstreamHealth(level, text, len(upstream.keys.all()), usable, *counts)


def of_route(route: Route) -> tuple[Level, str]:
    """Return the level of a route, and why requests pass it over."""
    if route.passed_over_since is None:
        return "ok", _("ok")
    requests = ngettext("%(count)d request", "%(count)d requests", route.passed_over) % {"count": route.passed_over}
    found = {"requests": requests, "time": _clock_time(route.passed_over_since)}
    text = _("passed over: %(reason)s") % {"reason": status_texts.in_words(route.passed_over_reason)}
    return "warning", f"{text} [{_('%(requests)s since %(time)s') % found}]"


def of_model(model: ChatModel) -> tuple[Level, str]:
    """Return the level of a model and the reasons; prefetch its routes."""
    texts = []
    if model.context_assumed:
        texts.append(_("context size unknown, taken as %(count)s") % {"count": f"{model.context_tokens:,}"})
    texts += [f"{route.upstream.slug}: {of_route(route)[1]}" for route in model.routes.all() if route.passed_over_since]
    return ("warning", "; ".join(texts)) if texts else ("ok", _("ok"))


def lessons_of(route: Route) -> str:
    """Return what the upstream refused of our configuration, in words."""
    learned, texts = Learned.of(route.learned), []
    if learned.token_cap_field:
        texts.append(_("the token cap is sent as %(name)s") % {"name": learned.token_cap_field})
    if learned.include_usage is False:
        texts.append(_("usage is not asked for"))
    if learned.refused:
        names = ", ".join(f"{name}={value!r}" for name, value in learned.refused.items())
        texts.append(_("left out: %(names)s") % {"names": names})
    if learned.most_tokens:
        texts.append(_("max_tokens is at most %(count)s") % {"count": f"{learned.most_tokens:,}"})
    if learned.refused_thinking:
        names = ", ".join(sorted(learned.refused_thinking))
        texts.append(_("unknown types of thinking: %(names)s") % {"names": names})
    return "; ".join(texts)


def routes_passed_over() -> QuerySet[Route]:
    """Return the routes that requests pass over, the longest first."""
    rows = Route.objects.exclude(passed_over_since=None).filter(model__enabled=True, upstream__enabled=True)
    return rows.select_related("model", "upstream").order_by("passed_over_since")


def _level_and_text(upstream: Upstream, keys: int, usable: int, *, troubled: bool) -> tuple[Level, str]:
    if not upstream.enabled:
        return "off", _("switched off")
    if circuits := upstream.troubles.all():
        out = {circuit.model for circuit in circuits if circuit.cooldown_until}
        is_down = bool(out) and out.issuperset(route.upstream_model for route in upstream.routes.all())
        return "down" if is_down else "warning", "; ".join(map(_of_trouble, circuits))
    if not keys:
        # An upstream without key rows needs no key. When all its key rows are disabled, no attempt is possible.
        return ("down", _("all keys are switched off")) if upstream.keys.all() else ("ok", _("ok, without a key"))
    if usable < keys:
        text = ngettext("%(count)d key cannot be used", "%(count)d keys cannot be used", keys - usable)
        return ("warning" if usable else "down"), text % {"count": keys - usable}
    return ("warning", _("some models cannot be used with every key")) if troubled else ("ok", _("ok"))


def _of_trouble(trouble: KeyTrouble | UpstreamTrouble) -> str:
    """Return a trouble in words: state and reason; in brackets class, evidence and probes."""
    if isinstance(trouble, KeyTrouble) and trouble.quarantined_at:
        text = _("quarantined since %(time)s") % {"time": _clock_time(trouble.quarantined_at)}
    elif trouble.cooldown_until and trouble.is_cooling:
        text = _("cooling until %(time)s") % {"time": _clock_time(trouble.cooldown_until)}
    elif trouble.cooldown_until is None:
        text = _("suspected")
    elif trouble.blame == KeyTrouble.Blame.RATE:
        text = _("in use again")
    else:
        text = _("waits for one successful probe")
    facts = [trouble.get_blame_display()] if trouble.blame else []
    if trouble.requests and trouble.since:
        requests = ngettext("%(count)d request", "%(count)d requests", trouble.requests) % {"count": trouble.requests}
        users = ngettext("%(count)d user", "%(count)d users", trouble.users) % {"count": trouble.users}
        found = {"requests": requests, "users": users, "time": _clock_time(trouble.since)}
        facts.append(_("%(requests)s of %(users)s since %(time)s") % found)
    if trouble.last_probe_at:
        facts.append(_("last probe %(time)s") % {"time": _clock_time(trouble.last_probe_at)})
    if trouble.next_probe_at:
        facts.append(_("next probe from %(time)s") % {"time": _clock_time(trouble.next_probe_at)})
    return f"{text}: {_reason(trouble)}" + (f" [{', '.join(facts)}]" if facts else "")


def _reason(trouble: KeyTrouble | UpstreamTrouble) -> str:
    scope = f" ({trouble.model})" if trouble.model else ""
    return status_texts.in_words(trouble.status_reason) + scope


def _clock_time(moment: datetime) -> str:
    """Return the local time, with the date when it is not today's."""
    local = timezone.localtime(moment)
    return local.strftime("%H:%M:%S" if local.date() == timezone.localdate() else "%Y-%m-%d %H:%M")
