"""Serve chat requests and event streams with plain async views.

Each view makes one domain call; the page is in `pages`. The views run behind the short list of middleware, so every
view calls the authenticator itself.
"""

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import reverse

from accounts import guests
from accounts.auth import Caller, aauthenticate, require_may_chat
from chat import bodies, representation, schemas, text_tools
from chat.apps import chat as chat_app
from chat.bodies import ChatBody, ContinueBody, RegenerateBody, idempotency_key
from chat.events import schemas as events_schemas
from chat.events.sse import LogStream, for_event_source, last_event_id, no_more_events
from chat.generations import lookup
from chat.generations.request import GenerationRequest
from chat.models import Generation
from chat.presets import choice
from providers.apps import providers_app
from runtime import database
from web.methods import methods
from web.openapi import Operation
from web.refusals import Refusal

# Names in the query of `GET /api/chat/`, and those that are not part of the request itself.
QUERY_NAMES = frozenset({"model", "prompt", "conversation", "text_tool", "target_language", "idempotency_key"})
IGNORED_NAMES = frozenset({"ticket", "last_event_id", "idempotency_key"})


# --- starting --------------------------------------------------------------------------------------------------------


@Operation(
    "Chat",
    "Ask a model",
    "It goes on when the caller leaves. `Accept: text/event-stream` gets its events, any other caller a 202.",
    body=ChatBody,
    example={"model": "demo", "prompt": "Hello"},
    returns=schemas.BEGUN,
    headers=("Idempotency-Key",),
    refuses=schemas.BEGIN_REFUSALS,
)
async def post_chat(request: HttpRequest) -> HttpResponseBase:
    caller = await _chatting(request)
    body = bodies.from_json(request, ChatBody)
    return await _started(request, caller, await _generation_request(request, caller, body, idempotency_key(request)))


@Operation(
    "Chat",
    "Ask the same question again",
    "The new completion is a sibling of the given one.",
    body=RegenerateBody,
    example={"model": "demo"},
    returns=schemas.BEGUN,
    headers=("Idempotency-Key",),
    refuses=schemas.BEGIN_REFUSALS,
)
async def post_regenerate(request: HttpRequest, message_id: int) -> HttpResponseBase:
    caller = await _chatting(request)
    body = bodies.from_json(request, RegenerateBody)
    key = idempotency_key(request)
    regenerating = GenerationRequest(
        caller.user.pk,
        body.model or "",
        regenerate=message_id,
        idempotency_key=key,
        token=caller.token,
        guest_address=guests.address_of(request, caller.user),
        standing=caller.user.instructions,
    )
    return await _started(request, caller, await _repeated(regenerating))


@Operation(
    "Chat",
    "Go on with a completion that ended early",
    "The new text is appended to the same message.",
    body=ContinueBody,
    example={},
    returns=schemas.BEGUN,
    headers=("Idempotency-Key",),
    refuses=schemas.BEGIN_REFUSALS,
)
async def post_continue(request: HttpRequest, message_id: int) -> HttpResponseBase:
    caller = await _chatting(request)
    bodies.from_json(request, ContinueBody)
    key = idempotency_key(request)
    continuing = GenerationRequest(
        caller.user.pk,
        continues=message_id,
        idempotency_key=key,
        token=caller.token,
        guest_address=guests.address_of(request, caller.user),
        standing=caller.user.instructions,
    )
    return await _started(request, caller, await _repeated(continuing))


async def _chatting(request: HttpRequest) -> Caller:
    caller = await aauthenticate(request)
    require_may_chat(caller)
    return caller


async def _repeated(generation_request: GenerationRequest) -> GenerationRequest:
    """Return a request for another completion with the parameters of the first."""
    return await database.run(choice.repeated, generation_request, providers_app().configuration)


async def _generation_request(
    request: HttpRequest, caller: Caller, body: ChatBody, key: str | None, *, joins: bool = False
) -> GenerationRequest:
    instruction, in_common, own_prompt = "", b"", body.system_prompt
    if body.preset is not None:
        in_common = choice.digest_source(body)
        body = await database.run(choice.with_preset, caller.user.pk, body, key, providers_app().configuration)
    if body.text_tool:
        chinese = text_tools.is_chinese_active()
        instruction = await database.run(text_tools.instruction, body.text_tool, body.target_language, chinese=chinese)
    return GenerationRequest(
        caller.user.pk,
        body.model,
        body.prompt,
        body.conversation,
        body.parent,
        body.system_prompt,
        body.parameters(),
        idempotency_key=key,
        joins_running=joins and key is None,
        kept=not instruction,
        instruction=instruction,
        token=caller.token,
        guest_address=guests.address_of(request, caller.user),
        attachments=tuple(dict.fromkeys(body.attachments)),
        extras=body.extras(),
        body=in_common,
        has_preset_prompt=own_prompt is None and body.system_prompt is not None,
        standing=caller.user.instructions,
        temporary=body.temporary,
    )


async def _started(request: HttpRequest, caller: Caller, generation_request: GenerationRequest) -> HttpResponseBase:
    """Start the generation; respond with its events if the caller accepts them, else JSON."""
    streams = "text/event-stream" in request.META.get("HTTP_ACCEPT", "").lower()
    if streams:
        chat_app().streams.check(caller.user.pk)
    started = await chat_app().generations.start(generation_request)
    headers = representation.quota_headers(started.reservation)
    if streams:
        return await _events_of(started.row, caller, last_event_id(request) or "", headers)
    row = started.row if started.reservation else await database.run(lookup.owned, caller.user.pk, started.row.id)
    body = schemas.Begun(generation=representation.generation(row), events=reverse("generation-events", args=[row.id]))
    return JsonResponse(body, status=202, headers=headers)


# --- the GET twin for EventSource ------------------------------------------------------------------------------------


def _refused(refusal: Refusal) -> dict[str, Any]:
    """Return the data of the `error` event for a refusal."""
    retry = {} if refusal.wait_seconds is None else {"retry_after": refusal.wait_seconds}
    return {**refusal.body(), "charge": {"amount": 0, "source": "none", "reason": refusal.code}, **retry}


@Operation(
    "Chat",
    "Ask a model from an EventSource",
    "A refusal is an `error` event of the stream.",
    returns={200: events_schemas.CHAT, 204: None},
    query={
        **dict.fromkeys(("model", "prompt", "text_tool", "target_language"), str),
        "conversation": int,
        **dict.fromkeys(("idempotency_key", "last_event_id"), str),
    },
    headers=("Last-Event-ID",),
    proof="ticket",
)
@for_event_source(QUERY_NAMES, _refused)
async def get_chat(request: HttpRequest, caller: Caller, last_id: str | None) -> HttpResponseBase:
    if last_id is not None:
        row = await database.run(lookup.owned, caller.user.pk, last_id.partition(":")[0], texts=False)
        return await _events_of(row, caller, last_id)
    body = bodies.from_query(request.GET, ChatBody, IGNORED_NAMES)
    key = idempotency_key(request, request.GET.get("idempotency_key", ""))
    chat_app().streams.check(caller.user.pk)
    started = await chat_app().generations.start(await _generation_request(request, caller, body, key, joins=True))
    return await _events_of(started.row, caller, "", representation.quota_headers(started.reservation))


# --- one generation --------------------------------------------------------------------------------------------------

_PATH = {"generation_id": schemas.GENERATION_ID}


@Operation("Chat", "One generation", returns=schemas.Generation, path=_PATH)
async def get_generation(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    caller = await aauthenticate(request)
    return JsonResponse(representation.generation(await database.run(lookup.owned, caller.user.pk, generation_id)))


@Operation("Chat", "Stop a generation", returns=schemas.Generation, path=_PATH)
async def post_stop(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    caller = await aauthenticate(request)
    row = await database.run(lookup.owned, caller.user.pk, generation_id)
    await chat_app().generations.stop(row)
    return JsonResponse(representation.generation(await database.run(lookup.owned, caller.user.pk, generation_id)))


@Operation(
    "Chat",
    "The events of a generation",
    "From the beginning or after the last event that the reader has, then those to come.",
    returns={200: events_schemas.CHAT, 204: None},
    query={"last_event_id": str},
    headers=("Last-Event-ID",),
    path=_PATH,
    proof="ticket",
)
async def get_events(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    caller = await aauthenticate(request, tickets=True)
    row = await database.run(lookup.owned, caller.user.pk, generation_id, texts=False)
    return await _events_of(row, caller, last_event_id(request) or "")


async def _events_of(
    row: Generation, caller: Caller, last_id: str, headers: dict[str, str] | None = None
) -> HttpResponseBase:
    """Replay the events after `last_id`, and follow.

    `headers` are those of a generation that this request has started: it is not refused any more.
    """
    after = _event_number(row, last_id)
    if row.status != Generation.Status.RUNNING and after == row.last_event:
        return no_more_events()
    log = await chat_app().generations.log_of(row)
    if log.ended and after == log.last:
        return no_more_events()
    if headers is None:
        chat_app().streams.check(caller.user.pk)
    return LogStream(chat_app().streams, caller.user.pk, log.follow(after)).response(headers)


def _event_number(row: Generation, event_id: str) -> int | None:
    """Return the number in an event id: 0 without one, None for a wrong one."""
    if not event_id:
        return 0
    channel, _colon, number = event_id.partition(":")
    if channel != row.id or not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    return int(number)


chat = methods(POST=post_chat, GET=get_chat)
regenerate = methods(POST=post_regenerate)
go_on = methods(POST=post_continue)
one_generation = methods(GET=get_generation)
stop = methods(POST=post_stop)
events = methods(GET=get_events)
