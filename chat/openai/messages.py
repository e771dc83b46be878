"""Serve `POST /v1/messages`, Anthropic's shape, with the same generations."""

import asyncio

import orjson
from django.http import HttpRequest, HttpResponseBase

from chat.apps import chat
from chat.openai import messages_bodies, schemas
from chat.openai.calls import LARGE_BYTES, ApiCall, caller_of, json_response, serve
from chat.openai.messages_bodies import CountBody, MessagesBody
from chat.openai.messages_relay import MessageEvents, WholeMessage
from chat.openai.views import offered
from providers.errors import UnknownModel
from providers.wire.base import estimate_tokens, prompt_tokens
from web.methods import methods
from web.openapi import Operation

_GROUP = "Anthropic-compatible"
_EXAMPLE = {"model": "demo", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


@Operation(
    _GROUP,
    "A message, streamed or whole",
    body=MessagesBody,
    headers=("Idempotency-Key",),
    example=_EXAMPLE,
    returns=(schemas.AnthropicMessage, schemas.ANTHROPIC_EVENTS),
    refuses=(404, 409, 429, 500, 502, 504),
    refusal=schemas.AnthropicRefusal,
    proof="bearer",
)
async def post_message(request: HttpRequest) -> HttpResponseBase:
    caller = await caller_of(request)
    body, call = messages_bodies.parse(request)
    relay = MessageEvents(await _tokens(request, call)) if body.stream else WholeMessage()
    return await serve(request, caller, call, relay)


@Operation(
    _GROUP,
    "Count the tokens of a prompt",
    "An estimate, because each vendor counts in its own way; off by about a quarter.",
    body=CountBody,
    example=_EXAMPLE,
    returns=schemas.AnthropicCount,
    refuses=(404, 429),
    refusal=schemas.AnthropicRefusal,
    proof="bearer",
)
async def count_tokens(request: HttpRequest) -> HttpResponseBase:
    caller = await caller_of(request)
    await chat().generations.count_call(caller.user.pk, caller.token)
    call = messages_bodies.parse_count(request)
    if call.model not in await offered(caller):
        raise UnknownModel
    return json_response({"input_tokens": await _tokens(request, call)})


async def _tokens(request: HttpRequest, call: ApiCall) -> int:
    """Return the estimate for a prompt; a large one is read in a thread."""
    return await asyncio.to_thread(_estimate, call) if len(request.body) > LARGE_BYTES else _estimate(call)


def _estimate(call: ApiCall) -> int:
    tools = call.extras.get("tools")
    return prompt_tokens(call.messages) + (estimate_tokens(orjson.dumps(tools).decode()) if tools else 0)


messages = methods(POST=post_message)
token_count = methods(POST=count_tokens)
