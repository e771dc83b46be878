"""Try a key with one short request to its upstream.

Operators use it to find out at once whether a key works.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from providers import routing, snapshot, status_texts
from providers.keys import ANY_MODEL
from providers.models import ApiKey, KeyTrouble, Route, Upstream
from providers.snapshot import Configuration
from providers.wire.base import ChatRequest, Delta, PromptMessage, Provider, Reasoning
from providers.wire.errors import ProviderError, Retry
from runtime import database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from providers.wire.base import Event

# Seconds after which a trial is given up.
TRIAL_SECONDS = 30
_PROMPT = (PromptMessage("user", "Say OK."),)
# Characters of the completion that the operator sees.
_QUOTED_CHARS = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a trial; `text` holds no key, no address and no vendor's words."""

    ok: bool
    text: "str | Promise"


async def try_keys(key_ids: Iterable[int], configuration: Configuration) -> list[Outcome]:
    """Try several keys at once."""
    return await asyncio.gather(*(try_key(key_id, configuration) for key_id in key_ids))


async def try_key(key_id: int, configuration: Configuration) -> Outcome:
    """Send a short prompt with a key.

    The model is one that the key has trouble with, else the first that has a route to its upstream. Success ends the
    trouble with that model, the trouble with all models, and the upstream's own cooldown.
    """
    route = await database.run(_route_of, key_id)
    if route is None:
        return Outcome(False, _("No model has a route to this upstream yet."))
    upstream, model, secret = route
    provider = routing.new_provider(upstream)
    request = ChatRequest(model, _PROMPT, {}, "0" * 32)
    began = time.monotonic()
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            text = await _completion(provider, request, secret)
    except TimeoutError:
        return Outcome(False, format_lazy(_("No reply within {seconds} seconds."), seconds=TRIAL_SECONDS))
    except ProviderError as error:
        return Outcome(False, status_texts.failure_text(error))
    finally:
        await provider.aclose()
    await database.run(_clear_trouble, key_id, model)
    configuration.forget()
    took = round((time.monotonic() - began) * 1000)
    return Outcome(True, format_lazy(_("{model} replied after {took} ms: “{text}”"), model=model, took=took, text=text))


async def _completion(provider: Provider, request: ChatRequest, secret: str | None) -> str:
    """Return the first words, asked for in the form that the upstream wants."""
    for _attempt in range(routing.MAX_RESENDS):
        try:
            async with aclosing(cast("AsyncGenerator[Event, None]", provider.stream(request, secret))) as events:
                async for event in events:
                    if isinstance(event, Delta | Reasoning) and event.text.strip():
                        return " ".join(event.text.split())[:_QUOTED_CHARS]
            return "…"
        except Retry as retry:
            request, failure = retry.request, retry.otherwise
    raise failure


def _route_of(key_id: int) -> tuple[snapshot.UpstreamConfig, str, str | None] | None:
    key = ApiKey.objects.select_related("upstream").get(pk=key_id)
    routes = Route.objects.filter(upstream=key.upstream, model__enabled=True).order_by("priority", "id")
    troubled = routes.filter(upstream_model__in=key.troubles.values("model"))
    route = troubled.first() or routes.first()
    if route is None:
        return None
    return snapshot.upstream_config(key.upstream), route.upstream_model, key.secret()


def _clear_trouble(key_id: int, model: str) -> None:
    KeyTrouble.objects.filter(key_id=key_id, model__in=[ANY_MODEL, model]).delete()
    Upstream.objects.filter(keys=key_id).update(cooldown_until=None, status_reason="")
