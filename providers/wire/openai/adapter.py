"""Chat completions as OpenAI defined them and many others serve them, streamed.

Standard: https://platform.openai.com/docs/api-reference/chat/streaming. Decoding
and error tables have modules of their own; retrying and keys are the caller's.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

import httpx
import orjson

from providers.wire.base import (
    EMBEDDINGS,
    IMAGES,
    JSON,
    PASSED_ON,
    ChatRequest,
    Endpoint,
    Event,
    FirstRun,
    ModelList,
    PromptMessage,
    Provider,
    Take,
    json_object,
)
from providers.wire.base import gettext_noop as _
from providers.wire.errors import ProviderError, Retry, Row, broken_stream, field_not_taken
from providers.wire.net.deadline import Deadline
from providers.wire.net.exchange import Exchange, send
from providers.wire.net.sse import MAX_EVENT_BYTES, SSEEvent
from providers.wire.net.transport import Transport
from providers.wire.openai import embeddings, model_list
from providers.wire.openai.decoder import Decoder
from providers.wire.openai.errors import (
    BAD_KEY,
    CODES,
    Complaint,
    blamed_field,
    choose_row,
    is_refusal,
    read_complaint,
    resend,
)
from providers.wire.openai.finish_words import Family
from providers.wire.openai.model_list import NO_LIST, NOT_A_LIST, TOO_LARGE, read_models
from providers.wire.openai.request_ids import request_id
from providers.wire.text_taker import TextTaker
from providers.wire.turns import plain_results, sent_turns

_BOM = b"\xef\xbb\xbf"
# Bytes of a body without an event stream that is parsed with each read, to find its end before the connection's.
_MAX_PARSED_EARLY_BYTES = 64 * 1024
BASE_URL = "https://api.openai.com/v1"
# Upstreams of the environment, by the beginning of their settings' names in lower case.
PRESETS: Mapping[str, str] = {
    "openai": BASE_URL,
    # https://api-docs.deepseek.com
    "deepseek": "https://api.deepseek.com",
    # https://openrouter.ai/docs/quickstart
    "openrouter": "https://openrouter.ai/api/v1",
}

# Seconds to go on reading after the finish reason, for a usage chunk or the terminator. The second value applies when
# only the terminator is missing, after which the connection can be used again.
TERMINATOR_S = 5.0
TERMINATOR_WITH_USAGE_S = 0.5

Listed = TypeVar("Listed")


class OpenAICompatible(Provider):
    """A provider for one base address.

    A compatible vendor is a subclass that overrides class attributes, `address`, `headers`, `body`, `decoder`,
    `as_stream`, `failure`, `classify` or `refusal`.
    """

    title = _("OpenAI-compatible")
    example_base_url = BASE_URL
    # Put behind the base URL, which may already end with it.
    path: ClassVar[str] = "/chat/completions"
    # First bytes of a body that is no event stream: it is read to its end and judged as a whole.
    whole_bodies: ClassVar[tuple[bytes, ...]] = (b"{", b"[", b"<")
    codes: ClassVar[Mapping[str, Row]] = CODES
    takes: ClassVar[frozenset[str]] = frozenset({*PASSED_ON, IMAGES, EMBEDDINGS})
    finish_reasons: Mapping[str, Family] = {}
    withdrawn_reasons: frozenset[str] = frozenset()
    closing_reasons: frozenset[str] = frozenset()

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(endpoint)
        # A version is never added to it.
        self.base_url = endpoint.base_url.strip().rstrip("/").removesuffix(self.path).rstrip("/")
        self._transport = transport or Transport(endpoint)

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the presets with keys or an address, such as OPENAI_API_KEYS; none for subclasses."""
        for slug, usual_base_url in PRESETS.items() if cls is OpenAICompatible else ():
            keys, base_url, proxy, models = (
                settings[f"{slug.upper()}_{name}"] for name in ("API_KEYS", "BASE_URL", "PROXY", "MODELS")
            )
            if keys or base_url:
                yield FirstRun(slug, base_url or usual_base_url, proxy or "", keys, models)

    def stream(self, request: ChatRequest, key: str | None) -> AsyncIterator[Event]:
        return (self._embed if EMBEDDINGS in request.extras else self._complete)(request, key)

    async def _complete(self, request: ChatRequest, key: str | None) -> AsyncIterator[Event]:
        deadline = Deadline(self.clocks(request))
        exchange: Exchange | None = None
        try:
            body = {name: value for name, value in self.body(request).items() if name not in request.drop}
            headers = self.endpoint.with_headers({**self.headers(key), **request.trace_headers})
            address, query = self.address(request), self.encoded({})
            exchange = await send(self._transport, "POST", address, headers, deadline, orjson.dumps(body), query)
            data = await self._beginning(exchange, request, deadline)
            decoder = self.decoder(request)
            while not decoder.ended and (data := data or await _next_bytes(exchange, decoder)):
                for event in decoder.feed(data):
                    yield event
                data = b""
                _note_time(decoder, deadline)
                if request.take and request.text_taker and decoder.finish is None and not decoder.ended:
                    # Plain deltas follow, hundreds perhaps: they go past all generators between here and the reader.
                    await exchange.flow(_Flow(decoder, deadline, request.take, request.text_taker).take)
            last = decoder.flush()
            await exchange.close(finished=decoder.ended)
            exchange = None
            for event in last:
                yield event
        except ProviderError as error:
            if exchange is not None and not error.vendor_request_id:
                error.vendor_request_id = request_id(exchange.headers)
            raise
        finally:
            deadline.close()
            if exchange is not None:
                await exchange.close()

    async def _embed(self, request: ChatRequest, key: str | None) -> AsyncIterator[Event]:
        deadline = Deadline(self.clocks(request))
        exchange: Exchange | None = None
        try:
            own = {**self.headers(key), "Accept": "application/json", **request.trace_headers}
            headers = self.endpoint.with_headers(own)
            address = self.address(request).removesuffix(self.path) + embeddings.PATH
            sent = orjson.dumps(embeddings.body(request))
            exchange = await send(self._transport, "POST", address, headers, deadline, sent, self.encoded({}))
            refused = not 200 <= exchange.status < 300
            body = await (exchange.read_error() if refused else exchange.read_up_to(embeddings.MAX_BYTES))
        finally:
            deadline.close()
            if exchange is not None:
                await exchange.close()
        if refused:
            raise self.refusal(request, read_complaint(exchange.status, body, exchange.headers))
        try:
            found = await embeddings.read(body)
        except ProviderError:
            complaint = read_complaint(exchange.status, body, exchange.headers)
            if complaint.enveloped:
                raise self.refusal(request, complaint) from None
            raise
        for event in found:
            yield event

    async def list_models(self, key: str | None) -> ModelList:
        """Return the models that the upstream lists; raise ProviderError."""
        return await self.read_list(key, self.base_url + "/models", self.encoded({}), read_models)

    async def read_list(
        self, key: str | None, address: str, query: str, read: Callable[[bytes], Listed | None]
    ) -> Listed:
        """Return what `read` finds in a list, within ten seconds; raise ProviderError."""
        seconds = model_list.SECONDS
        deadline = Deadline(replace(self.endpoint.clocks, first=seconds, idle=seconds, total=seconds))
        exchange: Exchange | None = None
        try:
            headers = self.endpoint.with_headers({**self.headers(key), "Accept": "application/json"})
            exchange = await send(self._transport, "GET", address, headers, deadline, query=query)
            body = await exchange.read_up_to(model_list.MAX_BYTES)
        finally:
            deadline.close()
            if exchange is not None:
                await exchange.close()
        if len(body) > model_list.MAX_BYTES:
            raise TOO_LARGE.error(vendor_code="too_large", status=exchange.status)
        complaint = read_complaint(exchange.status, body, exchange.headers)
        if exchange.status in (404, 405):
            raise NO_LIST.error(vendor_code=complaint.vendor_code, status=exchange.status)
        if exchange.status == 200 and ((found := read(body)) is not None):
            return found
        if exchange.status == 200 and not complaint.enveloped:
            raise NOT_A_LIST.error(vendor_code="not_a_list", status=200)
        raise self.classify(complaint)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def encoded(self, own: Mapping[str, str]) -> str:
        """Return the query of an address: the adapter's own, and the endpoint's, which wins."""
        return urlencode({**own, **dict(self.endpoint.query)})

    def address(self, request: ChatRequest) -> str:
        """Return the address to post to."""
        return self.base_url + self.path

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the headers of a request; raise when `key` cannot stand in one."""
        if key and not (key.isascii() and key.isprintable()):
            raise BAD_KEY.error(vendor_code="malformed_key")
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}

    def body(self, request: ChatRequest) -> dict[str, JSON]:
        """Return the JSON body; parameters never override what makes it a single stream."""
        parameters = {name: value for name, value in request.parameters.items() if name not in ("max_tokens", "n")}
        cap, cap_field = request.parameters.get("max_tokens"), request.token_cap_field
        if cap is not None and cap_field != "none":
            parameters[cap_field] = cap
        body: dict[str, JSON] = {
            **parameters,
            **{name: _unmarked(value) for name, value in request.extras.items() if name in self.takes},
            "model": request.model,
            "messages": [as_sent(message) for message in plain_results(sent_turns(request))],
            "stream": True,
        }
        if request.include_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def decoder(self, request: ChatRequest) -> Decoder:
        """Return the decoder for the response to `request`."""
        return Decoder(
            self,
            with_tools="tools" in request.extras,
            with_think_tags=request.think_tags,
            with_details=request.whole,
        )

    def failure(self, event: SSEEvent, chunk: dict[str, Any]) -> ProviderError | None:
        """Return the failure that an object of a stream reports; see `Dialect.failure`."""
        if event.type != "error" and not is_refusal(chunk):
            return None
        return self.classify(read_complaint(200, orjson.dumps(chunk), {}))

    def classify(self, complaint: Complaint) -> ProviderError:
        """Return the failure for a complaint of the upstream."""
        return complaint.failure(choose_row(complaint, self.codes))

    def refusal(self, request: ChatRequest, complaint: Complaint) -> ProviderError | Retry:
        """Return what to raise for a refused request: the failure, or a better request."""
        row = choose_row(complaint, self.codes)
        failed = complaint.failure(row)
        better = resend(request, complaint, row)
        if better is not None:
            return Retry(*better, otherwise=failed)
        if param := blamed_field(request, complaint, row):
            return field_not_taken(param, failed)
        return failed

    def as_stream(self, whole: dict[str, Any]) -> bytes:
        """Return a whole completion as a stream; empty for other objects."""
        if not (isinstance(choices := whole.get("choices"), list) and choices):
            return b""
        return b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps(whole)

    async def _beginning(self, exchange: Exchange, request: ChatRequest, deadline: Deadline) -> bytes:
        """Return the first bytes of the event stream; raise for any other response.

        The bytes decide, because relays name wrong content types. A whole completion becomes a stream.
        """
        if not 200 <= exchange.status < 300:
            raise self.refusal(request, read_complaint(exchange.status, await exchange.read_error(), exchange.headers))
        data = b""
        while not (start := data.removeprefix(_BOM).lstrip()[:1]) and (piece := await exchange.read()):
            # A queue's blank lines are dropped, except the bytes that may begin a mark.
            data = data[-len(_BOM) :] + piece
            deadline.alive()
        if start not in self.whole_bodies:
            return data
        body = data if start == b"<" else await _whole_json(exchange, data.removeprefix(_BOM))
        parsed = json_object(body)
        if not is_refusal(parsed) and (stream := self.as_stream(parsed)):
            return stream
        complaint = read_complaint(200, body, exchange.headers)
        if not complaint.enveloped:
            raise broken_stream("not_a_stream")
        raise self.refusal(request, complaint)


async def _whole_json(exchange: Exchange, data: bytes) -> bytes:
    """Read on until the body ends, is too large, or is whole JSON.

    Servers that keep the connection open after an error send a short one. A long body is parsed once, by the caller.
    """
    body = bytearray(data)
    while len(body) <= MAX_EVENT_BYTES and not (len(body) <= _MAX_PARSED_EARLY_BYTES and _is_json(body)):
        if not (piece := await exchange.read()):
            break
        body += piece
    return bytes(body)


def _is_json(data: bytearray) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def thinking_switch(effort: JSON) -> dict[str, JSON]:
    """Return the switch that some vendors have instead of OpenAI's `reasoning_effort`."""
    return {"type": "disabled" if effort in ("none", "minimal") else "enabled"}


def as_sent(message: PromptMessage) -> dict[str, JSON]:
    """Return a turn as it goes out; one that only calls tools has no content."""
    content: JSON = list(message.parts) or message.content
    if not content and "tool_calls" in message.fields:
        content = None
    return {"role": message.role, "content": content, **message.fields}


def _unmarked(extra: JSON) -> JSON:
    """Return tools without the marks that only Anthropic's API knows; other values stay."""
    if not isinstance(extra, list) or not any(isinstance(tool, dict) and "cache_control" in tool for tool in extra):
        return extra
    return [
        {name: value for name, value in tool.items() if name != "cache_control"} if isinstance(tool, dict) else tool
        for tool in extra
    ]


class _Flow:
    """Passes the reads of one stream on, until its generator must go on.

    It keeps objects instead of their methods, each of which would be one more object to read for a delta.
    """

    __slots__ = ("_deadline", "_decoder", "_repeats", "_take", "_text_taker")

    def __init__(self, decoder: Decoder, deadline: Deadline, take: Take, text_taker: TextTaker) -> None:
        self._decoder, self._repeats, self._deadline = decoder, decoder.repeats, deadline
        self._take, self._text_taker = take, text_taker

    def take(self, data: bytes) -> bool:
        """Pass one read on; return False when the generator must go on."""
        if text := self._repeats.text(data):
            self._deadline.hear()
            return self._text_taker.take_text(text)
        decoder = self._decoder
        events = decoder.feed(data)
        wants_more = self._take(events) if events else True
        if decoder.progressed and decoder.finish is None:
            self._deadline.payload_in_flow()
        else:
            _note_time(decoder, self._deadline)
        return wants_more and decoder.finish is None and not decoder.ended


def _note_time(decoder: Decoder, deadline: Deadline) -> None:
    """Start the clock that holds after these bytes."""
    if not decoder.progressed:
        deadline.alive()
    elif decoder.finish is None:
        deadline.payload()
    else:
        complete = decoder.usage is not None and not decoder.may_go_on
        deadline.settle(TERMINATOR_WITH_USAGE_S if complete else TERMINATOR_S)


async def _next_bytes(exchange: Exchange, decoder: Decoder) -> bytes:
    try:
        return await exchange.read()
    except ProviderError:
        # After the finish reason only extras can be missing; the completion is complete without them.
        if decoder.finish is None:
            raise
        return b""
