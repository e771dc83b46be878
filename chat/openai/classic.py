"""`GET /api/chatgpt/test`, for pages written after the classic examples: an EventSource on unnamed events.

Each event is an OpenAI chunk whose `choices[0].delta.content` is text. Such a page knows no `reset`, so the ids are
`<generation>:<characters so far>`: a reconnect says how much text the page has, wherever the events came from.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponseBase

from accounts.auth import Caller
from chat import representation
from chat.apps import chat
from chat.bodies import BLANK, wrong
from chat.events import schemas
from chat.events.sink import Sink
from chat.events.sse import SourceStream, for_event_source, no_more_events
from chat.events.text import BLOCK_CHARS, Prefix
from chat.generations import lookup
from chat.generations.request import GenerationRequest
from chat.models import Generation
from chat.openai.relay import common
from providers.wire.base import PromptMessage
from runtime import database
from web.methods import methods
from web.openapi import Operation
from web.refusals import NotFound

# Characters of text that wait for a reader before the reader is served from the shared text.
FULL_CHARS = BLOCK_CHARS
# Pieces of text that wait for a reader before they are joined, because each one is an object in memory.
MAX_PIECES = 512
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
@for_event_source({"message", "model"}, lambda refusal: {"code": refusal.code, "message": str(refusal.message)})
async def get_test(request: HttpRequest, caller: Caller, last_id: str | None) -> HttpResponseBase:
    if last_id is not None:
        return await _resumed(caller, last_id)
    message, model = request.GET.get("message", ""), request.GET.get("model", "")
    if not message.strip():
        raise wrong("message", BLANK)
    turns = (PromptMessage("user", message),)
    generation_request = GenerationRequest(
        caller.user.pk,
        model,
        message,
        joins_running=True,
        kept=False,
        hides_reasoning=True,
        messages=turns,
        token=caller.token,
    )
    started = await chat().generations.start(generation_request)
    return await _stream(caller, started.row, 0, representation.quota_headers(started.reservation))


async def _resumed(caller: Caller, last_id: str) -> HttpResponseBase:
    found = _ID.fullmatch(last_id)
    if found is None:
        raise NotFound
    # A running generation's text comes from its log.
    row, chars = await database.run(lookup.owned, caller.user.pk, found[1], texts=False), int(found[2])
    if row.status != Generation.Status.RUNNING:
        row = await database.run(lookup.owned, caller.user.pk, found[1])
    if row.status != Generation.Status.RUNNING and chars >= len(row.texts()[0]) + bool(row.error):
        return no_more_events()
    return await _stream(caller, row, chars, {})


async def _stream(caller: Caller, row: Generation, chars: int, headers: dict[str, str]) -> HttpResponseBase:
    log, classic = await chat().generations.log_of(row), ClassicFormat(row, chars)
    classic.text_after, classic.leave = log.content_after, log.listen(classic)
    return ClassicStream(chat().streams, caller.user.pk, classic).response(headers)


class ClassicFormat(Sink):
    """The classic format of what follows the first `sent_chars` characters, which the page has."""

    def __init__(self, row: Generation, sent_chars: int) -> None:
        self.wake: Callable[[], object] = lambda: None
        self.leave: Callable[[], None] = lambda: None
        self.sent_chars = sent_chars
        self.at_end = False
        self._generation = row.id
        chunk = common("chat.completion.chunk", row.id, row.model, int(row.created_at.timestamp()))
        self._head = orjson.dumps(chunk)[:-1] + b',"choices":[{"index":0,"delta":{"content":'
        # Text that waits, and the characters of the completion up to its end.
        self._texts: list[str] = []
        self._chars = 0
        self._waiting_chars = 0
        # Returns the next piece of the shared text after that many characters. A page that is far behind is served from
        # it, so that it costs no memory of its own.
        self.text_after: Callable[[int], str] = lambda _chars: ""
        self._behind = False
        # White space in front waits, because another attempt may withdraw it, and sent text cannot be withdrawn.
        self._visible = False
        self._failure: dict[str, str] | None = None

    def publish(self, name: str, data: Any) -> None:
        if name not in {"message", "reset"}:
            return
        text = data["content"]
        if name == "reset":
            self._texts, self._waiting_chars, self._chars, self._visible = [], 0, 0, False
            self._behind = isinstance(text, Prefix)
            if not (text.length if isinstance(text, Prefix) else text):
                # All that was sent is void, so what follows is new from its first character on.
                self.sent_chars = 0
        if isinstance(text, Prefix):
            self._chars = text.length
            self._visible = any(piece.strip() for piece in text.pieces())
        else:
            self._add(text)
        self.wake()

    def _add(self, text: str) -> None:
        self._chars += len(text)
        self._visible = self._visible or bool(text.strip())
        if not self._behind:
            self._texts.append(text)
            self._waiting_chars += len(text)
        if self._waiting_chars > FULL_CHARS:
            self._texts, self._waiting_chars, self._behind = [], 0, True
        elif len(self._texts) > MAX_PIECES:
            self._texts = ["".join(self._texts)]

    def complete(
        self, name: str, data: Mapping[str, Any], *, number: int | None = None, finish_reason: str = ""
    ) -> None:
        if name == "error":
            self._failure = {"code": data["code"], "message": data["message"]}
        self.abandon()

    def abandon(self) -> None:
        self.at_end = True
        self.wake()

    @property
    def id(self) -> bytes:
        return b"%b:%d" % (self._generation.encode(), self.sent_chars)

    def take(self) -> bytes:
        """Return the events that wait, empty when there are none."""
        if not (self._visible or self.at_end):
            return b""
        new_text = self._take_text()
        events = b""
        if new_text:
            self.sent_chars += len(new_text)
            data = self._head + orjson.dumps(new_text) + b'},"finish_reason":null}]}'
            events = b"id: %b\ndata: %b\n\n" % (self.id, data)
        if self._failure and not self._behind:
            # The end counts as one more character, so that its id differs from that of the last text.
            self.sent_chars = max(self.sent_chars, self._chars) + 1
            events += b"id: %b\nevent: error\ndata: %b\n\n" % (self.id, orjson.dumps(self._failure))
            self._failure = None
        return events

    def _take_text(self) -> str:
        if self._behind:
            if text := self.text_after(self.sent_chars):
                return text
            self._behind = False
        text = "".join(self._texts)
        self._texts, self._waiting_chars = [], 0
        return text[max(0, self.sent_chars - (self._chars - len(text))) :]


class ClassicStream(SourceStream):
    """One page that reads a generation in the classic format."""

    _source: ClassicFormat

    def _opening(self) -> bytes:
        # An id without data dispatches nothing, but from now on a reconnect names this generation.
        return b"id: %b\n\n" % self._source.id


test = methods(GET=get_test)
