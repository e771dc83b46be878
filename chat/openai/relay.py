"""Send a completion in OpenAI's format to the caller of `/v1`.

One caller waits for it, so nothing is stored or replayed. When the caller leaves, the run stops. When the caller reads
nothing, the run waits. All of this runs on the event loop's thread.
"""

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from chat.errors import with_text
from chat.events.sink import Sink
from chat.events.writer import Writer
from chat.generations.late_thought import TAG
from chat.openai import errors
from chat.openai.details import Details
from runtime.tasks import Flag

# Characters that may wait for a caller; with more the upstream is not read on.
FULL_CHARS = 64 * 1024

# The field of a delta for each kind of text.
_FIELDS = {"message": "content", "reasoning": "reasoning_content"}


def common(kind: str, generation: str, model: str, created: int) -> dict[str, Any]:
    """Return the names that all chunks and completions begin with; `created` is in Unix seconds."""
    return {"id": f"chatcmpl-{generation}", "object": kind, "created": created, "model": model}


class Relay(Sink):
    """The common part of the streamed and the whole completion.

    `started`: a part of the completion is there. `failure` is the data of the `error` event, once there is one.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], object] = lambda: None
        # Sends at once what follows all that was taken, while the only reader waits for it.
        self.writer: Writer | None = None
        self.started = self.at_end = False
        self.failure: Mapping[str, Any] | None = None
        self._created = int(time.time())
        self._left = False
        self._stop: Callable[[], object] | None = None

    def leave(self) -> None:
        """Stop the run, also one that begins later, because its only reader has left."""
        self._left = True
        if self._stop is not None:
            self._stop()

    def take(self) -> bytes:
        """Return what waits to be sent, empty when nothing does."""
        return b""

    @property
    def content(self) -> bytes:
        """The response in one piece, empty for a stream."""
        return b""

    async def settled(self) -> None:
        """Return at once, because nothing of this call is kept."""

    def bind(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        if self._left:
            stop()

    def publish(self, name: str, data: Any) -> None:
        if field := _FIELDS.get(name):
            self.started = True
            self._text(field, data["content"])
            self.wake()
        elif name == "reset":
            self._reset(data)
        elif name == "sources":
            self._annotations([_annotation(source) for source in data["sources"]])
        elif name == "start":
            self._start(data["generation"], data["model"])

    def publish_delta(self, text: str) -> None:
        self.started = True
        self._text("content", text)
        self.wake()

    def tool_calls(self, pieces: str) -> bool:
        self.started = True
        self._tool_calls(pieces)
        self.wake()
        return True

    def complete(
        self, name: str, data: Mapping[str, Any], *, number: int | None = None, finish_reason: str = ""
    ) -> None:
        self.at_end = True
        self._stop = None  # it refers to the run, which refers to this
        if name == "error":
            self.failure = data
            self._fail(data)
        else:
            reason, usage = finish_reason or data["finish_reason"], data["usage"]
            # OpenAI knows no `cancelled`: a caller whose completion is stopped elsewhere has all that there is.
            self._finish("stop" if reason == "cancelled" else reason, _tokens(usage))
        self.wake()

    def abandon(self) -> None:
        self.complete("error", with_text({"code": "internal_error"}))

    @abstractmethod
    def _start(self, generation: str, model: str) -> None: ...

    @abstractmethod
    def _text(self, field: str, text: str) -> None: ...

    @abstractmethod
    def _tool_calls(self, pieces: str) -> None: ...

    @abstractmethod
    def _reset(self, text: Mapping[str, str]) -> None: ...

    @abstractmethod
    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None: ...

    def _annotations(self, annotations: list[dict[str, Any]]) -> None:
        """Send the pages that the completion cites, where the format has a place for them."""

    def _fail(self, failure: Mapping[str, Any]) -> None:
        """Send a failure inside the response, if that has begun."""

    def failure_event(self, failure: Mapping[str, Any]) -> bytes:
        """Return the event that ends a stream with a failure."""
        return errors.event(failure)


class StreamedRelay(Relay):
    """A streamed completion: `take` returns the events that wait, neighbouring text as one."""

    # The field of text that comes without one before it.
    _field = "content"

    def __init__(self) -> None:
        super().__init__()
        # What stays first when text that waits is withdrawn.
        self._opening = b""
        self._waiting: list[bytes] = []
        # Whether any of these events was taken.
        self._sent = False
        self._texts: list[str] = []
        self._chars = 0
        self._taken = Flag()

    def take(self) -> bytes:
        if not (self._texts or self._waiting or self._opening):
            return b""  # a reader who keeps up asks once more after each delta
        self._close_text()
        data = self._opening + b"".join(self._waiting)
        self._opening = b""
        self._sent = self._sent or bool(self._waiting)
        self._waiting.clear()
        self._chars = 0
        self._taken.set()
        return data

    @property
    def full(self) -> bool:
        return self._chars > FULL_CHARS

    async def room(self) -> None:
        self._taken.clear()
        await self._taken.wait()

    def _text(self, field: str, text: str) -> None:
        if field != self._field:
            self._close_text()
            self._field = field
        self._texts.append(text)
        self._chars += len(text)

    def _close_text(self) -> None:
        if self._texts:
            text = "".join(self._texts)
            self._texts.clear()
            self._wait_text(self._field, text)

    @abstractmethod
    def _wait_text(self, field: str, text: str) -> None:
        """Let text wait as an event."""

    def rethink(self, snapshot: Mapping[str, str]) -> None:
        """Send the tag, because the text before it was sent as content.

        Only the tag shows programs that it was none.
        """
        self._text("content", f"{TAG}\n\n")

    def _reset(self, text: Mapping[str, str]) -> None:
        """Drop withdrawn text that waits; what was sent cannot be withdrawn."""
        self._waiting.clear()
        self._texts.clear()


class Chunks(StreamedRelay):
    """A stream of OpenAI's chunks.

    The part that all chunks share is encoded once, so that a delta costs the encoding of its own text.
    """

    def __init__(self, *, include_usage: bool = False) -> None:
        super().__init__()
        self._include_usage = include_usage

    def _start(self, generation: str, model: str) -> None:
        chunk = orjson.dumps(common("chat.completion.chunk", generation, model, self._created))
        self._head = b'data: %b,"choices":[' % chunk[:-1]
        self._end = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"
        self._tail = b'},"logprobs":null,"finish_reason":null}' + self._end
        self._choice = self._head + b'{"index":0,"delta":{'
        fields = (*_FIELDS.values(), "reasoning_details", "tool_calls", "images", "annotations")
        self._heads = {field: self._choice + b'"%b":' % field.encode() for field in fields}
        self._opening = self._choice + b'"role":"assistant","content":""' + self._tail

    def publish_delta(self, text: str) -> None:
        writer, waits = self.writer, self._texts or self._waiting or not self._sent or self._field != "content"
        if writer is None or waits or not writer.write(self._chunk("content", orjson.dumps(text))):
            super().publish_delta(text)

    def _wait_text(self, field: str, text: str) -> None:
        self._wait(field, orjson.dumps(text))

    def _wait(self, field: str, value: bytes) -> None:
        self._waiting.append(self._chunk(field, value))

    def _chunk(self, field: str, value: bytes) -> bytes:
        return b"%b%b%b" % (self._heads[field], value, self._tail)

    def _tool_calls(self, pieces: str) -> None:
        self._close_text()
        self._wait("tool_calls", pieces.encode())
        self._chars += len(pieces)

    def reasoning_details(self, pieces: str) -> None:
        self._close_text()
        self._wait("reasoning_details", pieces.encode())
        self._chars += len(pieces)
        self.wake()

    def images(self, listed: str) -> bool:
        self.started = True
        self._close_text()
        self._wait("images", listed.encode())
        self._chars += len(listed)
        self.wake()
        return True

    def _annotations(self, annotations: list[dict[str, Any]]) -> None:
        self._close_text()
        self._wait("annotations", orjson.dumps(annotations))

    def logprobs(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Send log probabilities in a chunk of their own, behind their text."""
        self._close_text()
        given = b'},"logprobs":{"content":%b,"refusal":null},"finish_reason":null}' % orjson.dumps(items)
        self._waiting.append(self._choice + given + self._end)
        self._chars += len(given)
        self.wake()

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        self._close_text()
        end = b'},"logprobs":null,"finish_reason":%b}' % orjson.dumps(reason)
        self._waiting.append(self._choice + end + self._end)
        if self._include_usage:
            self._waiting.append(self._head + b'],"usage":%b}\n\n' % orjson.dumps(usage))
        self._waiting.append(b"data: [DONE]\n\n")

    def _fail(self, failure: Mapping[str, Any]) -> None:
        self._close_text()
        self._waiting.append(self.failure_event(failure))


class Whole(Relay):
    """A completion in one piece: `body` is the response, once `at_end` without a `failure`.

    A caller that leaves has received nothing of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {field: [] for field in _FIELDS.values()}
        self._calls: dict[int, dict[str, Any]] = {}
        self._cited: list[dict[str, Any]] = []
        self._details = Details()
        # JSON of images, as it came.
        self._images: list[bytes] = []
        # JSON of log probabilities, which takes a fraction of the memory of objects.
        self._probs: list[bytes] = []

    @property
    def content(self) -> bytes:
        return orjson.dumps(self.body)

    @property
    def sends_reasoning(self) -> bool:
        return not self._left

    def _start(self, generation: str, model: str) -> None:
        self.body = common("chat.completion", generation, model, self._created)

    def _text(self, field: str, text: str) -> None:
        self._texts[field].append(text)

    def _tool_calls(self, pieces: str) -> None:
        for piece in json.loads(pieces):  # orjson refuses half of a surrogate pair
            self._add(piece)

    def _add(self, piece: dict[str, Any]) -> None:
        """Add a piece to the call with its index; other fields, such as signatures, stay."""
        fresh: dict[str, Any] = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self._calls.setdefault(piece["index"], fresh)
        function = call["function"]
        given = piece.get("function", {})
        texts = {key: function[key] + given.get(key, "") for key in ("name", "arguments")}
        function |= given | texts
        call |= {key: value for key, value in piece.items() if key not in ("index", "function")}

    def reasoning_details(self, pieces: str) -> None:
        self._details.add(pieces)

    def images(self, listed: str) -> bool:
        self._images.append(listed[1:-1].encode())
        return True

    def _annotations(self, annotations: list[dict[str, Any]]) -> None:
        self._cited = annotations

    def logprobs(self, items: Sequence[Mapping[str, Any]]) -> None:
        self._probs.append(orjson.dumps(items)[1:-1])

    def _reset(self, text: Mapping[str, str]) -> None:
        self._texts = {"content": [text["content"]], "reasoning_content": [text["reasoning"]]}
        self._calls.clear()
        self._details = Details()
        self._images.clear()
        self._probs.clear()

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts["content"])}
        if reasoning := "".join(self._texts["reasoning_content"]):
            message["reasoning_content"] = reasoning
        if details := self._details.whole():
            message["reasoning_details"] = details
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [_whole_call(call) for call in self._calls.values()]
        if self._images:
            message["images"] = orjson.Fragment(b"[%b]" % b",".join(self._images))
        if self._cited:
            message["annotations"] = self._cited
        listed = orjson.Fragment(b"[%b]" % b",".join(self._probs))
        probs = {"content": listed, "refusal": None} if self._probs else None
        choice = {"index": 0, "message": message, "logprobs": probs, "finish_reason": reason}
        self.body |= {"choices": [choice], "usage": usage}


def _whole_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call with the surrogate pairs in its arguments joined."""
    function = call["function"]
    arguments = function["arguments"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return {**call, "function": {**function, "arguments": arguments}}


def _annotation(source: Mapping[str, str]) -> dict[str, Any]:
    """Return a cited page in OpenAI's shape.

    Its place in the text is empty, because it is not known.
    """
    return {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 0, **source}}


def _tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage of a `done` event in OpenAI's shape."""
    given, made = usage["input_tokens"], usage["output_tokens"]
    tokens: dict[str, Any] = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    if "cached_tokens" in usage:
        tokens["prompt_tokens_details"] = {"cached_tokens": usage["cached_tokens"]}
    if "reasoning_tokens" in usage:
        tokens["completion_tokens_details"] = {"reasoning_tokens": usage["reasoning_tokens"]}
    return tokens
