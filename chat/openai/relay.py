"""What a run tells the one caller of /v1 who waits for it, in OpenAI's shape: nothing is kept here, nothing replayed.

A run publishes to a `Relay` as it does to a `Log`. The caller's leaving stops the run, and a caller who takes nothing
holds it up: there is nobody else for whom it should go on. All of this runs on the event loop's thread.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from chat.errors import with_text
from chat.openai import errors

# Text that waits for a caller who does not take it; with more than that the upstream is not read on.
FULL_CHARS = 64 * 1024

# How OpenAI calls our ends; those of others are called alike. Who stops an answer from elsewhere has the whole of it.
_FINISH_REASONS = {"cancelled": "stop"}


class Relay(ABC):
    """The run's side of a completion, and what both forms of it share.

    `spoken`: something of the answer is there. `failure` is what an `error` event would say, once there is one.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], object] = _nobody
        self.last = 0
        self.spoken = False
        self.ended = False
        self.failure: Mapping[str, Any] | None = None
        # What the upstream said; an end that is not the upstream's says its own.
        self.finish_reason = ""
        self._created = int(time.time())
        self._gone = False
        self._stop: Callable[[], object] | None = None

    # --- the caller ---

    def leave(self) -> None:
        """Stop the run: nobody waits any more. Before there is a run, one that comes is stopped at once."""
        self._gone = True
        if self._stop is not None:
            self._stop()

    # --- the run ---

    def bind(self, stop: Callable[[], object]) -> None:
        """Say how the run is stopped."""
        self._stop = stop
        if self._gone:
            stop()

    def publish(self, name: str, data: Any) -> int:
        """Take an event; return its number, which only the stored draft needs."""
        self.last += 1
        if name == "message":
            self.spoken = True
            self._content(data["content"])
            self.wake()
        elif name == "reasoning":
            self.spoken = True
            self._reasoning(data["content"])
            self.wake()
        elif name == "reset":
            self._reset(data)
        elif name == "start":
            self._start(data["generation"], data["model"])
        return self.last

    def tool_calls(self, pieces: str) -> None:
        """Take pieces of tool calls, a JSON list."""
        self.spoken = True
        self._tool_calls(pieces)
        self.wake()

    def complete(self, name: str, data: Mapping[str, Any]) -> None:
        """Take the end: `done` or `error`."""
        self.last += 1
        self.ended = True
        if name == "error":
            self.failure = data
            self._fail(data)
        else:
            reason = self.finish_reason or data["finish_reason"]
            self._finish(_FINISH_REASONS.get(reason, reason), _usage(data["usage"]))
        self.wake()

    def abandon(self) -> None:
        """End without an end: the run died of a fault of ours."""
        self.complete("error", with_text({"code": "internal_error"}))

    def forget_until(self, number: int) -> None:
        """Go on numbering after `number`: somebody else has ended the generation."""
        self.last = number

    # --- the caller's reading ---

    def take(self) -> bytes:
        """Return what waits to be sent, empty when nothing does."""
        return b""

    @property
    def full(self) -> bool:
        """Whether the run should wait for `room`."""
        return False

    async def room(self) -> None:  # noqa: B027
        """Wait until the caller has taken what waits; the server lets a caller go who takes nothing."""

    # --- the two forms ---

    @abstractmethod
    def _start(self, generation: str, model: str) -> None: ...

    @abstractmethod
    def _content(self, text: str) -> None: ...

    @abstractmethod
    def _reasoning(self, text: str) -> None: ...

    @abstractmethod
    def _tool_calls(self, pieces: str) -> None: ...

    @abstractmethod
    def _reset(self, text: Mapping[str, str]) -> None: ...

    @abstractmethod
    def _finish(self, reason: str, usage: Mapping[str, int]) -> None: ...

    @abstractmethod
    def _fail(self, failure: Mapping[str, Any]) -> None: ...


class Chunks(Relay):
    """A streamed completion: `take` returns the chunks that wait. Text that waits in one piece goes out in one chunk.

    All that is the same in each chunk is encoded once, so a delta costs the encoding of its own text.
    """

    def __init__(self, *, include_usage: bool = False) -> None:
        super().__init__()
        self._include_usage = include_usage
        self._role = b""
        self._waiting: list[bytes] = []
        self._texts: list[str] = []
        self._chars = 0
        self._taken: asyncio.Future[None] | None = None

    def take(self) -> bytes:
        self._close_text()
        data = self._role + b"".join(self._waiting)
        self._role = b""
        self._waiting.clear()
        self._chars = 0
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        return data

    @property
    def full(self) -> bool:
        return self._chars > FULL_CHARS

    async def room(self) -> None:
        self._taken = asyncio.get_running_loop().create_future()
        await self._taken

    def _start(self, generation: str, model: str) -> None:
        common = orjson.dumps(
            {
                "id": f"chatcmpl-{generation}",
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": model,
            }
        )
        self._head = b'data: %b,"choices":[' % common[:-1]
        self._end = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"
        self._tail = b'},"logprobs":null,"finish_reason":null}' + self._end
        choice = self._head + b'{"index":0,"delta":{'
        self._heads = {name: choice + b'"%b":' % name for name in (b"content", b"reasoning_content", b"tool_calls")}
        self._text_head = self._heads[b"content"]
        self._choice = choice
        self._role = choice + b'"role":"assistant","content":""' + self._tail

    def _content(self, text: str) -> None:
        self._text(self._heads[b"content"], text)

    def _reasoning(self, text: str) -> None:
        self._text(self._heads[b"reasoning_content"], text)

    def _text(self, head: bytes, text: str) -> None:
        if head is not self._text_head:
            self._close_text()
            self._text_head = head
        self._texts.append(text)
        self._chars += len(text)

    def _close_text(self) -> None:
        if self._texts:
            text = self._texts[0] if len(self._texts) == 1 else "".join(self._texts)
            self._waiting.append(b"%b%b%b" % (self._text_head, orjson.dumps(text), self._tail))
            self._texts.clear()

    def _tool_calls(self, pieces: str) -> None:
        self._close_text()
        self._waiting.append(b"%b%b%b" % (self._heads[b"tool_calls"], pieces.encode(), self._tail))
        self._chars += len(pieces)

    def _reset(self, text: Mapping[str, str]) -> None:
        """Drop what is void and still here; what has gone out cannot be called back."""
        self._waiting.clear()
        self._texts.clear()

    def _finish(self, reason: str, usage: Mapping[str, int]) -> None:
        self._close_text()
        end = b'},"logprobs":null,"finish_reason":%b}' % orjson.dumps(reason)
        self._waiting.append(self._choice + end + self._end)
        if self._include_usage:
            self._waiting.append(self._head + b'],"usage":%b}\n\n' % orjson.dumps(usage))
        self._waiting.append(b"data: [DONE]\n\n")

    def _fail(self, failure: Mapping[str, Any]) -> None:
        self._close_text()
        self._waiting.append(errors.event(failure))


class Whole(Relay):
    """A completion in one piece: `body` is the answer, once `ended` without a `failure`."""

    def __init__(self) -> None:
        super().__init__()
        self.body: dict[str, Any] = {}
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def _start(self, generation: str, model: str) -> None:
        self.body = {
            "id": f"chatcmpl-{generation}",
            "object": "chat.completion",
            "created": self._created,
            "model": model,
        }

    def _content(self, text: str) -> None:
        self._texts.append(text)

    def _reasoning(self, text: str) -> None:
        self._thoughts.append(text)

    def _tool_calls(self, pieces: str) -> None:
        for piece in json.loads(pieces):  # not by orjson, which takes no half of a character
            if isinstance(piece, dict):
                self._add(piece)

    def _add(self, piece: dict[str, Any]) -> None:
        """Put a piece to the call it belongs to: by its index; without one, a piece with an id begins a call."""
        place = piece.get("index")
        if not isinstance(place, int):
            place = len(self._calls) if piece.get("id") or not self._calls else self._calls[-1]["index"]
        call = next((call for call in self._calls if call["index"] == place), None)
        if call is None:
            call = {"index": place, "id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            self._calls.append(call)
        call["id"] = call["id"] or piece.get("id") or ""
        function = piece.get("function")
        if isinstance(function, dict):
            call["function"]["name"] = call["function"]["name"] or function.get("name") or ""
            call["function"]["arguments"] += function.get("arguments") or ""

    def _reset(self, text: Mapping[str, str]) -> None:
        self._texts, self._thoughts = [text["content"]], [text["reasoning"]]
        self._calls.clear()

    def _finish(self, reason: str, usage: Mapping[str, int]) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts)}
        if thought := "".join(self._thoughts):
            message["reasoning_content"] = thought
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [_whole_call(call) for call in self._calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        self.body |= {"choices": [choice], "usage": usage}

    def _fail(self, failure: Mapping[str, Any]) -> None:
        """Nothing of it is sent."""


def _whole_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call without its place; a character of its arguments may have come in two halves."""
    function = call["function"]
    arguments = function["arguments"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return {"id": call["id"], "type": call["type"], "function": {**function, "arguments": arguments}}


def _usage(usage: Mapping[str, int]) -> dict[str, int]:
    given, made = usage["input_tokens"], usage["output_tokens"]
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _nobody() -> None:
    """Wake nobody: nobody waits yet."""
