"""OpenAI's outdated functions: to the upstream as tools, and calls back as `function_call`."""

from typing import Any

import httpx
import pytest

from tests.chat.programs import ask, chunks
from tests.scenarios import TOOL_ARGUMENTS
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server

FUNCTIONS: Any = [{"name": "weather", "parameters": {"type": "object", "properties": {}}}]


def test_a_round(program: httpx.Client, upstream: FakeOpenAI) -> None:
    """A call comes back whole and streamed, and its result goes to the upstream as one of a tool."""
    asked: Any = {"functions": FUNCTIONS, "function_call": {"name": "weather"}}
    whole = ask(program, "tools", **asked).json()["choices"][0]
    call = {"name": "weather", "arguments": TOOL_ARGUMENTS}
    assert (whole["finish_reason"], whole["message"]["function_call"]) == ("function_call", call)
    assert "tool_calls" not in whole["message"]
    sent = upstream.requests[-1].body
    assert sent["tools"] == [{"type": "function", "function": FUNCTIONS[0]}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert not {"functions", "function_call"} & sent.keys()

    data = [chunk["choices"][0] for chunk in chunks(ask(program, "tools", stream=True, **asked))[:-1]]
    pieces = [choice["delta"]["function_call"] for choice in data if "function_call" in choice["delta"]]
    assert "".join(piece.get("name", "") for piece in pieces) == "weather"
    assert "".join(piece.get("arguments", "") for piece in pieces) == TOOL_ARGUMENTS
    assert data[-1]["finish_reason"] == "function_call"

    turns = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "weather", "content": "It rains."},
    ]
    answer = ask(program, "tools", turns, functions=FUNCTIONS).json()["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("It rains.", "stop")
    _user, assistant, result = upstream.requests[-1].body["messages"]
    assert assistant["tool_calls"] == [{"id": "call_1", "type": "function", "function": call}]
    assert result == {"role": "tool", "content": "It rains.", "tool_call_id": "call_1"}


def test_a_refused_field_has_its_name(program: httpx.Client) -> None:
    """A model without tools refuses the functions by the name that the caller knows."""
    refused = ask(program, "demo", functions=FUNCTIONS)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "functions")
