"""From the events of a Messages stream to ours: https://platform.claude.com/docs/en/build-with-claude/streaming.

A stream is a list of numbered blocks: text, thinking, tool calls and what the vendor's own tools did. Unknown events
and blocks are skipped. Sans-I/O.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from providers.wire.anthropic.request import THINKING, THINKING_TYPES, VENDOR
from providers.wire.base import Event, Reasoning, Usage, as_object, as_objects
from providers.wire.openai.decoder import Decoder
from providers.wire.openai.fields import MAX_TOKENS, count
from providers.wire.sources import SourceList

# Fields of thinking blocks that the vendor wants back.
_KEPT = ("type", "thinking", "signature", "data")
_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
# Characters of the thinking blocks that are kept for the next tool call; a block beyond them is left out.
_MAX_KEPT_CHARS = 4 * 1024 * 1024


@dataclass(slots=True)
class _Call:
    """A streamed tool call; one that began `whole` has no pieces of arguments."""

    place: int
    whole: bool = False
    has_arguments: bool = False


class MessagesDecoder(Decoder):
    """Decodes one stream.

    The vendor wants signed thinking blocks back with the tool calls that they led to. So each call carries the blocks
    before it in `extra_content`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._calls_open: dict[int, _Call] = {}
        self._thinking: dict[int, dict[str, str]] = {}
        self._kept_chars = 0
        # The text of each thinking block in pieces.
        self._thinking_texts: dict[int, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._reasoning_tokens: int | None = None
        # Pages by address: those cited, and those that a search found.
        self._cited, self._found = SourceList(), SourceList()

    def _chunk(self, chunk: dict[str, Any], out: list[Event]) -> None:
        match chunk.get("type"):
            case "message_start":
                self._count(as_object(chunk.get("message")).get("usage"))
            case "content_block_start":
                self._payload = True
                self._start_block(_place(chunk), as_object(chunk.get("content_block")), out)
            case "content_block_delta":
                self._payload = True
                self._delta(_place(chunk), as_object(chunk.get("delta")), out)
            case "content_block_stop":
                self._close_call(_place(chunk), out)
            case "message_delta":
                self._message_delta(chunk, out)
            case "message_stop":
                self._close_calls(out)
                self.usage = self._read_usage() or self.usage
                self.ended = True

    def _message_delta(self, chunk: dict[str, Any], out: list[Event]) -> None:
        # The counts of `message_start` hold only if no later ones come, because its output has just begun.
        if self._count(chunk.get("usage")):
            self.usage = self._read_usage() or self.usage
        reason = as_object(chunk.get("delta")).get("stop_reason")
        if reason and isinstance(reason, str):
            self._payload = True
            self._close_calls(out)
            self._finish(reason)

    # --- blocks ---

    def _start_block(self, place: int, block: dict[str, Any], out: list[Event]) -> None:
        match block.get("type"):
            case "text":
                self._add_text(block.get("text"), out)
                for citation in as_objects(block.get("citations")):
                    self._cite(citation, out)
            case kind if kind in THINKING_TYPES:
                self._keep(place, {name: block[name] for name in _KEPT if isinstance(block.get(name), str)})
                if kind == "thinking":
                    self._add_thinking(place, block.get("thinking"), out)
            case "tool_use":
                self._close_call(place, out)
                self._start_call(place, block, out)
            case "web_search_tool_result" | "web_fetch_tool_result":
                self._find(block.get("content"), out)

    def _delta(self, place: int, delta: dict[str, Any], out: list[Event]) -> None:
        match delta.get("type"):
            case "text_delta":
                self._add_text(delta.get("text"), out)
            case "thinking_delta":
                self._add_thinking(place, delta.get("thinking"), out)
            case "signature_delta":
                if place in self._thinking and isinstance(signature := delta.get("signature"), str):
                    self._keep(place, {**self._thinking[place], "signature": signature})
            case "input_json_delta":
                self.progressed = True
                call, arguments = self._calls_open.get(place), delta.get("partial_json")
                if call is not None and not call.whole and arguments and isinstance(arguments, str):
                    call.has_arguments = True
                    self._piece(call.place, {"function": {"arguments": arguments}}, out)
            case "citations_delta":
                self._cite(as_object(delta.get("citation")), out)

    def _add_text(self, text: object, out: list[Event]) -> None:
        if text and isinstance(text, str):
            self._content(text, out)

    def _add_thinking(self, place: int, text: object, out: list[Event]) -> None:
        if text and isinstance(text, str):
            self._add(Reasoning, text, out)
            if self._with_tools:
                self._thinking_texts.setdefault(place, []).append(text)

    def _keep(self, place: int, block: dict[str, str]) -> None:
        """Keep a thinking block for the next tool call."""
        self._kept_chars += sum(map(len, block.values()))
        if self._with_tools and self._kept_chars <= _MAX_KEPT_CHARS:
            self._thinking[place] = block

    # --- tool calls ---

    def _start_call(self, place: int, block: dict[str, Any], out: list[Event]) -> None:
        self._tools = self.progressed = True
        if not self._with_tools:
            return
        given = as_object(block.get("input"))
        self._calls_open[place] = _Call(place, whole=bool(given), has_arguments=bool(given))
        function = {"name": block.get("name"), "arguments": ""}
        piece: dict[str, Any] = {"id": block.get("id"), "type": "function", "function": function}
        if blocks := list(self._take_thinking()):
            piece["extra_content"] = {VENDOR: {THINKING: blocks}}
        self._piece(place, piece, out)
        if given:
            self._arguments(place, given, out)

    def _take_thinking(self) -> Iterator[dict[str, Any]]:
        """Yield the signed thinking blocks since the last call.

        The vendor refuses a block without a signature.
        """
        for place, block in self._thinking.items():
            text = "".join(self._thinking_texts.get(place, ()))
            if block.get("signature") or block.get("data"):
                yield {**block, "thinking": text} if block["type"] == "thinking" else block
        self._thinking, self._thinking_texts = {}, {}

    def _close_call(self, place: int, out: list[Event]) -> None:
        """End a call; one without arguments has an empty object, which is JSON."""
        call = self._calls_open.pop(place, None)
        if call is not None and not call.has_arguments:
            self._arguments(place, {}, out)

    def _arguments(self, place: int, given: dict[str, Any], out: list[Event]) -> None:
        # orjson refuses half a character, which only escapes can write.
        arguments = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
        self._piece(place, {"function": {"arguments": arguments}}, out)

    def _close_calls(self, out: list[Event]) -> None:
        for place in list(self._calls_open):
            self._close_call(place, out)

    def _piece(self, place: int, piece: dict[str, Any], out: list[Event]) -> None:
        self._tool_calls([{"index": place, **piece}], out)

    # --- sources ---

    def _cite(self, citation: Mapping[str, Any], out: list[Event]) -> None:
        self._cited.add(citation.get("url") or citation.get("source"), citation.get("title"))
        self._list_sources(out)

    def _find(self, content: object, out: list[Event]) -> None:
        """Note the pages of a search, or the page that was fetched."""
        for page in as_objects(content) or [as_object(content)]:
            self._found.add(page.get("url"), page.get("title") or as_object(page.get("content")).get("title"))
        self._list_sources(out)

    def _list_sources(self, out: list[Event]) -> None:
        """Publish the pages cited; as long as none is cited, those found."""
        pages = self._cited if self._cited.any else self._found
        if pages.changed:
            self._flush(out)
            out.append(pages.event())

    # --- usage ---

    def _count(self, usage: object) -> bool:
        """Take over the counts of a usage, which are totals.

        Returns whether the count of the output is among them.
        """
        given = as_object(usage)
        counts = {name: found for name in _COUNTS if (found := count(given.get(name))) is not None}
        self._counts |= counts
        thinking = count(as_object(given.get("output_tokens_details")).get("thinking_tokens"))
        self._reasoning_tokens = self._reasoning_tokens if thinking is None else thinking
        return "output_tokens" in counts

    def _read_usage(self) -> Usage | None:
        """Return the usage, tokens of the cache included.

        The vendor counts tokens that its cache held, or now takes, apart from the others.
        """
        given, made = (self._counts.get(name) for name in ("input_tokens", "output_tokens"))
        if given is None or made is None:
            return None
        cached = self._counts.get("cache_read_input_tokens")
        written = self._counts.get("cache_creation_input_tokens", 0)
        return Usage(min(given + written + (cached or 0), MAX_TOKENS), made, cached, self._reasoning_tokens)


def events_of(message: Mapping[str, Any]) -> bytes:
    """Return a whole message as the stream that it would have been."""
    blocks = as_objects(message.get("content"))
    usage = as_object(message.get("usage"))
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"usage": usage}}]
    for place, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": place, "content_block": block})
        events.append({"type": "content_block_stop", "index": place})
    delta = {"stop_reason": message.get("stop_reason")}
    events += [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


def _place(chunk: Mapping[str, Any]) -> int:
    return count(chunk.get("index")) or 0
