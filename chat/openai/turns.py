"""Convert items and blocks of other shapes into turns, and tool calls back."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import orjson

from chat.openai.bodies import MAX_LEVELS, flat
from providers.wire.base import PromptMessage, Role, json_object

# What a call of a tool has in every shape; the rest, such as a vendor's signature, is carried apart.
_USUAL = frozenset({"index", "id", "type", "function"})
_OURS = "rivulet"

Parts = tuple[dict[str, Any], ...]


class Turns:
    """Collects turns; pieces of the assistant's that follow each other become one turn."""

    def __init__(self) -> None:
        self._messages: list[PromptMessage] = []
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._carried: dict[str, dict[str, Any]] = {}

    def add(self, role: Role, text: str, parts: Parts = (), **fields: Any) -> None:
        """Add a turn of another role than the assistant's."""
        self._close()
        self._messages.append(PromptMessage(role, text, parts, fields))

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

    def carry(self, text: str) -> None:
        """Give calls back what `packed` carried apart from them; other text is ignored."""
        self._carried |= _unpacked(text)

    def all(self) -> tuple[PromptMessage, ...]:
        """Return all turns."""
        self._close()
        return tuple(self._messages)

    def _close(self) -> None:
        if not (self._texts or self._calls):
            self._thoughts.clear()
            return
        fields: dict[str, Any] = {}
        if self._calls:
            fields["tool_calls"] = [{**self._carried.get(call["id"], {}), **call} for call in self._calls]
            # Some models need the reasoning back together with the calls that it led to, and only then.
            if self._thoughts:
                fields["reasoning_content"] = "".join(self._thoughts)
        self._messages.append(PromptMessage("assistant", "".join(self._texts), fields=fields))
        self._texts, self._thoughts, self._calls = [], [], []


def unusual(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a call, or of its piece, that other shapes cannot hold."""
    return {name: value for name, value in call.items() if name not in _USUAL}


def packed(fields: Mapping[str, Mapping[str, Any]]) -> str:
    """Return such fields, by call, as a text that programs pass back unread."""
    return base64.b64encode(orjson.dumps({_OURS: fields})).decode()


def _unpacked(text: str) -> dict[str, dict[str, Any]]:
    try:
        found = json_object(base64.b64decode(text, validate=True)).get(_OURS)
    except (binascii.Error, ValueError):
        return {}
    if not isinstance(found, dict) or not flat(found, MAX_LEVELS):
        return {}
    return {call: unusual(fields) for call, fields in found.items() if isinstance(fields, dict)}


class CallsInOrder:
    """Puts calls one after the other, for shapes in which they do not mix.

    A piece of the next call waits until the arguments of the current one are whole.
    """

    def __init__(self) -> None:
        self._current: int | None = None
        self._arguments: list[str] = []
        self._waiting: list[dict[str, Any]] = []

    def feed(self, pieces: str) -> list[tuple[bool, dict[str, Any]]]:
        """Take a JSON list of pieces; return those to send, and which begin a call."""
        self._waiting += json.loads(pieces)  # orjson refuses half of a surrogate pair
        return self._released(at_end=False)

    def flush(self) -> list[tuple[bool, dict[str, Any]]]:
        """Return the pieces that still wait."""
        return self._released(at_end=True)

    def _released(self, *, at_end: bool) -> list[tuple[bool, dict[str, Any]]]:
        out: list[tuple[bool, dict[str, Any]]] = []
        while self._waiting:
            ours = [piece for piece in self._waiting if piece["index"] == self._current]
            begins = not ours
            if begins:
                if not (self._current is None or at_end or _is_json("".join(self._arguments))):
                    break
                ours, self._arguments = self._waiting[:1], []
                self._current = ours[0]["index"]
            self._waiting = [piece for piece in self._waiting if piece not in ours]
            self._arguments += [piece.get("function", {}).get("arguments", "") for piece in ours]
            out += [(begins, piece) for piece in ours]
        return out


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
