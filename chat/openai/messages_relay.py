"""Send a completion in the shape of Anthropic's messages: blocks of content, whole or streamed.

https://docs.anthropic.com/en/api/messages-streaming. Blocks follow each other: thinking, text, calls.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from chat.openai import messages_errors
from chat.openai.details import Details
from chat.openai.relay import StreamedRelay, Whole
from chat.openai.turns import CallPiece, CallsInOrder, packed, unusual
from providers.wire.base import json_object
from providers.wire.openai.surrogates import Surrogates

_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _head(generation: str, model: str, input_tokens: int) -> dict[str, Any]:
    return {
        "id": f"msg_{generation}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": 0},
    }


def usage_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return the usage of a chat completion in this shape, which counts cached tokens apart."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": usage["prompt_tokens"] - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage["completion_tokens"],
    }


def _carrier(extras: Mapping[str, Mapping[str, Any]], details: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """Return a block with what else the turn has; programs pass it back unread."""
    return {"type": "redacted_thinking", "data": packed(extras, details)}


def _input(arguments: str) -> dict[str, Any]:
    """Return arguments as an object; other text, as of a cut call, inside one."""
    return json_object(arguments) or ({} if arguments.strip() in ("", "{}", "null") else {"arguments": arguments})


def _citations(annotations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return annotations as citations, without the pages' texts, which are not known."""
    pages = [annotation["url_citation"] for annotation in annotations]
    return [
        {
            "type": "web_search_result_location",
            "url": page["url"],
            "title": page.get("title") or None,
            "cited_text": "",
            "encrypted_index": "",
        }
        for page in pages
    ]


class WholeMessage(Whole):
    """A message in one piece."""

    def _start(self, generation: str, model: str) -> None:
        self._head = _head(generation, model, 0)

    def images(self, listed: str) -> bool:
        return False  # this shape has no place for them

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        super()._finish(reason, usage)
        message = self.body["choices"][0]["message"]
        calls, details, blocks = message.get("tool_calls", []), message.get("reasoning_details", ()), []
        if thought := message.get("reasoning_content"):
            signature = packed({}, details) if details else ""
            blocks.append({"type": "thinking", "thinking": thought, "signature": signature})
            details = ()
        extras = {call["id"]: found for call in calls if (found := unusual(call))}
        if extras or details:
            blocks.append(_carrier(extras, details))
        if text := message["content"]:
            cited = _citations(message.get("annotations", ()))
            blocks.append({"type": "text", "text": text, **({"citations": cited} if cited else {})})
        for call in calls:
            function = call["function"]
            given = _input(function["arguments"])
            blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": given})
        ended = {"content": blocks, "stop_reason": _STOP_REASONS.get(reason, "end_turn"), "usage": usage_of(usage)}
        self.body = self._head | ended


class MessageEvents(StreamedRelay):
    """A stream of Anthropic's events; blocks are numbered, and one is open at a time."""

    def __init__(self, input_tokens: int) -> None:
        super().__init__()
        self._input_tokens = input_tokens
        # Structured reasoning of which nothing was sent.
        self._details = Details()

    def _start(self, generation: str, model: str) -> None:
        self._begin()
        self._event("message_start", message=_head(generation, model, self._input_tokens))
        self._opening = b"".join(self._waiting)
        self._waiting.clear()

    def _begin(self) -> None:
        self._blocks = 0
        # The type of the open block, empty when none is.
        self._open_type = ""
        self._calls, self._halves = CallsInOrder(), Surrogates()
        # Texts, each with its field, that came inside a call and wait for its end.
        self._held: list[tuple[str, str]] = []
        # What calls have beside this shape, and those of them of which some came after the call had begun.
        self._extras: dict[str, dict[str, Any]] = {}
        self._late: dict[str, dict[str, Any]] = {}

    def _reset(self, text: Mapping[str, str]) -> None:
        """Drop withdrawn text that waits; what was sent cannot be withdrawn."""
        self._texts.clear()
        self._held.clear()
        self._details = Details()
        if not self._sent:
            self._waiting.clear()
            self._begin()

    def _event(self, name: str, **fields: Any) -> None:
        data = orjson.dumps({"type": name, **fields})
        self._waiting.append(b"event: %b\ndata: %b\n\n" % (name.encode(), data))

    # --- blocks ---

    def _open(self, block: dict[str, Any]) -> None:
        self._close_block()
        self._open_type = block["type"]
        self._event("content_block_start", index=self._blocks, content_block=block)

    def _close_block(self) -> None:
        if self._open_type:
            if self._open_type == "tool_use":
                self._grow_call(self._halves.join("", whole=True))
            elif self._open_type == "thinking" and (details := self._take_details()):
                self._grow("signature_delta", signature=packed({}, details))
            self._event("content_block_stop", index=self._blocks)
            self._blocks += 1
            self._open_type = ""

    def _grow(self, kind: str, **fields: str) -> None:
        self._event("content_block_delta", index=self._blocks, delta={"type": kind, **fields})

    def _wait_text(self, field: str, text: str) -> None:
        if self._open_type == "tool_use" and self._calls.has_open():
            self._held.append((field, text))
        elif field == "content":
            if self._open_type != "text":
                self._open({"type": "text", "text": ""})
            self._grow("text_delta", text=text)
        else:
            if self._open_type != "thinking":
                self._open({"type": "thinking", "thinking": "", "signature": ""})
            self._grow("thinking_delta", thinking=text)

    def reasoning_details(self, pieces: str) -> None:
        self._details.add(pieces)

    def _take_details(self) -> list[dict[str, Any]]:
        details, self._details = self._details.whole(), Details()
        return details

    def _annotations(self, annotations: list[dict[str, Any]]) -> None:
        """Add the cited pages to the open text block; an ended one gets none."""
        self._close_text()
        if self._open_type == "text":
            for citation in _citations(annotations):
                delta = {"type": "citations_delta", "citation": citation}
                self._event("content_block_delta", index=self._blocks, delta=delta)

    def _tool_calls(self, pieces: str) -> None:
        self._close_text()
        self._chars += len(pieces)
        self._add_calls(self._calls.feed(pieces))

    def _add_calls(self, pieces: list[CallPiece]) -> None:
        for piece in pieces:
            if piece.extras:
                extras = self._extras.setdefault(piece.call_id, {})
                extras.update(piece.extras)
                if not piece.begins:
                    self._late[piece.call_id] = extras
            if piece.begins:
                self._close_call()
                if piece.extras:
                    self._open(_carrier({piece.call_id: piece.extras}))
                self._open({"type": "tool_use", "id": piece.call_id, "name": piece.name, "input": {}})
            if piece.arguments:
                self._grow_call(self._halves.join(piece.arguments, whole=False))

    def _close_call(self) -> None:
        """Close the open block, and send the texts that waited for this."""
        self._close_block()
        held, self._held = self._held, []
        for field, text in held:
            self._wait_text(field, text)

    def _grow_call(self, arguments: str) -> None:
        if arguments:
            self._grow("input_json_delta", partial_json=arguments)

    # --- ends ---

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        self._close_text()
        self._add_calls(self._calls.flush())
        self._close_call()
        self._close_block()
        details = self._take_details()
        if self._late or details:
            self._open(_carrier(self._late, details))
        self._close_block()
        delta = {"stop_reason": _STOP_REASONS.get(reason, "end_turn"), "stop_sequence": None}
        self._event("message_delta", delta=delta, usage=usage_of(usage))
        self._event("message_stop")

    def _fail(self, failure: Mapping[str, Any]) -> None:
        self._close_text()
        self._waiting.append(self.failure_event(failure))

    def failure_event(self, failure: Mapping[str, Any]) -> bytes:
        return messages_errors.event(failure)
