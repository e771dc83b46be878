"""Pieces of tool calls as OpenAI writes them, from what compatible servers write.

Clients put calls together by `index`, and some join repeated strings. Sans-I/O.
"""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(slots=True)
class _Call:
    """The known part of one call; `id` is the vendor's own, if any."""

    index: int
    id: str = ""
    has_id: bool = False
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    chars: int = 0


class ToolCalls:
    """Numbers the calls of one stream and names those without an id."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        # The last call with each index of the vendor's: some write the same for all.
        self._by_index: dict[int, _Call] = {}

    def feed(self, calls: object) -> list[dict[str, Any]]:
        """Return the pieces of a list or one object, each with its index."""
        # Spark writes the object where others write a list of one.
        pieces = calls if isinstance(calls, list) else [calls]
        return [self._piece(piece) for piece in pieces if isinstance(piece, dict)]

    def _piece(self, given: dict[str, Any]) -> dict[str, Any]:
        piece = dict(given)
        place, id_ = _index(piece.pop("index", None)), _text(piece.pop("id", None))
        function = _function(piece)
        name = function.get("name", "")
        call = self._call(place, id_, name)
        if place is not None:
            self._by_index[place] = call
        shown: dict[str, Any] = {"index": call.index}
        if not call.has_id and (id_ or name):
            # An id that another call has is of no use to a client.
            own = id_ if id_ not in self._by_id else ""
            shown["id"], call.id, call.has_id = own or f"call_{secrets.token_hex(12)}", own, True
            piece["type"] = _text(piece.get("type")) or "function"
        if id_:
            # An id that comes after one was made up is that call's too, but is not shown.
            call.id = call.id or id_
            self._by_id.setdefault(id_, call)
        _without_repeats(call, function)
        return shown | piece | ({"function": function} if function else {})

    def _call(self, place: int | None, id_: str, name: str) -> _Call:
        """Return the call of a piece, perhaps a new one."""
        known = self._by_id.get(id_) if id_ else None
        if known is not None and not (name and place is not None and place not in self._by_index):
            return known
        last = self._calls[-1] if self._calls else None
        call = last if place is None else self._by_index.get(place)
        if call is None or _begins(call, place, id_, name):
            call = _Call(len(self._calls))
            self._calls.append(call)
        return call


def _begins(call: _Call, place: int | None, id_: str, name: str) -> bool:
    """Return whether a piece begins another call than the one that its place means."""
    if id_:
        return bool(call.id or (name and call.name))
    # Without ids only the name tells: it comes before the arguments.
    return bool(name and call.chars and (place is None or name != call.name))


def _without_repeats(call: _Call, function: dict[str, Any]) -> None:
    """Take out what the call has already, because some clients would join it to that."""
    if name := function.get("name"):
        if name == call.name:
            del function["name"]
        else:
            call.name += name
    if arguments := function.get("arguments"):
        if len(arguments) == call.chars and _is_whole(text := "".join(call.arguments)) and arguments == text:
            function["arguments"] = ""
        else:
            call.arguments.append(arguments)
            call.chars += len(arguments)


def _function(piece: dict[str, Any]) -> dict[str, Any]:
    """Take the function out of a piece, with texts for its name and arguments."""
    function = piece.pop("function", None)
    if not isinstance(function, dict):
        # The older `function_call` has no object around its function.
        function = {key: piece.pop(key) for key in ("name", "arguments") if key in piece}
    function = dict(function)
    name, arguments = function.pop("name", None), function.pop("arguments", None)
    if isinstance(arguments, dict | list):
        arguments = _json(arguments)
    texts = {"name": name or None, "arguments": arguments}
    return {key: text for key, text in texts.items() if isinstance(text, str)} | function


def _index(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:9])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # half a character, which only escapes can write
        return json.dumps(value)


def _is_whole(text: str) -> bool:
    """Return whether nothing can follow these arguments."""
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
