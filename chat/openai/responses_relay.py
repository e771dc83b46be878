"""Send a completion in the shape of OpenAI's responses: items of output, whole or streamed.

https://platform.openai.com/docs/api-reference/responses-streaming. Items follow each other: thoughts, text, calls.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from chat.openai import errors
from chat.openai.details import Details
from chat.openai.relay import StreamedRelay, Whole
from chat.openai.turns import CallPiece, CallsInOrder, is_json, packed, unusual
from providers.wire.openai.surrogates import Surrogates

# Finish reasons with which a response is not whole, in the words of this shape.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_TEXT_PLACE = {"content_index": 0}
_SUMMARY_PLACE = {"summary_index": 0}


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage of a chat completion in this shape."""
    given, made = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": given.get("cached_tokens") or 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": made.get("reasoning_tokens") or 0},
        "total_tokens": usage["total_tokens"],
    }


class Items:
    """Makes the items of one response, with their ids."""

    def __init__(self, generation: str) -> None:
        self._generation = generation
        self.done: list[dict[str, Any]] = []

    def _new(self, kind: str, prefix: str, **fields: Any) -> dict[str, Any]:
        return {"id": f"{prefix}_{self._generation}_{len(self.done)}", "type": kind, **fields}

    def message(self) -> dict[str, Any]:
        return self._new("message", "msg", role="assistant", status="in_progress", content=[])

    def reasoning(self) -> dict[str, Any]:
        return self._new("reasoning", "rs", summary=[])

    def call(self, call_id: str, name: str) -> dict[str, Any]:
        return self._new("function_call", "fc", status="in_progress", call_id=call_id, name=name, arguments="")

    def carrier(
        self, extras: Mapping[str, Mapping[str, Any]], details: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, Any]:
        """Return an item with what else the turn has; programs pass it back unread."""
        return self.reasoning() | {"encrypted_content": packed(extras, details)}


def text_part(text: str, annotations: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [*annotations], "logprobs": []}


def _flat(annotations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return annotations of a chat completion in this shape."""
    return [{"type": each["type"], **each["url_citation"]} for each in annotations]


def _ended(head: Mapping[str, Any], output: list[dict[str, Any]], reason: str, usage: Mapping[str, Any]) -> Any:
    why = _INCOMPLETE.get(reason)
    return {
        **head,
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "output": output,
        "usage": usage_of(usage),
    }


def _call_status(arguments: str, reason: str) -> str:
    """Return the status of a call whose completion ended for a reason, if any."""
    return "incomplete" if reason in _INCOMPLETE and not is_json(arguments) else "completed"


def _head(generation: str, model: str, created: int, shown: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"resp_{generation}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        **shown,
    }


class WholeResponse(Whole):
    """A response in one piece; `shown` is what it repeats of its request.

    Structured reasoning comes `with_details`, because a program must have asked for encrypted content.
    """

    def __init__(self, shown: Mapping[str, Any], *, with_details: bool = False) -> None:
        super().__init__()
        self._shown, self._with_details = shown, with_details

    def _start(self, generation: str, model: str) -> None:
        self._items = Items(generation)
        self._head = _head(generation, model, self._created, self._shown)

    def images(self, listed: str) -> bool:
        return False  # this shape has no place for them

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        super()._finish(reason, usage)
        message = self.body["choices"][0]["message"]
        items, done = self._items, self._items.done
        cited = _flat(message.get("annotations", ()))
        details = message.get("reasoning_details", ()) if self._with_details else ()
        if thought := message.get("reasoning_content"):
            item = items.carrier({}, details) if details else items.reasoning()
            done.append(item | {"summary": [{"type": "summary_text", "text": thought}]})
            details = ()
        if text := message["content"]:
            done.append(items.message() | {"status": "completed", "content": [text_part(text, cited)]})
        calls = message.get("tool_calls", [])
        for call in calls:
            function = call["function"]
            item = items.call(call["id"], function["name"])
            text = function["arguments"]
            done.append(item | {"status": _call_status(text, reason), "arguments": text})
        extras = {call["id"]: found for call in calls if (found := unusual(call))}
        if extras or details:
            done.append(items.carrier(extras, details))
        self.body = _ended(self._head, done, reason, usage)


class ResponseEvents(StreamedRelay):
    """A stream of typed events, numbered from 0; `response.completed` and the like end it."""

    def __init__(self, shown: Mapping[str, Any], *, with_details: bool = False) -> None:
        super().__init__()
        self._shown, self._with_details = shown, with_details
        # Structured reasoning of which nothing was sent.
        self._details = Details()

    def _start(self, generation: str, model: str) -> None:
        self._generation = generation
        self._head = _head(generation, model, self._created, self._shown)
        self._begin()
        for name in ("response.created", "response.in_progress"):
            self._event(name, response=self._head)
        self._opening = b"".join(self._waiting)
        self._waiting.clear()

    def _begin(self) -> None:
        self._number = 0
        self._items = Items(self._generation)
        self._calls = CallsInOrder()
        # Texts, each with its field, that came inside a call and wait for its end; the finish reason at the end.
        self._held: list[tuple[str, str]] = []
        self._reason = ""
        # The item that grows, its text so far, and what its calls have beside this shape.
        self._item: dict[str, Any] | None = None
        self._grown: list[str] = []
        self._halves = Surrogates()
        self._extras: dict[str, dict[str, Any]] = {}
        self._cited: list[dict[str, Any]] = []

    def _reset(self, text: Mapping[str, str]) -> None:
        """Drop withdrawn text that waits; what was sent cannot be withdrawn."""
        self._texts.clear()
        self._held.clear()
        self._details = Details()
        if not self._sent:
            self._waiting.clear()
            self._begin()
            self._number = 2  # after the events that open the stream

    def _event(self, name: str, /, **fields: Any) -> None:
        self._waiting.append(self._encoded(name, fields))

    def _encoded(self, name: str, fields: Mapping[str, Any]) -> bytes:
        data = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))

    # --- items ---

    @property
    def _place(self) -> dict[str, Any]:
        item = self._item or {}
        return {"item_id": item.get("id"), "output_index": len(self._items.done)}

    def _open(self, item: dict[str, Any]) -> None:
        self._close_item()
        self._item, self._grown, self._halves = item, [], Surrogates()
        self._event("response.output_item.added", output_index=len(self._items.done), item=item)
        if item["type"] == "message":
            self._event("response.content_part.added", **self._place, **_TEXT_PLACE, part=text_part(""))
        elif item["type"] == "reasoning":
            part = {"type": "summary_text", "text": ""}
            self._event("response.reasoning_summary_part.added", **self._place, **_SUMMARY_PLACE, part=part)

    def _close_item(self) -> None:
        if self._item is None:
            return
        item, place = self._item, self._place
        if item["type"] == "function_call":
            self._grow_call(item, self._halves.join("", whole=True))
        text = "".join(self._grown)
        if item["type"] == "message":
            part = text_part(text, self._cited)
            self._cited = []
            self._event("response.output_text.done", **place, **_TEXT_PLACE, text=text, logprobs=[])
            self._event("response.content_part.done", **place, **_TEXT_PLACE, part=part)
            done = item | {"status": "completed", "content": [part]}
        elif item["type"] == "reasoning":
            part = {"type": "summary_text", "text": text}
            self._event("response.reasoning_summary_text.done", **place, **_SUMMARY_PLACE, text=text)
            self._event("response.reasoning_summary_part.done", **place, **_SUMMARY_PLACE, part=part)
            done = item | {"summary": [part]}
            if details := self._take_details():
                done["encrypted_content"] = packed({}, details)
        else:
            name = item["name"]
            self._event("response.function_call_arguments.done", **place, name=name, arguments=text)
            done = item | {"status": _call_status(text, self._reason), "arguments": text}
        self._end_item(done)

    def reasoning_details(self, pieces: str) -> None:
        if self._with_details:
            self._details.add(pieces)

    def _take_details(self) -> list[dict[str, Any]]:
        details, self._details = self._details.whole(), Details()
        return details

    def _end_item(self, item: dict[str, Any]) -> None:
        self._event("response.output_item.done", output_index=len(self._items.done), item=item)
        self._items.done.append(item)
        self._item = None

    def _wait_text(self, field: str, text: str) -> None:
        if self._item and self._item["type"] == "function_call" and self._calls.has_open():
            self._held.append((field, text))
            return
        kind = "message" if field == "content" else "reasoning"
        if self._item is None or self._item["type"] != kind:
            self._open(self._items.message() if kind == "message" else self._items.reasoning())
        self._grown.append(text)
        if kind == "message":
            self._event("response.output_text.delta", **self._place, **_TEXT_PLACE, delta=text, logprobs=[])
        else:
            self._event("response.reasoning_summary_text.delta", **self._place, **_SUMMARY_PLACE, delta=text)

    def _annotations(self, annotations: list[dict[str, Any]]) -> None:
        """Add the cited pages to the message that grows; an ended one gets none."""
        self._close_text()
        if self._item and self._item["type"] == "message":
            self._cited = _flat(annotations)
            for number, annotation in enumerate(self._cited):
                place = {**self._place, **_TEXT_PLACE, "annotation_index": number}
                self._event("response.output_text.annotation.added", **place, annotation=annotation)

    def _tool_calls(self, pieces: str) -> None:
        self._close_text()
        self._chars += len(pieces)
        self._add_calls(self._calls.feed(pieces))

    def _add_calls(self, pieces: list[CallPiece]) -> None:
        for piece in pieces:
            if piece.begins:
                self._close_call()
                self._open(self._items.call(piece.call_id, piece.name))
            if piece.extras:
                self._extras.setdefault(piece.call_id, {}).update(piece.extras)
            if self._item and piece.arguments:
                self._grow_call(self._item, self._halves.join(piece.arguments, whole=False))

    def _close_call(self) -> None:
        """Close the item that grows, and send the texts that waited for this."""
        self._close_item()
        held, self._held = self._held, []
        for field, text in held:
            self._wait_text(field, text)

    def _grow_call(self, item: dict[str, Any], arguments: str) -> None:
        if arguments:
            self._grown.append(arguments)
            self._event("response.function_call_arguments.delta", **self._place, delta=arguments)

    # --- ends ---

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        self._close_text()
        self._reason = reason
        self._add_calls(self._calls.flush())
        self._close_call()
        self._close_item()
        details = self._take_details()
        if self._extras or details:
            item = self._items.carrier(self._extras, details)
            self._event("response.output_item.added", output_index=len(self._items.done), item=item)
            self._end_item(item)
        response = _ended(self._head, self._items.done, reason, usage)
        self._event(f"response.{response['status']}", response=response)

    def _fail(self, failure: Mapping[str, Any]) -> None:
        self._close_text()
        self._waiting.append(self.failure_event(failure))

    def failure_event(self, failure: Mapping[str, Any]) -> bytes:
        error = errors.problem(failure)
        named = {name: error[name] for name in ("code", "message", "param")}
        said = {"code": error["code"] or error["type"], "message": error["message"]}
        response = {**self._head, "status": "failed", "error": said, "output": self._items.done}
        return self._encoded("error", named) + self._encoded("response.failed", {"response": response})
