"""Serve `POST /v1/responses`, OpenAI's newer shape: the same generations, and nothing is kept."""

from django.http import HttpRequest, HttpResponseBase

from chat.openai import responses_bodies, schemas
from chat.openai.calls import caller_of, serve
from chat.openai.responses_bodies import ResponsesBody
from chat.openai.responses_relay import ResponseEvents, WholeResponse
from chat.openai.views import GROUP
from web.methods import methods
from web.openapi import Operation


@Operation(
    GROUP,
    "A response, streamed or whole",
    "Nothing is kept, so the input must be whole: `store` is ignored, and `previous_response_id` is refused.",
    body=ResponsesBody,
    headers=("Idempotency-Key",),
    example={"model": "demo", "input": "Hello"},
    returns=(schemas.Response, schemas.RESPONSE_EVENTS),
    refuses=(404, 409, 429, 500, 502, 504),
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def post_response(request: HttpRequest) -> HttpResponseBase:
    caller = await caller_of(request)
    body, call = responses_bodies.parse(request)
    shown = body.shown()
    relay = (ResponseEvents if body.stream else WholeResponse)(shown, with_details=body.wants_details)
    return await serve(request, caller, call, relay)


responses = methods(POST=post_response)
