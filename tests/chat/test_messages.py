"""/v1/messages as a program sees it that speaks plain HTTP."""

import json
from typing import Any

import httpx
import pytest

from tests.chat.programs import read_one_by_one
from tests.paused import PausedUpstream
from tests.product import ApiUser
from tests.scenarios import PLAIN, REASONING
from tests.upstreams import FakeOpenAI

URL = "/v1/messages"
WEATHER = {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
HELLO = [{"role": "user", "content": "Hello"}]


def ask(caller: httpx.Client, model: str = "echo", messages: Any = HELLO, **body: Any) -> httpx.Response:
    return caller.post(URL, json={"model": model, "max_tokens": 100, "messages": messages, **body})


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the data of a stream's events; each has its type as its name."""
    assert response.status_code == 200, response.text
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    found = []
    for block in blocks:
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def error(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, type and message of a refusal, whose envelope must be Anthropic's."""
    body = response.json()
    assert body == {"type": "error", "error": body["error"], "request_id": response.headers["x-request-id"]}
    assert set(body["error"]) == {"type", "message"}
    return response.status_code, body["error"]["type"], body["error"]["message"]


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.contract("POST /v1/messages")
def test_a_message_has_the_shape_of_anthropic(caller: httpx.Client, api_user: ApiUser) -> None:
    """A message in one piece has Anthropic's shape, and costs one."""
    answer = ask(caller, metadata={"user_id": "u"})
    body = answer.json()
    generation = body["id"].removeprefix("msg_")
    assert body == {
        "id": f"msg_{generation}",
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 2,
        },
    }
    assert int(answer.headers["x-quota-remaining"]) > 0
    row = api_user.generation(generation)
    assert (row["content"], row["conversation"], row["charge"]["amount"]) == ("Hello", None, 1)
    assert api_user.quota()["used_today"] == 1


@pytest.mark.contract("POST /v1/messages")
def test_the_events_of_text(caller: httpx.Client, upstream: PausedUpstream) -> None:
    """The events of a text come in Anthropic's order, and its deltas as they come."""
    words = [f"m{number} " for number in range(12)]
    response = read_one_by_one(caller, upstream, URL, words, max_tokens=100)
    start, opened, *deltas, closed, delta, stop = events(response)
    message = start["message"]
    assert (start["type"], message["content"], message["stop_reason"]) == ("message_start", [], None)
    assert message["usage"]["input_tokens"] > 0
    block = {"type": "text", "text": ""}
    assert opened == {"type": "content_block_start", "index": 0, "content_block": block}
    assert {(event["type"], event["index"], event["delta"]["type"]) for event in deltas} == {
        ("content_block_delta", 0, "text_delta")
    }
    assert [event["delta"]["text"] for event in deltas] == words
    assert closed == {"type": "content_block_stop", "index": 0}
    assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert (delta["usage"]["input_tokens"], delta["usage"]["output_tokens"]) == (9, 7)
    assert stop == {"type": "message_stop"}


def test_thinking_is_a_block_of_its_own(caller: httpx.Client) -> None:
    """Thinking text is a block before the text, whole and streamed."""
    thought, text = ask(caller, "reasoning").json()["content"]
    assert thought == {"type": "thinking", "thinking": REASONING, "signature": ""}
    assert text == {"type": "text", "text": PLAIN}
    found = events(ask(caller, "reasoning", stream=True))
    assert [(event["type"], event.get("index")) for event in found if not event["type"].endswith("_delta")] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_stop", 1),
        ("message_stop", None),
    ]
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == REASONING
    assert "".join(delta.get("text", "") for delta in deltas) == PLAIN


def test_tool_calls(caller: httpx.Client, api_user: ApiUser) -> None:
    """A call is a block with its input, whole or in pieces of JSON, and costs one without any text."""
    body = ask(caller, "tools", tools=[WEATHER]).json()
    given = {"city": "杭州", "days": 2}
    assert body["content"] == [{"type": "tool_use", "id": "call_1", "name": "weather", "input": given}]
    assert body["stop_reason"] == "tool_use"
    _start, opened, *deltas, closed, delta, _stop = events(ask(caller, "tools", tools=[WEATHER], stream=True))
    assert opened["content_block"] == {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
    assert {event["delta"]["type"] for event in deltas} == {"input_json_delta"}
    assert json.loads("".join(event["delta"]["partial_json"] for event in deltas)) == given
    assert (closed["type"], delta["delta"]["stop_reason"]) == ("content_block_stop", "tool_use")
    assert api_user.quota()["used_today"] == 2


@pytest.mark.parametrize(("model", "reason"), [("too-long", "max_tokens"), ("moderated", "refusal")])
def test_a_message_that_is_cut(caller: httpx.Client, model: str, reason: str) -> None:
    """What the length or moderation cuts has the reason in Anthropic's words."""
    assert ask(caller, model).json()["stop_reason"] == reason
    assert events(ask(caller, model, stream=True))[-2]["delta"]["stop_reason"] == reason


def test_an_empty_message(caller: httpx.Client, api_user: ApiUser) -> None:
    """A completion without text has no content and costs nothing."""
    assert ask(caller, "empty").json()["content"] == []
    kinds = [event["type"] for event in events(ask(caller, "empty", stream=True))]
    assert kinds == ["message_start", "message_delta", "message_stop"]
    assert api_user.quota()["used_today"] == 0


def test_a_failure_in_the_middle(caller: httpx.Client, api_user: ApiUser) -> None:
    """A failure after text ends a stream with `error`; a whole message then fails; both are free."""
    last = events(ask(caller, "error", stream=True))[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert error(ask(caller, "error"))[:2] == (502, "api_error")
    assert api_user.quota()["used_today"] == 0


@pytest.mark.contract("POST /v1/messages/count_tokens")
def test_counting(program: httpx.Client, api_user: ApiUser) -> None:
    """Tokens are estimated without a charge, and grow with the prompt and its tools."""
    counts = [
        program.post(f"{URL}/count_tokens", json={"model": "echo", "messages": messages, **more}).json()
        for messages, more in (
            (HELLO, {}),
            ([{"role": "user", "content": "word " * 1000}], {}),
            (HELLO, {"tools": [WEATHER], "system": "Be brief", "thinking": {"type": "adaptive"}}),
        )
    ]
    assert [list(count) for count in counts] == [["input_tokens"]] * 3
    few, many, tools = (count["input_tokens"] for count in counts)
    assert 0 < few < tools < many
    assert 800 < many < 1600
    refused = program.post(f"{URL}/count_tokens", json={"model": "nope", "messages": HELLO})
    assert error(refused)[:2] == (404, "not_found_error")
    assert api_user.quota()["used_today"] == 0


# --- what may be asked -----------------------------------------------------------------------------------------------


def test_blocks_of_all_kinds(caller: httpx.Client, upstream: FakeOpenAI) -> None:
    """Blocks become turns: results of tools one each, and the calls of a turn with the thoughts before them."""
    cached = {"cache_control": {"type": "ephemeral"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "now?", **cached}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "redacted_thinking", "data": "of another service"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "x"}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "sunny", **cached},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "rain"}],
                    "is_error": True,
                },
                {"type": "text", "text": "See"},
                IMAGE,
            ],
        },
    ]
    system = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief", **cached}]
    assert ask(caller, "plain", messages, system=system, tools=[{**WEATHER, **cached}]).status_code == 200
    sent = upstream.requests[-1].body
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"x"}'}},
        {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
    ]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "What now?"},
        {"role": "assistant", "content": "I look.", "tool_calls": calls, "reasoning_content": "hm"},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "tool", "content": "Error: rain", "tool_call_id": "c2"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
    ]
    function = {"name": "weather", "description": "d", "parameters": WEATHER["input_schema"]}
    assert sent["tools"] == [{"type": "function", "function": function}]


def test_what_is_passed_on(caller: httpx.Client, upstream: FakeOpenAI) -> None:
    """Fields reach the upstream under the names of chat completions; others are ignored."""
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    answer = ask(
        caller,
        "plain",
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        temperature=0.1,
        top_p=0.5,
        top_k=40,
        thinking={"type": "enabled", "budget_tokens": 8_000},
        output_config={"format": schema},
        service_tier="auto",
        context_management={"edits": []},
    )
    assert answer.status_code == 200, answer.text
    sent = upstream.requests[-1].body
    assert set(sent) == {
        *("model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "stop"),
        *("max_tokens", "temperature", "top_p", "top_k", "response_format", "reasoning_effort"),
    }
    assert (sent["tool_choice"], sent["parallel_tool_calls"], sent["stop"]) == ("required", False, ["END"])
    assert (sent["reasoning_effort"], sent["top_k"], sent["max_tokens"]) == ("medium", 40, 100)
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"tool_choice": {"type": "tool", "name": "weather"}}, {"type": "function", "function": {"name": "weather"}}),
        ({"tool_choice": {"type": "auto"}}, "auto"),
        ({"tool_choice": {"type": "none"}}, "none"),
        ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"output_config": {"effort": "max"}, "thinking": {"type": "adaptive"}}, "max"),
    ],
)
def test_choices(caller: httpx.Client, upstream: FakeOpenAI, given: dict[str, Any], sent: Any) -> None:
    """Choices of tools and budgets of thinking have their counterparts."""
    ask(caller, "plain", tools=[WEATHER], **given)
    name = "tool_choice" if "tool_choice" in given else "reasoning_effort"
    assert upstream.requests[-1].body.get(name) == sent


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [IMAGE]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages[0].content[0].source.type",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "perhaps"}}, "tool_choice.type"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
        ({"model": None}, "model"),
    ],
)
def test_wrong_fields_are_named(program: httpx.Client, wrong: dict[str, Any], field: str) -> None:
    """A field that is wrong is answered with 400 and its place in the message."""
    status, kind, message = error(program.post(URL, json={"model": "echo", "messages": HELLO, **wrong}))
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tools": [WEATHER]}, "tools"),
        ({"stop_sequences": ["END"]}, "stop_sequences"),
        ({"top_k": 3}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages"),
    ],
)
def test_what_a_model_cannot_take_is_named(program: httpx.Client, body: dict[str, Any], field: str) -> None:
    """A model whose upstream cannot take a field answers 400 with its name in this shape."""
    status, kind, message = error(program.post(URL, json={"model": "demo", "messages": HELLO, **body}))
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith(f"{field}: ")


# --- refusals --------------------------------------------------------------------------------------------------------


def test_the_key(api_user: ApiUser) -> None:
    """`x-api-key` is as good as a bearer, on all of /v1 and nowhere else; a wrong one is refused."""
    token = api_user.client.post("/api/tokens/", json={"name": "claude"}).json()["token"]
    client = api_user.product.client()
    for key, status in ((token, 200), (api_user.access, 200), ("sk-wrong", 401), ("", 401)):
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        answer = client.post(URL, json={"model": "echo", "messages": HELLO}, headers=headers)
        assert answer.status_code == status
        assert client.get("/v1/models", headers=headers).status_code == status
    assert error(answer)[:2] == (401, "authentication_error")
    assert client.get("/api/me/", headers={"x-api-key": token}).status_code == 401
    large = {"model": "echo", "messages": HELLO, "padding": "x" * 2_000_000}
    assert client.post(URL, json=large, headers={"x-api-key": token}).status_code == 200


def test_refusals(program: httpx.Client, caller: httpx.Client) -> None:
    """Refusals have Anthropic's envelope and types; an exhausted quota forbids a retry."""
    assert error(ask(program, "nope"))[:2] == (404, "not_found_error")
    assert error(program.get(URL))[:2] == (405, "invalid_request_error")
    assert error(program.post(f"{URL}/nothing"))[:2] == (404, "not_found_error")
    assert error(program.post(URL, content=b" " * 22_000_000))[:2] == (413, "request_too_large")
    assert error(ask(program, "http-400", stream=True))[:2] == (502, "api_error")
    status, kind, message = error(
        ask(program, "short-context", [*HELLO, {"role": "assistant", "content": "x"}, *HELLO])
    )
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("prompt is too long")
    for _ in range(10):
        ask(caller, "gpt-4-echo")
    answer = ask(caller, "gpt-4-echo")
    assert error(answer)[:2] == (429, "rate_limit_error")
    assert answer.headers["x-should-retry"] == "false"
    assert int(answer.headers["retry-after"]) > 0
