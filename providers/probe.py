"""One short request of ours to an upstream, never with a user's content.

Neutral probes decide about keys and upstreams with it, and operators try keys with it.
"""

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import cast

from providers.wire.base import JSON, ChatRequest, Delta, Event, Finished, PromptMessage, Provider, Reasoning
from providers.wire.errors import Retry

# How many times one request is sent in another form that an upstream asked for.
MAX_RESENDS = 3


async def first_words(
    adapter: Provider, model: str, secret: str | None, prompt: str, parameters: Mapping[str, JSON]
) -> str:
    """Return the first words of a completion, or `…` for an empty one; raise ProviderError.

    When the upstream asks for another form of the request, that form is sent.
    """
    request = ChatRequest(model, (PromptMessage("user", prompt),), parameters, secrets.token_hex(16))
    for _attempt in range(MAX_RESENDS):
        stream = cast("AsyncGenerator[Event, None]", adapter.stream(request, secret))
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    if isinstance(event, Delta | Reasoning) and event.text.strip():
                        return event.text
                    if isinstance(event, Finished):
                        break
            return "…"
        except Retry as retry:
            request, failure = retry.request, retry.otherwise
    raise failure
