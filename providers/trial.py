"""One real request with one key, for an operator who wants to know now how it is."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from providers import routing, table
from providers.models import ApiKey, KeyTrouble
from providers.wire.base import ChatRequest, Delta, Finished, PromptMessage, Reasoning
from providers.wire.errors import ProviderError, Retry
from runtime import database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from providers.wire.base import Event

TRIAL_SECONDS = 30
_QUESTION = (PromptMessage("user", "Say OK."),)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; `text` may be shown: never a key, an address or a vendor's raw words."""

    ok: bool
    text: str


async def try_key(key_id: int) -> Outcome:
    """Ask the upstream of a key something short, with the first model it is a route of; success ends its troubles."""
    found = await database.run(_route_of, key_id)
    if found is None:
        return Outcome(False, "no model has a route to this upstream")
    upstream, model, secret = found
    provider = routing.KINDS[upstream.kind](upstream)
    request = ChatRequest(model, _QUESTION, {}, "0" * 32)
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            said = await _first_words(cast("AsyncGenerator[Event, None]", provider.stream(request, secret)))
    except TimeoutError:
        return Outcome(False, f"no answer within {TRIAL_SECONDS} s")
    except ProviderError as error:
        return Outcome(False, f"{error} {error.vendor_code}".strip())
    except Retry as retry:
        return Outcome(True, f"answered, asking for another form of the request: {retry}")
    finally:
        await provider.aclose()
    await database.run(KeyTrouble.objects.filter(key_id=key_id).delete)
    table.forget()
    return Outcome(True, said)


async def _first_words(stream: "AsyncGenerator[Event, None]") -> str:
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, Delta | Reasoning) and event.text.strip():
                return event.text.strip()[:40]
            if isinstance(event, Finished):
                return event.reason
    return "ok"


def _route_of(key_id: int) -> tuple[table.UpstreamConfig, str, str | None] | None:
    key = ApiKey.objects.select_related("upstream").get(pk=key_id)
    route = key.upstream.routes.filter(model__enabled=True).order_by("priority", "id").first()
    if route is None:
        return None
    return table.upstream_config(key.upstream), route.upstream_model, key.secret()
