"""Serve chat completions and models of /v1, the API that OpenAI's clients use.

https://platform.openai.com/docs/api-reference/chat. The common part of all shapes is in `calls.py`.
"""

from django.http import HttpRequest, HttpResponseBase

from accounts.auth import Caller, aauthenticate_bearer
from chat import representation
from chat.events.schemas import CHUNKS
from chat.openai import bodies, legacy, schemas
from chat.openai.bodies import CompletionBody
from chat.openai.calls import ApiCall, caller_of, json_response, serve
from chat.openai.legacy import LegacyChunks, LegacyWhole
from chat.openai.relay import Chunks, Whole
from providers.apps import providers_app
from providers.errors import UnknownModel
from providers.snapshot import ModelConfig
from runtime import database
from web.methods import methods
from web.openapi import Operation
from web.refusals import NotFound

# The Unix time that clients get for every model, because models have no date of their own.
CREATED = 1_700_000_000
CREATED_AT = "2023-11-14T22:13:20Z"
GROUP = "OpenAI-compatible"


@Operation(
    GROUP,
    "A completion, streamed or whole",
    body=CompletionBody,
    headers=("Idempotency-Key",),
    example={"model": "demo", "messages": [{"role": "user", "content": "Hello"}]},
    returns=(schemas.Completion, CHUNKS),
    refuses=(404, 409, 429, 500, 502, 504),
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def post_completion(request: HttpRequest) -> HttpResponseBase:
    caller = await caller_of(request)
    body, messages = bodies.parse(request)
    chunks, whole = (LegacyChunks, LegacyWhole) if body.functions else (Chunks, Whole)
    relay = chunks(include_usage=body.stream_options.include_usage) if body.stream else whole()
    names = legacy.NAMES if body.functions else {}
    return await serve(request, caller, ApiCall(body.model, messages, body.parameters(), body.extras(), names), relay)


@Operation(
    GROUP,
    "The models that the caller may use",
    returns=schemas.OpenAIModels,
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def get_models(request: HttpRequest) -> HttpResponseBase:
    caller = await aauthenticate_bearer(request)
    listed = [_model(config) for config in (await offered(caller)).values()]
    # The last three are for Anthropic's clients.
    ids = [model["id"] for model in listed]
    ends = {"has_more": False, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return json_response({"object": "list", "data": listed, **ends})


@Operation(GROUP, "One of these models", returns=schemas.OpenAIModel, refusal=schemas.OpenAIRefusal, proof="bearer")
async def get_model(request: HttpRequest, model_id: str) -> HttpResponseBase:
    caller = await aauthenticate_bearer(request)
    config = (await offered(caller)).get(model_id)
    if config is None:
        raise UnknownModel
    return json_response(_model(config))


async def offered(caller: Caller) -> dict[str, ModelConfig]:
    """Return the models that the caller may use, by slug."""
    models = await database.run(
        representation.models_with_quota, providers_app().configuration, caller.user.pk, caller.token
    )
    return {config.slug: config for config, _quota in models}


def _model(config: ModelConfig) -> schemas.OpenAIModel:
    return {
        "id": config.slug,
        "object": "model",
        "created": CREATED,
        "owned_by": "system",
        "type": "model",
        "display_name": str(config.title),
        "created_at": CREATED_AT,
        "context_length": config.context_tokens,
        "capabilities": config.takes_of_routes(),
    }


async def unknown(request: HttpRequest, rest: str = "") -> HttpResponseBase:
    """Refuse every other route below /v1."""
    raise NotFound


completions = methods(POST=post_completion)
models = methods(GET=get_models, HEAD=get_models)
one_model = methods(GET=get_model, HEAD=get_model)
