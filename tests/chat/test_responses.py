"""/v1/responses as a program sees it that speaks plain HTTP; with OpenAI's own client it is test_responses_sdk.py."""

import json
from typing import Any

import httpx
import pytest

from tests.chat.programs import error, read_one_by_one
from tests.paused import PausedUpstream
from tests.product import ApiUser
from tests.scenarios import PLAIN, REASONING, TOOL_ARGUMENTS
from tests.upstreams import FakeOpenAI

URL = "/v1/responses"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
IMAGE = "data:image/png;base64,AAAA"
PICTURE = {"type": "input_image", "image_url": IMAGE}
DEEP: Any = "x"
for _level in range(300):
    DEEP = [DEEP]


def ask(caller: httpx.Client, model: str = "echo", given: Any = "Hello", **body: Any) -> httpx.Response:
    return caller.post(URL, json={"model": model, "input": given, **body})


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the data of a stream's events; each has its type as its name, and they count from 0."""
    assert response.status_code == 200, response.text
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    found = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        found.append(event)
    return found


def usage(given: int, made: int) -> dict[str, Any]:
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + made,
    }


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.contract("POST /v1/responses")
def test_a_response_has_the_shape_of_openai(caller: httpx.Client, api_user: ApiUser) -> None:
    """A response in one piece has OpenAI's shape, repeats its request, and costs one."""
    answer = ask(caller, instructions="Be brief", metadata={"a": "b"}, store=True, truncation="auto", user="u")
    body = answer.json()
    generation = body["id"].removeprefix("resp_")
    assert body == {
        "id": f"resp_{generation}",
        "object": "response",
        "created_at": body["created_at"],
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "echo",
        "output": [
            {
                "id": f"msg_{generation}_0",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
            }
        ],
        "usage": usage(9, 2),
        "background": False,
        "instructions": "Be brief",
        "max_output_tokens": None,
        "metadata": {"a": "b"},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }
    assert int(answer.headers["x-quota-remaining"]) > 0
    row = api_user.generation(generation)
    assert (row["content"], row["conversation"], row["charge"]["amount"]) == ("Hello", None, 1)
    assert api_user.quota()["used_today"] == 1


@pytest.mark.contract("POST /v1/responses")
def test_the_events_of_text(caller: httpx.Client, upstream: PausedUpstream) -> None:
    """The events of a text come in OpenAI's order, deltas as they come; the last one has the whole response."""
    words = [f"r{number} " for number in range(12)]
    created, progress, added, part, *deltas, done, part_done, item_done, completed = events(
        read_one_by_one(caller, upstream, URL, words)
    )
    assert (created["type"], progress["type"]) == ("response.created", "response.in_progress")
    assert created["response"] == progress["response"]
    assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
    item = added["item"]
    assert (added["type"], added["output_index"]) == ("response.output_item.added", 0)
    assert item == {**item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert part == {**place, "type": "response.content_part.added", "part": empty, "sequence_number": 3}
    assert {event["type"] for event in deltas} == {"response.output_text.delta"}
    assert [event["delta"] for event in deltas] == words
    text = "".join(words)
    assert done == {**done, **place, "type": "response.output_text.done", "text": text}
    assert part_done == {**part_done, **place, "part": {**empty, "text": text}, "type": "response.content_part.done"}
    assert item_done["item"] == {**item, "status": "completed", "content": [part_done["part"]]}
    assert (completed["type"], completed["response"]["status"]) == ("response.completed", "completed")
    assert completed["response"]["output"] == [item_done["item"]]
    assert completed["response"]["usage"] == usage(9, 7)


def test_reasoning_is_an_item_of_its_own(caller: httpx.Client) -> None:
    """Thinking text is a reasoning item with a summary before the message, whole and streamed."""
    thought, message = ask(caller, "reasoning").json()["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": REASONING}]
    assert message["content"][0]["text"] == PLAIN
    found = events(ask(caller, "reasoning", stream=True))
    kinds = list(dict.fromkeys(event["type"].removeprefix("response.") for event in found))
    assert kinds == [
        *("created", "in_progress", "output_item.added", "reasoning_summary_part.added"),
        *("reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done"),
        *("output_item.done", "content_part.added", "output_text.delta", "output_text.done", "content_part.done"),
        "completed",
    ]
    streamed = found[-1]["response"]["output"]
    assert [item["type"] for item in streamed] == ["reasoning", "message"]
    assert streamed[0]["summary"] == thought["summary"]
    assert streamed[1]["content"] == message["content"]
    assert [event["output_index"] for event in found if "output_index" in event] == sorted(
        event["output_index"] for event in found if "output_index" in event
    )


def test_tool_calls(caller: httpx.Client, api_user: ApiUser) -> None:
    """A call is an item, whole or in pieces of its arguments, and costs one without any text."""
    (call,) = ask(caller, "tools", tools=[WEATHER]).json()["output"]
    assert call == {**call, "type": "function_call", "status": "completed", "call_id": "call_1", "name": "weather"}
    assert call["arguments"] == TOOL_ARGUMENTS
    found = events(ask(caller, "tools", tools=[WEATHER], stream=True))
    added, *deltas, done, item_done, completed = found[2:]
    assert added["item"] == {**call, "id": added["item"]["id"], "status": "in_progress", "arguments": ""}
    assert {event["type"] for event in deltas} == {"response.function_call_arguments.delta"}
    assert "".join(event["delta"] for event in deltas) == done["arguments"] == TOOL_ARGUMENTS
    assert item_done["item"] == {**call, "id": added["item"]["id"]}
    assert completed["response"]["output"] == [item_done["item"]]
    assert api_user.quota()["used_today"] == 2


@pytest.mark.parametrize("stream", [True, False])
def test_a_response_that_is_cut(caller: httpx.Client, *, stream: bool) -> None:
    """What the length or moderation cuts is incomplete, with the reason."""
    for model, reason in (("too-long", "max_output_tokens"), ("moderated", "content_filter")):
        answer = ask(caller, model, stream=stream)
        body = events(answer)[-1]["response"] if stream else answer.json()
        assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": reason})
        assert body["output"][0]["content"][0]["text"]
    if stream:
        assert events(answer)[-1]["type"] == "response.incomplete"


def test_an_empty_response(caller: httpx.Client, api_user: ApiUser) -> None:
    """A completion without text has no output and costs nothing."""
    body = ask(caller, "empty").json()
    assert (body["status"], body["output"]) == ("completed", [])
    assert [event["type"] for event in events(ask(caller, "empty", stream=True))] == [
        *("response.created", "response.in_progress", "response.completed")
    ]
    assert api_user.quota()["used_today"] == 0


def test_a_failure_in_the_middle(caller: httpx.Client, api_user: ApiUser) -> None:
    """A failure after text ends a stream with `error` and `response.failed`; a whole response fails; both are free."""
    *_events, told, failed = events(ask(caller, "error", stream=True))
    assert (told["type"], told["code"]) == ("error", "server_error")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": told["message"]}
    assert error(ask(caller, "error"))[:3] == (502, "server_error", "server_error")
    assert api_user.quota()["used_today"] == 0


def test_a_failure_before_anything(caller: httpx.Client) -> None:
    """A failure before any text has a status."""
    for stream in (True, False):
        assert error(ask(caller, "http-400", stream=stream)) == (502, "server_error", "server_error", None)


# --- what may be asked -----------------------------------------------------------------------------------------------


def test_items_of_all_kinds(caller: httpx.Client, upstream: FakeOpenAI) -> None:
    """Items become turns; what the assistant wrote in pieces is one turn, with its reasoning if it has calls."""
    image = {"type": "input_image", "image_url": IMAGE, "detail": "low"}
    items = [
        {"role": "developer", "content": "In English"},
        {"role": "user", "content": [{"type": "input_text", "text": "What "}, {"type": "input_text", "text": "now?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
        {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "not sent back"}]},
        {"role": "assistant", "content": "Both."},
        {"role": "user", "content": [{"type": "input_text", "text": "See"}, image]},
    ]
    assert ask(caller, "plain", items, instructions="Be brief", tools=[WEATHER]).status_code == 200
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}},
    ]
    sent = upstream.requests[-1].body
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "system", "content": "In English"},
        {"role": "user", "content": "What now?"},
        {"role": "assistant", "content": "I look.", "tool_calls": calls, "reasoning_content": "hm"},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "tool", "content": "rain", "tool_call_id": "c2"},
        {"role": "assistant", "content": "Both."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
            ],
        },
    ]
    function = {"name": "weather", "parameters": WEATHER["parameters"], "strict": False}
    assert sent["tools"] == [{"type": "function", "function": function}]


def test_what_is_passed_on(caller: httpx.Client, upstream: FakeOpenAI) -> None:
    """Fields reach the upstream under the names of chat completions; others are ignored."""
    schema = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    ask(
        caller,
        "plain",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        max_output_tokens=99,
        temperature=0.1,
        top_p=0.5,
        text={"format": schema, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        service_tier="auto",
    )
    sent = upstream.requests[-1].body
    assert set(sent) == {
        *("model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"),
        *("max_tokens", "temperature", "top_p", "response_format", "verbosity", "reasoning_effort"),
    }
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    inner = {"name": "x", "schema": {"type": "object"}, "strict": True}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": inner}
    assert (sent["verbosity"], sent["reasoning_effort"], sent["max_tokens"]) == ("low", "high", 99)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": " "}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"metadata": {"deep": DEEP}}, "metadata"),
        ({"input": [{"role": "assistant", "content": [PICTURE]}]}, "input[0].content"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": "json"}}, "text"),
        ({"reasoning": {"effort": 1}}, "reasoning"),
        ({"model": None}, "model"),
    ],
)
def test_wrong_fields_are_named(program: httpx.Client, wrong: dict[str, Any], param: str) -> None:
    """A field that is wrong is answered with 400 and its place."""
    answer = program.post(URL, json={"model": "echo", "input": "Hello", **wrong})
    assert error(answer) == (400, "invalid_request_error", None, param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [WEATHER]}, "tools"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}]}, "input"),
    ],
)
def test_what_a_model_cannot_take_is_named(program: httpx.Client, body: dict[str, Any], param: str) -> None:
    """A model whose upstream cannot take a field answers 400 with its place in this shape."""
    answer = program.post(URL, json={"model": "demo", "input": "Hello", **body})
    assert error(answer) == (400, "invalid_request_error", "unsupported_parameter", param)


def test_refusals(program: httpx.Client, caller: httpx.Client, api_user: ApiUser) -> None:
    """Refusals have OpenAI's envelope, and the statuses of chat completions."""
    assert error(ask(program, "nope")) == (404, "invalid_request_error", "model_not_found", "model")
    assert error(ask(api_user.product.client(), "echo"))[:3] == (401, "invalid_request_error", "invalid_api_key")
    assert error(program.get(URL))[0] == 405
    for _ in range(10):
        ask(caller, "gpt-4-echo")
    answer = ask(caller, "gpt-4-echo")
    assert error(answer) == (429, "insufficient_quota", "insufficient_quota", None)
    assert answer.headers["x-should-retry"] == "false"
