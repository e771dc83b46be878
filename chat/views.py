"""Event streams and their JSON neighbours: plain async views, each one domain call. The page is in pages.py.

These run behind the lean middleware list; every view asks the authenticator itself.
"""

import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import wraps
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.auth import Caller, aauthenticate, require_reachable
from chat import bodies, representation, schemas, text_tools
from chat.bodies import ChatBody, RegenerateBody
from chat.events import schemas as events_schemas
from chat.events.log import encode
from chat.events.sse import OPENING, EventStreamResponse, LogStream, no_more_events
from chat.generations import service
from chat.generations.replica import mirrors
from chat.generations.request import Ask, Begun
from chat.models import Generation
from runtime import database
from web.openapi import Operation
from web.refusals import Forbidden, InvalidRequest, MethodNotAllowed, NotFound, Refusal, from_exception

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]

# Names in the query of `GET /api/chat/` that are not part of the question.
BESIDE_THE_QUESTION = frozenset({"ticket", "last_event_id", "idempotency_key"})
MAX_KEY_CHARS = 255
GENERATION_ID = re.compile(r"[0-9a-f]{32}")


def methods(**views: View) -> View:
    """Return one view that chooses by method; an unknown method is refused with 405."""

    async def choose(request: HttpRequest, **kwargs: object) -> HttpResponseBase:
        view = views.get(request.method or "")
        if view is None:
            raise MethodNotAllowed(sorted(views))
        return await view(request, **kwargs)

    vars(choose)["views"] = views  # where the API's description finds them
    return choose


# --- asking ----------------------------------------------------------------------------------------------------------


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
    return await _answer(request, caller, await _ask(caller, body, _idempotency_key(request)))


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
    ask = Ask(caller.user.pk, body.model or "", regenerate=message_id, idempotency_key=_idempotency_key(request))
    return await _answer(request, caller, ask)


async def _chatting(request: HttpRequest) -> Caller:
    caller = await aauthenticate(request)
    require_reachable(caller)
    return caller


async def _ask(caller: Caller, body: ChatBody, key: str | None, *, joins: bool = False) -> Ask:
    instruction = ""
    if body.text_tool:
        chinese = text_tools.is_chinese_active()
        instruction = await database.run(text_tools.instruction, body.text_tool, body.target_language, chinese=chinese)
    return Ask(
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
    )


def _idempotency_key(request: HttpRequest, in_query: str = "") -> str | None:
    key = in_query or request.headers.get("Idempotency-Key", "")
    if len(key) > MAX_KEY_CHARS or not key.isprintable():
        raise InvalidRequest(details={"Idempotency-Key": [_("At most 255 printable characters.")]})
    return key or None


async def _answer(request: HttpRequest, caller: Caller, ask: Ask) -> HttpResponseBase:
    begun = await service.start(ask)
    headers = quota_headers(begun)
    if "text/event-stream" in request.headers.get("Accept", "").lower():
        return await events_of(begun.row, caller, last_event_id(request) or "", headers)
    row = begun.row if begun.held else await database.run(_with_message, begun.row.id)
    body = schemas.Begun(generation=representation.generation(row), events=reverse("generation-events", args=[row.id]))
    return JsonResponse(body, status=202, headers=headers)


def quota_headers(begun: Begun) -> dict[str, str]:
    """Return the headers of an answer for which a unit was reserved."""
    if begun.held is None:
        return {}
    reset = {"X-Quota-Reset": str(int(begun.held.resets_at.timestamp()))}
    return reset if begun.held.remaining is None else {**reset, "X-Quota-Remaining": str(begun.held.remaining)}


# --- the GET twin for EventSource ------------------------------------------------------------------------------------


def refused_as_event(view: View) -> View:
    """Answer refusals as an `error` event: an EventSource shows the page neither status nor body of anything else."""

    @wraps(view)
    async def guarded(request: HttpRequest, **kwargs: object) -> HttpResponseBase:
        try:
            return await view(request, **kwargs)
        except Exception as error:
            refusal = from_exception(error)
            if refusal is None:
                raise
            return EventStreamResponse(_refused(refusal), refusal.headers())

    return guarded


async def _refused(refusal: Refusal) -> AsyncGenerator[bytes, None]:
    body = refusal.body() | {"charge": {"amount": 0, "source": "none", "reason": refusal.code}}
    if refusal.wait_seconds is not None:
        body["retry_after"] = refusal.wait_seconds
    yield OPENING + encode("refused", 0, "error", body)


@Operation(
    "Chat",
    "Ask a model from an EventSource",
    "A refusal is an `error` event of the stream.",
    returns={200: events_schemas.CHAT, 204: None},
    query={
        **dict.fromkeys(("model", "prompt", "text_tool", "target_language", "system_prompt"), str),
        **dict.fromkeys(("conversation", "parent"), int),
        **dict.fromkeys(("idempotency_key", "last_event_id"), str),
    },
    headers=("Last-Event-ID",),
    proof="ticket",
)
@refused_as_event
async def get_chat(request: HttpRequest) -> HttpResponseBase:
    last_seen = last_event_id(request)
    if last_seen == "refused:0":
        return no_more_events()
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise Forbidden
    caller = await aauthenticate(request, tickets=True)
    if last_seen is not None:
        row = await database.run(owned_without_text, caller.user.pk, last_seen.partition(":")[0])
        return await events_of(row, caller, last_seen)
    require_reachable(caller)
    body = bodies.from_query(request.GET, ChatBody, BESIDE_THE_QUESTION)
    key = _idempotency_key(request, request.GET.get("idempotency_key", ""))
    begun = await service.start(await _ask(caller, body, key, joins=True))
    return await events_of(begun.row, caller, "", quota_headers(begun))


# --- one generation --------------------------------------------------------------------------------------------------

_PATH = {"generation_id": schemas.GENERATION_ID}


@Operation("Chat", "One generation", returns=schemas.Generation, path=_PATH)
async def get_generation(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    caller = await aauthenticate(request)
    row = await database.run(owned, caller.user.pk, generation_id)
    return JsonResponse(representation.generation(row))


@Operation("Chat", "Stop a generation", returns=schemas.Generation, path=_PATH)
async def post_stop(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    caller = await aauthenticate(request)
    row = await database.run(owned, caller.user.pk, generation_id)
    await service.stop(row)
    return JsonResponse(representation.generation(await database.run(_with_message, generation_id)))


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
    row = await database.run(owned_without_text, caller.user.pk, generation_id)
    return await events_of(row, caller, last_event_id(request) or "")


def owned(user_id: int, generation_id: str) -> Generation:
    """Return a generation of this user's; raise NotFound for any other."""
    return _one(Generation.objects.owned_by(user_id).select_related("message"), generation_id)


def owned_without_text(user_id: int, generation_id: str) -> Generation:
    """Do the same for readers of its events: many of them come at once, and the text may be megabytes."""
    return _one(Generation.objects.owned_by(user_id).defer("content", "reasoning"), generation_id)


def _one(mine: QuerySet[Generation], generation_id: str) -> Generation:
    row = mine.filter(id=generation_id).first() if GENERATION_ID.fullmatch(generation_id) else None
    if row is None:
        raise NotFound
    return row


def _with_message(generation_id: str) -> Generation:
    return Generation.objects.select_related("message").get(id=generation_id)


def last_event_id(request: HttpRequest) -> str | None:
    """Return what the reader has seen; the header of a reconnect is newer than the query it was given at first."""
    return request.headers.get("Last-Event-ID") or request.GET.get("last_event_id") or None


def _seen(row: Generation, last_event_id: str) -> int | None:
    """Return the number of the last event seen, 0 for none, None for an id that is not one of this generation's."""
    if not last_event_id:
        return 0
    channel, _colon, number = last_event_id.partition(":")
    if channel != row.id or not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    return int(number)


async def events_of(
    row: Generation, caller: Caller, last_event_id: str, headers: dict[str, str] | None = None
) -> HttpResponseBase:
    """Replay what the reader has not seen, and follow: from the log if this process owns it, else from a mirror."""
    seen = _seen(row, last_event_id)
    if row.status != Generation.Status.RUNNING and seen == row.last_event:
        return no_more_events()
    log = service.readable(row) or await mirrors.open(row)
    if log.ended and seen == log.last:
        return no_more_events()
    return LogStream(caller.user.pk, log, seen).response(headers)


chat = methods(POST=post_chat, GET=get_chat)
regenerate = methods(POST=post_regenerate)
one_generation = methods(GET=get_generation)
stop = methods(POST=post_stop)
events = methods(GET=get_events)
