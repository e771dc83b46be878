"""/v1: the surface of OpenAI's clients, a thin door to the same generation. Plain async views, bearer tokens only.

Exactly as https://platform.openai.com/docs/api-reference/chat has it, as far as it goes: nothing is kept as a
conversation, the caller's leaving stops the upstream, and the status waits for the upstream's first words.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from accounts.auth import Caller, aauthenticate_bearer, require_reachable
from chat.events.schemas import CHUNKS
from chat.events.sse import OPENING, Stream
from chat.generations import service
from chat.generations.request import Ask, Begun
from chat.openai import bodies, errors, schemas
from chat.openai.bodies import CompletionBody
from chat.openai.relay import Chunks, Relay, Whole
from chat.pages import offered_models
from chat.views import methods, quota_headers
from providers.errors import UnknownModel
from providers.wire.base import PromptMessage
from runtime import database
from web import disconnect
from web.openapi import Operation
from web.refusals import NotFound

# How long the status waits; then clients and proxies in between want to see something.
HOLD_SECONDS = 10.0
# Models have no date of their own, and clients want one.
CREATED = 1_700_000_000
_GROUP = "OpenAI-compatible"


@Operation(
    _GROUP,
    "A completion, streamed or whole",
    body=CompletionBody,
    example={"model": "demo", "messages": [{"role": "user", "content": "Hello"}]},
    returns=(schemas.Completion, CHUNKS),
    refuses=(404, 429, 500, 502, 504),
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def post_completion(request: HttpRequest) -> HttpResponseBase:
    caller = await aauthenticate_bearer(request)
    require_reachable(caller)
    body, messages = bodies.parse(request)
    relay = Chunks(include_usage=body.stream_options.include_usage) if body.stream else Whole()
    # Before anything is begun: who leaves meanwhile has left.
    disconnect.client_of(request).on_disconnect(relay.leave)
    begun = await service.start(_ask(caller, body, messages), relay)
    stream = RelayStream(caller.user.pk, relay)
    return await (_streamed if body.stream else _whole)(begun, stream)


def _ask(caller: Caller, body: CompletionBody, messages: tuple[PromptMessage, ...]) -> Ask:
    return Ask(
        caller.user.pk,
        body.model,
        bodies.new_text(messages),
        parameters=body.parameters(),
        kept=False,
        counted=False,
        messages=messages,
        extras=body.extras(),
    )


async def _streamed(begun: Begun, stream: "RelayStream") -> HttpResponseBase:
    """Say 200 once there is something to say, and an error of its own status where nothing came."""
    await stream.hold(HOLD_SECONDS)
    if stream.relay.failure and not stream.relay.spoken:
        raise errors.Failed(stream.relay.failure)
    return stream.response(quota_headers(begun))


async def _whole(begun: Begun, stream: "RelayStream") -> HttpResponseBase:
    async for _bytes in stream.events():
        pass  # pings are for those who have been answered already
    relay = stream.relay
    if relay.failure or not isinstance(relay, Whole) or not relay.ended:
        raise errors.Failed(relay.failure or errors.interrupted())
    return _json(relay.body, quota_headers(begun))


class RelayStream(Stream):
    """The caller's side of a relay: what it has to say, as it comes. Whoever is cut off here has left."""

    def __init__(self, user_id: int, relay: Relay) -> None:
        super().__init__(user_id)
        self.relay = relay
        relay.wake = self._woken.set
        if self._last_words is not None:
            self.close()

    async def hold(self, seconds: float) -> None:
        """Wait for the first words or the end, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self.relay.spoken or self.relay.ended):
                    self._woken.clear()
                    await self._woken.wait()

    def close(self, last_words: bytes = b"") -> None:
        """End with an error: without one, clients would take what they have for the whole answer."""
        super().close(errors.event(errors.interrupted()))

    async def _take(self) -> bytes:
        return self.relay.take()

    def _opening(self) -> bytes:
        return self.relay.take() or OPENING

    def _at_end(self) -> bool:
        return self.relay.ended

    def _leave(self) -> None:
        self.relay.leave()


@Operation(
    _GROUP,
    "The models that the caller may use",
    returns=schemas.OpenAIModels,
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def get_models(request: HttpRequest) -> HttpResponseBase:
    caller = await aauthenticate_bearer(request)
    return _json({"object": "list", "data": [_model(slug) for slug in await _offered(caller)]})


@Operation(_GROUP, "One of these models", returns=schemas.OpenAIModel, refusal=schemas.OpenAIRefusal, proof="bearer")
async def get_model(request: HttpRequest, model_id: str) -> HttpResponseBase:
    caller = await aauthenticate_bearer(request)
    if model_id not in await _offered(caller):
        raise UnknownModel
    return _json(_model(model_id))


async def _offered(caller: Caller) -> list[str]:
    return [str(model["slug"]) for model in await database.run(offered_models, caller.user.pk)]


def _model(slug: str) -> schemas.OpenAIModel:
    return {"id": slug, "object": "model", "created": CREATED, "owned_by": "system"}


def _json(body: Mapping[str, Any], headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json", headers=headers)


async def unknown(request: HttpRequest, rest: str = "") -> HttpResponseBase:
    """Every other route below /v1, `/v1/responses` among them."""
    raise NotFound


completions = methods(POST=post_completion)
models = methods(GET=get_models)
one_model = methods(GET=get_model)
