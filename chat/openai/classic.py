"""`GET /api/chatgpt/test`, for pages written after the classic examples: an EventSource on unnamed events, each of them
an OpenAI chunk whose `choices[0].delta.content` is text.

It is the stream of `GET /api/chat/` told differently. Ids are `<generation>:<characters so far>`: such a page knows no
`reset`, so what it has must say where to go on whatever became of the events.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext_lazy as _

from accounts.auth import Caller, aauthenticate, require_reachable
from chat.events import schemas
from chat.events.log import encode
from chat.events.sse import OPENING, EventStreamResponse, no_more_events
from chat.generations import service
from chat.generations.request import Ask
from chat.models import Generation
from chat.views import events_of, last_event_id, methods, owned, quota_headers
from providers.wire.base import PromptMessage
from runtime import database
from web.openapi import Operation
from web.refusals import Forbidden, InvalidRequest, NotFound, Refusal, from_exception

REFUSED = "refused:0"
_ID = re.compile(r"([0-9a-f]{32}):([0-9]{1,18})")


@Operation(
    "Chat",
    "Ask a model as the classic examples do",
    "Unnamed events with OpenAI's chunks.",
    returns={200: schemas.CLASSIC, 204: None},
    query={"message": str, "model": str, "last_event_id": str},
    headers=("Last-Event-ID",),
    proof="ticket",
)
async def get_test(request: HttpRequest) -> HttpResponseBase:
    """Answer, and refuse, as an event stream: an EventSource shows its page nothing else."""
    try:
        return await _answer(request)
    except Exception as error:
        refusal = from_exception(error)
        if refusal is None:
            raise
        return EventStreamResponse(_refused(refusal), refusal.headers())


async def _refused(refusal: Refusal) -> AsyncGenerator[bytes, None]:
    channel, _colon, number = REFUSED.partition(":")
    yield OPENING + encode(channel, int(number), "error", {"code": refusal.code, "message": str(refusal.message)})


async def _answer(request: HttpRequest) -> HttpResponseBase:
    last_seen = last_event_id(request)
    if last_seen == REFUSED:
        return no_more_events()
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise Forbidden
    caller = await aauthenticate(request, tickets=True)
    if last_seen is not None:
        return await _resumed(caller, last_seen)
    require_reachable(caller)
    begun = await service.start(_ask(caller, request))
    return await _stream(caller, begun.row, 0, quota_headers(begun))


def _ask(caller: Caller, request: HttpRequest) -> Ask:
    message = request.GET.get("message", "")
    if not message.strip():
        raise InvalidRequest(details={"message": [_("This field may not be empty.")]})
    turns = (PromptMessage("user", message),)
    model = request.GET.get("model", "")
    return Ask(caller.user.pk, model, message, joins_running=True, kept=False, messages=turns)


async def _resumed(caller: Caller, last_seen: str) -> HttpResponseBase:
    found = _ID.fullmatch(last_seen)
    if found is None:
        raise NotFound
    row, seen = await database.run(owned, caller.user.pk, found[1]), int(found[2])
    if row.status != Generation.Status.RUNNING and seen >= len(row.texts()[0]) + bool(row.error):
        return no_more_events()
    return await _stream(caller, row, seen, {})


async def _stream(caller: Caller, row: Generation, seen: int, headers: dict[str, str]) -> HttpResponseBase:
    whole = await events_of(row, caller, "")
    if not isinstance(whole, EventStreamResponse):
        return whole
    return EventStreamResponse(_retold(whole.events, Retelling(row, seen)), headers, whole.leave)


async def _retold(events: AsyncGenerator[bytes, None], retelling: "Retelling") -> AsyncGenerator[bytes, None]:
    # An id without data is kept and nothing is dispatched: from now on a reconnect asks for this answer, for no other.
    yield b"id: %b\n\n" % retelling.id
    async with aclosing(events) as source:
        async for data in source:
            if told := retelling.tell(data):
                yield told


class Retelling:
    """Our events as a page of the classic examples reads them, after the `seen` characters that it has."""

    def __init__(self, row: Generation, seen: int) -> None:
        self._channel = row.id
        chunk = {
            "id": f"chatcmpl-{row.id}",
            "object": "chat.completion.chunk",
            "created": int(row.created_at.timestamp()),
            "model": row.model,
        }
        self._head = orjson.dumps(chunk)[:-1] + b',"choices":[{"index":0,"delta":{"content":'
        self._seen = seen
        self._place = 0
        # Not told yet: white space in front may be withdrawn before another attempt, and could not be called back.
        self._held = ""
        self._visible = False

    @property
    def id(self) -> bytes:
        return b"%b:%d" % (self._channel.encode(), self._seen)

    def tell(self, data: bytes) -> bytes:
        """Return what a piece of our stream comes to; comments and the like stay as they are."""
        return b"".join(map(self._block, data.split(b"\n\n")))

    def _block(self, block: bytes) -> bytes:
        if not block.startswith(b"id: "):
            return block + b"\n\n" if block else b""
        _id, event, data = block.split(b"\n")
        match event.removeprefix(b"event: "):
            case b"message":
                return self._text(orjson.loads(data[6:])["content"])
            case b"reset":
                self._place, self._held, self._visible = 0, "", False
                return self._text(orjson.loads(data[6:])["content"])
            case b"done":
                self._visible = True
                return self._text("")
            case b"error":
                return self._error(orjson.loads(data[6:]))
        return b""

    def _text(self, text: str) -> bytes:
        text, self._held = self._held + text, ""
        self._visible = self._visible or bool(text.strip())
        if not self._visible:
            self._held = text
            return b""
        new = text[max(0, self._seen - self._place) :]
        self._place += len(text)
        if not new:
            return b""
        self._seen = self._place
        data = self._head + orjson.dumps(new) + b'},"finish_reason":null}]}'
        return b"id: %b\ndata: %b\n\n" % (self.id, data)

    def _error(self, failure: dict[str, str]) -> bytes:
        """Tell of the end in an event that has a place of its own behind all text."""
        self._seen = max(self._seen, self._place) + 1
        told = {"code": failure["code"], "message": failure["message"]}
        return b"id: %b\nevent: error\ndata: %b\n\n" % (self.id, orjson.dumps(told))


test = methods(GET=get_test)
