"""Convert items and blocks of other shapes into turns, and tool calls back."""

import base64
import binascii
import json
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chat.openai.bodies import MAX_LEVELS, flat
from chat.openai.details import Details
from providers.wire.base import PromptMessage, Role, as_object, as_objects, json_object

# What a call of a tool has in every shape; the rest, such as a vendor's signature, is carried apart.
_USUAL = frozenset({"index", "id", "type", "function"})
# Names of what is carried in texts that programs pass back unread: such fields, by call, and structured reasoning.
_OURS, _DETAILS = "rivulet", "reasoning_details"
# Pieces of structured reasoning that the turns of a request may have; further ones are ignored. A conversation has a
# few for each turn, and reading them holds up all streams.
MOST_DETAILS = 10_000

Parts = tuple[dict[str, Any], ...]


class Turns:
    """Collects turns; pieces of the assistant's that follow each other become one turn."""

    def __init__(self) -> None:
        self._messages: list[PromptMessage] = []
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._carried: dict[str, dict[str, Any]] = {}
        self._details, self._details_left = Details(), MOST_DETAILS
        self._cache_control: Any = None

    def add(self, role: Role, text: str, parts: Parts = (), cache_control: Any = None, **fields: Any) -> None:
        """Add a turn of another role than the assistant's."""
        self._close()
        self._messages.append(PromptMessage(role, text, parts, fields, cache_control))

    def say(self, text: str) -> None:
        """Add text of the assistant."""
        self._texts.append(text)

    def think(self, text: str) -> None:
        """Add reasoning of the assistant."""
        self._thoughts.append(text)

    def call(self, call_id: str, name: str, arguments: str) -> None:
        """Add a tool call of the assistant."""
        function = {"name": name, "arguments": arguments}
        self._calls.append({"id": call_id, "type": "function", "function": function})

    def cache(self, cache_control: Any) -> None:
        """Mark the turn of the assistant that is being collected."""
        self._cache_control = cache_control

    def carry(self, text: str) -> None:
        """Give the turn back what `packed` carried apart from it; other text is ignored."""
        calls, details = _unpacked(text)
        self._carried |= calls
        self._details.extend(details[: self._details_left])
        self._details_left = max(0, self._details_left - len(details))

    def all(self) -> tuple[PromptMessage, ...]:
        """Return all turns."""
        self._close()
        return tuple(self._messages)

    def _close(self) -> None:
        if not (self._texts or self._calls):
            self._thoughts.clear()
            self._details, self._cache_control = Details(), None
            return
        fields: dict[str, Any] = {}
        if self._calls:
            fields["tool_calls"] = [{**self._carried.get(call["id"], {}), **call} for call in self._calls]
            # Some models need the reasoning back together with the calls that it led to, and only then.
            if self._thoughts:
                fields["reasoning_content"] = "".join(self._thoughts)
            if details := self._details.whole():
                fields["reasoning_details"] = details
        self._messages.append(PromptMessage("assistant", "".join(self._texts), (), fields, self._cache_control))
        self._texts, self._thoughts, self._calls, self._cache_control = [], [], [], None
        self._details = Details()


def unusual(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a call, or of its piece, that other shapes cannot hold."""
    return {name: value for name, value in call.items() if name not in _USUAL}


def packed(fields: Mapping[str, Mapping[str, Any]], details: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return such fields, by call, and structured reasoning as one opaque text."""
    carried = {_OURS: fields, **({_DETAILS: details} if details else {})}
    return base64.b64encode(orjson.dumps(carried)).decode()


def _unpacked(text: str) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    try:
        found = json_object(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return {}, []
    if _OURS not in found or not flat(found, MAX_LEVELS):
        return {}, []
    calls = as_object(found[_OURS])
    fields = {call: unusual(given) for call, given in calls.items() if isinstance(given, dict)}
    return fields, as_objects(found.get(_DETAILS))


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a call to be sent; the one that `begins` has the name."""

    call_id: str
    arguments: str
    # What the piece has beside every shape.
    extras: Mapping[str, Any]
    name: str = ""
    begins: bool = False


class _Waiting:
    """Collects the pieces of a call that has not begun."""

    def __init__(self) -> None:
        self.call_id = self.name = ""
        self.texts: list[str] = []
        self.extras: dict[str, Any] = {}

    def add(self, piece: Mapping[str, Any]) -> None:
        self.call_id = self.call_id or piece.get("id") or ""
        self.name += _function(piece).get("name") or ""
        if text := _function(piece).get("arguments"):
            self.texts.append(text)
        self.extras |= unusual(piece)


class CallsInOrder:
    """Puts calls one after the other, for shapes in which they do not mix.

    A call begins when its id and name are known, and the arguments of the call before it are whole. A call without
    arguments is over when the next one has some.
    """

    def __init__(self) -> None:
        self._current: int | None = None
        # The current call's arguments, their characters, and how many of these were no whole JSON.
        self._texts: list[str] = []
        self._chars = self._parsed = 0
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        # The ids of the calls that have begun.
        self._begun: dict[int, str] = {}

    def feed(self, pieces: str) -> list[CallPiece]:
        """Take a JSON list of pieces; return those to send."""
        out: list[CallPiece] = []
        for piece in json.loads(pieces):  # orjson refuses half of a surrogate pair
            index = piece["index"]
            if index not in self._begun:
                self._waiting.setdefault(index, _Waiting()).add(piece)
                continue
            # After its end, a call gets no arguments, only what stands beside it.
            text = (_function(piece).get("arguments") or "") if index == self._current else ""
            self._grow(text)
            out.append(CallPiece(self._begun[index], text, unusual(piece)))
        return out + self._released(at_end=False)

    def flush(self) -> list[CallPiece]:
        """Return the pieces that still wait."""
        return self._released(at_end=True)

    def has_open(self) -> bool:
        """Return whether the current call may get more arguments."""
        if self._chars and self._is_whole():
            self._current = None
        return self._current is not None

    def _grow(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._chars += len(text)

    def _released(self, *, at_end: bool) -> list[CallPiece]:
        out: list[CallPiece] = []
        while self._waiting:
            index, call = next(iter(self._waiting.items()))
            if not (at_end or (call.call_id and call.name and self._may_follow(call))):
                break
            del self._waiting[index]
            self._current, self._begun[index] = index, call.call_id or f"call_{uuid.uuid4().hex}"
            self._texts, self._chars, self._parsed = [], 0, 0
            text = "".join(call.texts)
            self._grow(text)
            out.append(CallPiece(self._begun[index], text, call.extras, call.name, begins=True))
        return out

    def _may_follow(self, call: _Waiting) -> bool:
        return self._current is None or (self._is_whole() if self._chars else bool(call.texts))

    def _is_whole(self) -> bool:
        """Return whether the current arguments are whole, by parsing them whenever they have doubled."""
        if self._chars < 2 * self._parsed:
            return False
        self._parsed = self._chars
        return is_json("".join(self._texts))


def _function(piece: Mapping[str, Any]) -> Mapping[str, Any]:
    return piece.get("function") or {}


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
