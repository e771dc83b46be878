"""Serve /v1, the API that OpenAI's clients use, with the same generations.

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
from chat.events.sse import SourceStream
from chat.generations.request import GenerationRequest
from chat.openai import bodies, errors, schemas
from chat.openai.bodies import CompletionBody
from chat.openai.relay import Chunks, Relay, Whole
from providers.apps import providers_app
from providers.errors import UnknownModel
from runtime import database
from web import disconnect
from web.methods import methods
from web.openapi import Operation
from web.refusals import NotFound

# Seconds that the status waits for the first text; after that clients and proxies need a response.
HOLD_SECONDS = 10.0
# The Unix time that clients get for every model, because models have no date of their own.
CREATED = 1_700_000_000
# Bytes of a body from which on its texts are screened in a thread of their own.
LARGE_BYTES = 128 * 1024
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
    whole = None if body.stream else Whole()
    relay = whole or Chunks(include_usage=body.stream_options.include_usage)
    # Before the start, so that a caller that leaves meanwhile stops the run too.
    disconnect.client_of(request).on_disconnect(relay.leave)
    generation_request = GenerationRequest(
        caller.user.pk,
        body.model,
        bodies.new_text(messages),
        parameters=body.parameters(),
        kept=False,
        is_api_call=True,
        is_large=len(request.body) > LARGE_BYTES,
        messages=messages,
        extras=body.extras(),
    )
    started = await chat().generations.start(generation_request, relay)
    stream = RelayStream(chat().streams, caller.user.pk, relay)
    headers = representation.quota_headers(started.reservation)
    if whole is None:
        await stream.hold(HOLD_SECONDS)
        if relay.failure and not relay.started:
            raise errors.Failed(relay.failure)
        return stream.response(headers)
    async for _bytes in stream.events():
        pass  # keep-alive comments need a response that has begun
    if whole.failure or not whole.at_end:
        raise errors.Failed(whole.failure or errors.interrupted())
    return _json(whole.body, headers)


class RelayStream(SourceStream):
    """The caller's side of a relay. A caller that is cut off counts as left."""

    _source: Relay
    # One line each, because some clients take an empty line for the end of an event.
    keep_alive, opening = b": ping\n", b": open\n"

    async def hold(self, seconds: float) -> None:
        """Wait for the first text or the end, for `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._source.started or self._source.at_end):
                    self._woken.clear()
                    await self._woken.wait()

    def close(self, last_data: bytes = b"") -> None:
        """End with an error, so that clients know that the completion is not whole."""
        super().close(errors.event(errors.interrupted()))

    def _opening(self) -> bytes:
        return self._source.take() or self.opening


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
models = methods(GET=get_models, HEAD=get_models)
one_model = methods(GET=get_model, HEAD=get_model)
