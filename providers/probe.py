"""One short request of ours to an upstream, never with a user's content.

Neutral probes decide about keys and upstreams with it, and operators try keys with it.
"""

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import cast

from providers.wire.base import (
    EMBEDDINGS,
    JSON,
    ChatRequest,
    Delta,
    Event,
    Finished,
    PromptMessage,
    Provider,
    Reasoning,
)
from providers.wire.errors import ProviderError, Retry

# How many times one request is sent in another form that an upstream asked for.
MAX_RESENDS = 3
# The prompt of a neutral probe.
_PROMPT = "Hi"


async def first_words(
    adapter: Provider, model: str, secret: str | None, prompt: str, parameters: Mapping[str, JSON]
) -> str:
    """Return the first words of a completion, or `…` for an empty one; raise ProviderError.

    When the upstream asks for another form of the request, that form is sent.
    """
    request = ChatRequest(model, (PromptMessage("user", prompt),), parameters, secrets.token_hex(16))
    return await _first_words(adapter, request, secret)


async def find_fault(adapter: Provider, model: str, secret: str | None, *, embeds: bool) -> ProviderError | None:
    """Return why a model cannot be used, None when it can be.

    A refusal of our request is no reason. With `embeds` the model may be one for embeddings. It is asked for these
    first, and then for a completion, because the users' requests do not show which of the two it gives.
    """
    faults: list[ProviderError] = []
    forms: list[Mapping[str, JSON]] = [{EMBEDDINGS: {}}, {}] if embeds else [{}]
    for extras in forms:
        parameters: Mapping[str, JSON] = {} if extras else {"max_tokens": 1}
        messages = (PromptMessage("user", _PROMPT),)
        request = ChatRequest(model, messages, parameters, secrets.token_hex(16), extras=extras)
        try:
            await _first_words(adapter, request, secret)
            return None
        except ProviderError as error:
            faults.append(error.with_traceback(None))
    return next((fault for fault in faults if fault.blame != "request"), None)


async def _first_words(adapter: Provider, request: ChatRequest, secret: str | None) -> str:
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
