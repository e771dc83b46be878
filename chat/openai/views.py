"""Serve chat completions and models of /v1, the API that OpenAI's clients use.

https://platform.openai.com/docs/api-reference/chat. The common part of all shapes is in `calls.py`.
"""

from django.http import HttpRequest, HttpResponseBase

from accounts.auth import Caller, aauthenticate_bearer
from chat import representation
from chat.events.schemas import CHUNKS
from chat.openai import bodies, schemas
from chat.openai.bodies import CompletionBody
from chat.openai.calls import ApiCall, caller_of, json_response, serve
from chat.openai.relay import Chunks, Whole
from providers.apps import providers_app
from providers.errors import UnknownModel
from runtime import database
from web.methods import methods
from web.openapi import Operation
from web.refusals import NotFound

# The Unix time that clients get for every model, because models have no date of their own.
CREATED = 1_700_000_000
GROUP = "OpenAI-compatible"


@Operation(
    GROUP,
    "A completion, streamed or whole",
    body=CompletionBody,
    example={"model": "demo", "messages": [{"role": "user", "content": "Hello"}]},
    returns=(schemas.Completion, CHUNKS),
    refuses=(404, 429, 500, 502, 504),
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def post_completion(request: HttpRequest) -> HttpResponseBase:
    caller = await caller_of(request)
    body, messages = bodies.parse(request)
    relay = Chunks(include_usage=body.stream_options.include_usage) if body.stream else Whole()
    return await serve(request, caller, ApiCall(body.model, messages, body.parameters(), body.extras()), relay)


@Operation(
    GROUP,
    "The models that the caller may use",
    returns=schemas.OpenAIModels,
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def get_models(request: HttpRequest) -> HttpResponseBase:
    caller = await aauthenticate_bearer(request)
    return json_response({"object": "list", "data": [_model(slug) for slug in await offered(caller)]})


@Operation(GROUP, "One of these models", returns=schemas.OpenAIModel, refusal=schemas.OpenAIRefusal, proof="bearer")
async def get_model(request: HttpRequest, model_id: str) -> HttpResponseBase:
    caller = await aauthenticate_bearer(request)
    if model_id not in await offered(caller):
        raise UnknownModel
    return json_response(_model(model_id))


async def offered(caller: Caller) -> list[str]:
    """Return the slugs of the models that the caller may use."""
    models = await database.run(representation.offered_models, providers_app().configuration, caller.user.pk)
    return [str(model["slug"]) for model in models]


def _model(slug: str) -> schemas.OpenAIModel:
    return {"id": slug, "object": "model", "created": CREATED, "owned_by": "system"}


async def unknown(request: HttpRequest, rest: str = "") -> HttpResponseBase:
    """Refuse every other route below /v1."""
    raise NotFound


completions = methods(POST=post_completion)
models = methods(GET=get_models, HEAD=get_models)
one_model = methods(GET=get_model, HEAD=get_model)
