"""chat/openai/turns.py, and what the shapes of /v1 make of calls with more than a name and arguments."""

import json
import time
from typing import Any

import pytest
from django.test import RequestFactory

from chat.openai import messages_bodies
from chat.openai.messages_relay import MessageEvents, WholeMessage
from chat.openai.relay import Relay
from chat.openai.responses_relay import ResponseEvents, WholeResponse
from chat.openai.turns import MOST_DETAILS, CallsInOrder, Turns, packed

SIGNED = {"extra_content": {"vendor": {"signature": "s" * 100}}}
RAN_END = {"finish_reason": "stop", "usage": {"input_tokens": 1, "output_tokens": 1, "estimated": False}}
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
    relay.complete("done", RAN_END, finish_reason=reason)


def data(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(block.partition(b"data: ")[2]) for block in stream.split(b"\n\n") if b"data: " in block]


@pytest.mark.parametrize(
    ("pieces", "order"),
    [
        ([piece(0, "{", name="a"), piece(0, "}"), piece(1, "{}", name="b")], "c0+{ c0} c1+{}"),
        ([piece(0, "{", name="a"), piece(1, "[", name="b"), piece(0, "}"), piece(1, "]")], "c0+{ c0} c1+[ c1]"),
        ([piece(0, "", name="a"), piece(1, "{}", name="b")], "c0+ c1+{}"),
        ([piece(0, "", name="a"), piece(1, "", name="b"), piece(0, "{}"), piece(1, "{}")], "c0+ c0{} c1+ c1{}"),
        ([piece(0, "{", name="a"), piece(1, "{}", name="b")], "c0+{ c1+{}"),
        ([piece(0, "{"), piece(0, "}", name="a"), piece(0, " ")], "c0+{} c0 "),
        ([piece(0, "1", name="a"), piece(1, "{}", name="b"), piece(0, "{")], "c0+1 c1+{} c0"),
    ],
)
def test_calls_come_one_after_the_other(pieces: list[dict[str, Any]], order: str) -> None:
    """Pieces of calls side by side are sorted, and each call begins once, when its id is known."""
    calls = CallsInOrder()
    out = [each for one in pieces for each in calls.feed(json.dumps([one]))] + calls.flush()
    assert " ".join(f"{each.call_id}{'+' * each.begins}{each.arguments}" for each in out) == order


def test_a_call_without_id_gets_one() -> None:
    calls = CallsInOrder()
    assert calls.feed(json.dumps([piece(0, "{}")])) == []
    (only,) = calls.flush()
    assert only.begins
    assert len(only.call_id) > 20
    assert only.arguments == "{}"


def test_a_call_without_arguments_does_not_delay_the_next() -> None:
    calls = CallsInOrder()
    calls.feed(json.dumps([piece(0, name="a")]))
    assert [each.call_id for each in calls.feed(json.dumps([piece(1, "{", name="b")]))] == ["c1"]


def test_many_pieces_cost_little() -> None:
    """The time grows with the number of pieces, not with its square."""
    started = time.thread_time()
    calls = CallsInOrder()
    calls.feed(json.dumps([piece(0, '{"a": "', name="a")]))
    out = 0
    for index in range(1, 20_000):
        out += len(calls.feed(json.dumps([piece(0, "x" * 50), piece(index, "{}", name="b")])))
    out += len(calls.flush())
    assert out == 2 * 19_999
    assert time.thread_time() - started < 3


CUT = [piece(0, '{"a": 1}', name="a"), piece(1, '{"b": "', name="b")]


def test_a_call_that_is_cut() -> None:
    """A call that the token limit cut is not sent as a whole one."""
    whole, stream = WholeResponse({}), ResponseEvents({})
    for relay in (whole, stream):
        ran(relay, CUT, reason="length")
    for output in (whole.body["output"], data(stream.take())[-1]["response"]["output"]):
        assert [item["status"] for item in output] == ["completed", "incomplete"]
    message = WholeMessage()
    ran(message, CUT, reason="length")
    assert [block["input"] for block in message.body["content"]] == [{"a": 1}, {"arguments": '{"b": "'}]
    assert message.body["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("kind", ["message", "reasoning"])
def test_text_inside_a_call_does_not_split_it(kind: str) -> None:
    """Text that comes between two pieces of a call follows after the call."""
    response, message = ResponseEvents({}), MessageEvents(1)
    for relay in (response, message):
        relay.publish("start", {"generation": "0" * 32, "model": "m"})
        relay.tool_calls(json.dumps([piece(0, "{", name="a")]))
        relay.publish(kind, {"content": "hm"})
        opened = relay.take()
        assert b"hm" not in opened
        relay.tool_calls(json.dumps([piece(0, "}")]))
        relay.complete("done", RAN_END, finish_reason="tool_calls")
    call, text = data(response.take())[-1]["response"]["output"]
    assert (call["type"], call["arguments"], text["type"]) == ("function_call", "{}", kind)
    events = data(message.take())
    assert [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"] == [
        {"message": "text", "reasoning": "thinking"}[kind]
    ]
    assert "hm" in str(events)


def test_text_after_a_call_is_not_held() -> None:
    stream = MessageEvents(1)
    stream.publish("start", {"generation": "0" * 32, "model": "m"})
    stream.tool_calls(json.dumps([piece(0, "{}", name="a")]))
    stream.publish("message", {"content": "hm"})
    assert b"hm" in stream.take()


def test_signatures_that_come_late() -> None:
    """What a vendor wants back comes as a block, also when it came after the call had begun."""
    stream = MessageEvents(1)
    ran(stream, [piece(0, "{", name="a", early="e")], [piece(0, "}", **SIGNED)])
    blocks = [event["content_block"] for event in data(stream.take()) if event["type"] == "content_block_start"]
    assert [block["type"] for block in blocks] == ["redacted_thinking", "tool_use", "redacted_thinking"]
    turns = Turns()
    turns.carry(blocks[0]["data"])
    turns.call(blocks[1]["id"], "a", "{}")
    turns.carry(blocks[2]["data"])
    (call,) = turns.all()[0].fields["tool_calls"]  # type: ignore[misc, union-attr]
    assert call.items() >= {**SIGNED, "early": "e"}.items()  # type: ignore[union-attr]


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


def test_marks_of_what_is_to_be_cached() -> None:
    """The last mark of a turn's blocks counts for it; what is no mark is ignored."""
    marked = {"cache_control": {"type": "ephemeral", "ttl": "1h", "other": 1}}
    given = {
        "model": "m",
        "system": [{"type": "text", "text": "a", **marked}, {"type": "text", "text": "b"}],
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}, **marked}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": "r", **marked},
                    {"type": "text", "text": "y", "cache_control": {"type": "other"}},
                ],
            },
            {"role": "assistant", "content": "z"},
        ],
        "tools": [{"name": "f", "input_schema": {}, **marked}, {"name": "g", "input_schema": {}}],
    }
    request = RequestFactory().post("/v1/messages", given, content_type="application/json")
    _body, call = messages_bodies.parse(request)
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert [message.cache_control for message in call.messages] == [mark, None, mark, mark, None, None]
    assert [tool.get("cache_control") for tool in call.extras["tools"]] == [mark, None]


def test_structured_reasoning_comes_back() -> None:
    """Reasoning that a vendor wants back is with its block, or comes last; withdrawn reasoning does not."""
    text = {"type": "reasoning.text", "text": "Hm 😀", "signature": "s", "index": 0}
    halves = [{**text, "text": "Hm \ud83d", "signature": None}, {**text, "text": "\ude00"}]
    late = {"type": "reasoning.encrypted", "data": "c", "index": 1}
    relays = (
        WholeResponse({}, with_details=True),
        ResponseEvents({}, with_details=True),
        WholeMessage(),
        MessageEvents(1),
    )
    for relay in relays:
        relay.publish("start", {"generation": "0" * 32, "model": "m"})
        relay.reasoning_details(json.dumps([late]))
        relay.publish("reset", {"content": "", "reasoning": ""})
        relay.publish("reasoning", {"content": "Hm"})
        for half in halves:
            relay.reasoning_details(json.dumps([half]))
        relay.publish("message", {"content": "x"})
        relay.tool_calls(json.dumps([piece(0, "{}", name="a")]))
        relay.reasoning_details(json.dumps([late]))
        relay.complete("done", RAN_END, finish_reason="tool_calls")
    whole, stream, message, events = relays
    for output in (whole.body["output"], data(stream.take())[-1]["response"]["output"]):
        carried = [item["encrypted_content"] for item in output if item["type"] == "reasoning"]
        assert returned(*carried) == [text, late]
    sent = data(events.take())
    deltas = [event["delta"].get("signature") for event in sent if event["type"] == "content_block_delta"]
    blocks = [event["content_block"].get("data") for event in sent if event["type"] == "content_block_start"]
    assert returned(*filter(None, deltas + blocks)) == [text, late]
    kept = [block.get("signature") or block.get("data") for block in message.body["content"]]
    assert returned(*filter(None, kept)) == [text, late]


def returned(*carried: str) -> Any:
    """Return the structured reasoning that a vendor gets back."""
    turns = Turns()
    for each in carried:
        turns.carry(each)
    turns.call("c0", "a", "{}")
    return turns.all()[0].fields["reasoning_details"]


@pytest.mark.parametrize("given", ["eyJ9", "not base64", packed({}, [{"type": "x"}])[:-4]])
def test_foreign_signatures_are_ignored(given: str) -> None:
    """A signature that another service made is not for this vendor."""
    turns = Turns()
    turns.carry(given)
    turns.call("c0", "a", "{}")
    assert "reasoning_details" not in turns.all()[0].fields


def test_the_details_of_a_request_are_bounded() -> None:
    """More pieces than any conversation has are ignored, because reading millions would hold up all streams."""
    turns = Turns()
    for turn in range(2):
        turns.call(f"c{turn}", "run", "{}")
        turns.carry(packed({}, [{"index": index} for index in range(MOST_DETAILS - 1)]))
        turns.add("user", "next")
    kept = [message.fields.get("reasoning_details", ()) for message in turns.all() if message.role == "assistant"]
    assert [len(details) for details in kept] == [MOST_DETAILS - 1, 1]
