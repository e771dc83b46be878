"""OpenAI's outdated `functions`: converted to tools for the upstream, and calls converted back.

https://platform.openai.com/docs/api-reference/chat/create. A completion of this form has one call at most.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chat.openai.relay import Chunks, Whole

# The names that callers of this form know the fields of a call by.
NAMES = {"tools": "functions", "tool_choice": "function_call"}


def tools_of(functions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return functions as tools."""
    return [{"type": "function", "function": dict(function)} for function in functions]


def tool_choice_of(function_call: str | Mapping[str, Any] | None) -> Any:
    """Return which tool the model may or must call."""
    if isinstance(function_call, Mapping):
        return {"type": "function", "function": {"name": function_call.get("name")}}
    return function_call


def modern(messages: list[Any]) -> list[Any]:
    """Return messages with calls and results in today's form.

    A result belongs to the last call of its name.
    """
    ids: dict[str, str] = {}
    found = []
    for place, message in enumerate(messages):
        if isinstance(message, dict) and isinstance(call := message.get("function_call"), dict):
            id_ = ids[str(call.get("name"))] = f"call_{place}"
            rest = {name: value for name, value in message.items() if name != "function_call"}
            message = {"tool_calls": [{"id": id_, "type": "function", "function": call}], **rest}
        elif isinstance(message, dict) and message.get("role") == "function":
            id_ = ids.get(str(message.get("name")), f"call_{place}")
            rest = {name: value for name, value in message.items() if name != "name"}
            message = {**rest, "role": "tool", "tool_call_id": id_, "content": message.get("content") or ""}
        found.append(message)
    return found


class LegacyWhole(Whole):
    """A completion in one piece, whose first call is a `function_call`."""

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        super()._finish(_reason(reason), usage)
        message = self.body["choices"][0]["message"]
        if calls := message.pop("tool_calls", None):
            function = calls[0]["function"]
            message["function_call"] = {name: function[name] for name in ("name", "arguments")}


class LegacyChunks(Chunks):
    """A stream whose first call is a `function_call`."""

    # The index of the call that is sent.
    _first: int | None = None

    def _start(self, generation: str, model: str) -> None:
        super()._start(generation, model)
        self._heads["function_call"] = self._choice + b'"function_call":'

    def _tool_calls(self, pieces: str) -> None:
        self._close_text()
        for piece in json.loads(pieces):  # orjson refuses half of a surrogate pair
            self._first = piece["index"] if self._first is None else self._first
            function = piece.get("function") or {}
            shown = {name: function[name] for name in ("name", "arguments") if function.get(name) is not None}
            if piece["index"] == self._first and shown:
                self._wait("function_call", json.dumps(shown).encode())
        self._chars += len(pieces)

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        super()._finish(_reason(reason), usage)


def _reason(reason: str) -> str:
    return "function_call" if reason == "tool_calls" else reason
