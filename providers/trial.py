"""One real request with one key, for an operator who wants to know now how it is."""

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
from providers.wire.base import ChatRequest, Delta, Finished, PromptMessage, Provider, Reasoning
from providers.wire.errors import ProviderError, Retry
from runtime import database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from providers.wire.base import Event

TRIAL_SECONDS = 30
_QUESTION = (PromptMessage("user", "Say OK."),)
_SHOWN_CHARS = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; `text` may be shown: never a key, an address or a vendor's raw words in a failure."""

    ok: bool
    text: "str | Promise"


async def try_keys(key_ids: Iterable[int]) -> list[Outcome]:
    """Try several keys at once."""
    return await asyncio.gather(*(try_key(key_id) for key_id in key_ids))


async def try_key(key_id: int) -> Outcome:
    """Ask the upstream of a key something short.

    The model is one that the key has trouble with, else the first that has a route to its upstream. Success ends the
    trouble with that model, the trouble with all of them, and the upstream's own cooldown.
    """
    found = await database.run(_route_of, key_id)
    if found is None:
        return Outcome(False, _("No model has a route to this upstream yet."))
    upstream, model, secret = found
    provider = routing.KINDS[upstream.kind](upstream)
    request = ChatRequest(model, _QUESTION, {}, "0" * 32)
    began = time.monotonic()
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            said = await _answer(provider, request, secret)
    except TimeoutError:
        return Outcome(False, format_lazy(_("No answer within {seconds} seconds."), seconds=TRIAL_SECONDS))
    except ProviderError as error:
        return Outcome(False, status_texts.told(error))
    finally:
        await provider.aclose()
    await database.run(_recovered, key_id, model)
    snapshot.forget()
    took = round((time.monotonic() - began) * 1000)
    return Outcome(
        True, format_lazy(_("{model} answered after {took} ms: “{said}”"), model=model, took=took, said=said)
    )


async def _answer(provider: Provider, request: ChatRequest, secret: str | None) -> str:
    """Return the first words, asking again in another form where the upstream wants one, as answers do."""
    for _attempt in range(routing.MAX_LEARNED):
        try:
            return await _first_words(cast("AsyncGenerator[Event, None]", provider.stream(request, secret)))
        except Retry as retry:
            request, failure = retry.request, retry.otherwise
    raise failure


async def _first_words(stream: "AsyncGenerator[Event, None]") -> str:
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, Delta | Reasoning) and event.text.strip():
                return " ".join(event.text.split())[:_SHOWN_CHARS]
            if isinstance(event, Finished):
                break
    return "…"


def _route_of(key_id: int) -> tuple[snapshot.UpstreamConfig, str, str | None] | None:
    key = ApiKey.objects.select_related("upstream").get(pk=key_id)
    routes = Route.objects.filter(upstream=key.upstream, model__enabled=True).order_by("priority", "id")
    troubled = routes.filter(upstream_model__in=key.troubles.values("model"))
    route = troubled.first() or routes.first()
    if route is None:
        return None
    return snapshot.upstream_config(key.upstream), route.upstream_model, key.secret()


def _recovered(key_id: int, model: str) -> None:
    KeyTrouble.objects.filter(key_id=key_id, model__in=[ANY_MODEL, model]).delete()
    Upstream.objects.filter(keys=key_id).update(cooldown_until=None, status_reason="")
