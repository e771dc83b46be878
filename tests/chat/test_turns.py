"""chat/openai/turns.py, and what the shapes of /v1 make of calls with more than a name and arguments."""

import json
from typing import Any

import pytest

from chat.openai.relay import Relay
from chat.openai.responses_relay import ResponseEvents, WholeResponse
from chat.openai.turns import CallsInOrder, Turns, packed

SIGNED = {"extra_content": {"vendor": {"signature": "s" * 100}}}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def piece(index: int, arguments: str = "", **more: Any) -> dict[str, Any]:
    named = {"id": f"c{index}", "type": "function"} if "name" in more else {}
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"index": index, **named, **more, "function": {**name, "arguments": arguments}}


def ran(relay: Relay, *lists: list[dict[str, Any]], reason: str = "tool_calls") -> None:
    """Let a relay take lists of pieces and the end."""
    relay.publish("start", {"generation": "0" * 32, "model": "m"})
    for pieces in lists:
        relay.tool_calls(json.dumps(pieces))
    done = {"finish_reason": "stop", "usage": {"input_tokens": 1, "output_tokens": 1, "estimated": False}}
    relay.complete("done", done, finish_reason=reason)


def data(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(block.partition(b"data: ")[2]) for block in stream.split(b"\n\n") if b"data: " in block]


@pytest.mark.parametrize(
    ("pieces", "order"),
    [
        ([piece(0, "{", name="a"), piece(0, "}"), piece(1, "{}", name="b")], "0{ 0} 1{}"),
        ([piece(0, "{", name="a"), piece(1, "[", name="b"), piece(0, "}"), piece(1, "]")], "0{ 0} 1[ 1]"),
        ([piece(0, "", name="a"), piece(1, "{}", name="b")], "0 1{}"),
        ([piece(0, "{", name="a"), piece(1, "{}", name="b")], "0{ 1{}"),
    ],
)
def test_calls_come_one_after_the_other(pieces: list[dict[str, Any]], order: str) -> None:
    """Pieces of calls side by side are sorted, each call begins once, and none is lost."""
    calls = CallsInOrder()
    out = [each for one in pieces for each in calls.feed(json.dumps([one]))] + calls.flush()
    assert " ".join(f"{each['index']}{each['function']['arguments']}" for _begins, each in out) == order
    assert [begins for begins, _each in out] == [
        place == 0 or each["index"] != out[place - 1][1]["index"] for place, (_begins, each) in enumerate(out)
    ]


def test_signatures_come_back() -> None:
    """What a vendor wants back with its calls comes as an item, and is with the call again in the next request."""
    whole, stream = WholeResponse({}), ResponseEvents({})
    for relay in (whole, stream):
        ran(relay, [piece(0, "{}", name="a", **SIGNED)], [piece(1, "{}", name="b")])
    events = data(stream.take())
    for output in (whole.body["output"], events[-1]["response"]["output"]):
        assert [item["type"] for item in output] == ["function_call", "function_call", "reasoning"]
        turns = Turns()
        for call in output[:2]:
            turns.call(call["call_id"], call["name"], call["arguments"])
        turns.carry(output[2]["encrypted_content"])
        first, second = turns.all()[0].fields["tool_calls"]  # type: ignore[misc, union-attr]
        assert first == {**SIGNED, "id": "c0", "type": "function", "function": {"name": "a", "arguments": "{}"}}
        assert "extra_content" not in second  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "x", "gAAAA==", "bnVsbA==", "e30=", packed({"c": {"id": "other"}}), "\u4e2d"])
def test_what_others_carry_is_ignored(text: str) -> None:
    """Encrypted content of others changes nothing, and ours never the name of a call."""
    turns = Turns()
    turns.call("c", "f", "{}")
    turns.carry(text)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert turns.all()[0].fields == {"tool_calls": [call]}


def test_halves_of_characters_in_arguments() -> None:
    """A character whose halves are in two pieces is whole in the events; a lone half is replaced."""
    stream = ResponseEvents({})
    ran(stream, [piece(0, '{"a": "\ud83d', name="a")], [piece(0, '\ude00 \ud83d"}')])
    (call,) = data(stream.take())[-1]["response"]["output"]
    assert call["arguments"] == '{"a": "😀 \ufffd"}'


def test_withdrawn_text() -> None:
    """Text that is withdrawn before it was sent leaves no trace, and the numbers go on without a gap."""
    stream = ResponseEvents({})
    stream.publish("start", {"generation": "0" * 32, "model": "m"})
    stream.publish("reasoning", {"content": "hm"})
    stream.publish("message", {"content": " "})
    stream.publish("reset", {"content": "", "reasoning": ""})
    stream.publish("message", {"content": "Hello"})
    ran_end = {"finish_reason": "stop", "usage": {"input_tokens": 1, "output_tokens": 1, "estimated": False}}
    stream.complete("done", ran_end)
    events = data(stream.take())
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    (item,) = events[-1]["response"]["output"]
    assert item["content"][0]["text"] == "Hello"
