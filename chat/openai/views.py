"""Serve /v1, the API that OpenAI's clients use, with the same generations.

The views are plain async views that accept only bearer tokens. They follow
https://platform.openai.com/docs/api-reference/chat, with three rules of our own. Nothing is stored as a conversation.
When the caller leaves, the upstream is stopped. The status is sent when the upstream's first text arrives, or after
`HOLD_SECONDS`.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from accounts.auth import Caller, aauthenticate_bearer, require_reachable
from chat import representation
from chat.apps import chat
from chat.events.schemas import CHUNKS
from chat.events.sse import OPENING, OpenStreams, Stream
from chat.generations.request import GenerationRequest
from chat.openai import bodies, errors, schemas
from chat.openai.bodies import CompletionBody
from chat.openai.relay import Chunks, Relay, Whole
from providers.apps import providers_app
from providers.errors import UnknownModel
from providers.wire.base import PromptMessage
from runtime import database
from web import disconnect
from web.methods import methods
from web.openapi import Operation
from web.refusals import NotFound

# Seconds that the status waits for the first text; after that clients and proxies need a response.
HOLD_SECONDS = 10.0
# The Unix time that clients get for every model, because models have no date of their own.
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
    generation_request = _generation_request(caller, body, messages)
    if body.stream:
        return await _streamed(request, generation_request, Chunks(include_usage=body.stream_options.include_usage))
    return await _whole(request, generation_request, Whole())


def _generation_request(caller: Caller, body: CompletionBody, messages: tuple[PromptMessage, ...]) -> GenerationRequest:
    return GenerationRequest(
        caller.user.pk,
        body.model,
        bodies.new_text(messages),
        parameters=body.parameters(),
        kept=False,
        counted=False,
        messages=messages,
        extras=body.extras(),
    )


async def _start(
    request: HttpRequest, generation_request: GenerationRequest, relay: Relay
) -> tuple["RelayStream", dict[str, str]]:
    # Before the start, so that a caller that leaves meanwhile stops the run too.
    disconnect.client_of(request).on_disconnect(relay.leave)
    started = await chat().generations.start(generation_request, relay)
    stream = RelayStream(chat().streams, generation_request.user_id, relay)
    return stream, representation.quota_headers(started.reservation)


async def _streamed(request: HttpRequest, generation_request: GenerationRequest, relay: Chunks) -> HttpResponseBase:
    """Respond 200 once there is text; a failure before that has its own status."""
    stream, headers = await _start(request, generation_request, relay)
    await stream.hold(HOLD_SECONDS)
    if relay.failure and not relay.started:
        raise errors.Failed(relay.failure)
    return stream.response(headers)


async def _whole(request: HttpRequest, generation_request: GenerationRequest, relay: Whole) -> HttpResponseBase:
    stream, headers = await _start(request, generation_request, relay)
    async for _bytes in stream.events():
        pass  # keep-alive comments need a response that has begun
    if relay.failure or not relay.ended:
        raise errors.Failed(relay.failure or errors.interrupted())
    return _json(relay.body, headers)


class RelayStream(Stream):
    """The caller's side of a relay. A caller that is cut off counts as left."""

    def __init__(self, streams: OpenStreams, user_id: int, relay: Relay) -> None:
        super().__init__(streams, user_id)
        self._relay = relay
        relay.wake = self._woken.set

    async def hold(self, seconds: float) -> None:
        """Wait for the first text or the end, for `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._relay.started or self._relay.ended):
                    self._woken.clear()
                    await self._woken.wait()

    def close(self, last_data: bytes = b"") -> None:
        """End with an error, so that clients know that the completion is not whole."""
        super().close(errors.event(errors.interrupted()))

    async def _take(self) -> bytes:
        return self._relay.take()

    def _opening(self) -> bytes:
        return self._relay.take() or OPENING

    def _at_end(self) -> bool:
        return self._relay.ended

    def _leave(self) -> None:
        self._relay.leave()


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
    models = await database.run(representation.offered_models, providers_app().configuration, caller.user.pk)
    return [str(model["slug"]) for model in models]


def _model(slug: str) -> schemas.OpenAIModel:
    return {"id": slug, "object": "model", "created": CREATED, "owned_by": "system"}


def _json(body: Mapping[str, Any], headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json", headers=headers)


async def unknown(request: HttpRequest, rest: str = "") -> HttpResponseBase:
    """Refuse every other route below /v1."""
    raise NotFound


completions = methods(POST=post_completion)
models = methods(GET=get_models)
one_model = methods(GET=get_model)
