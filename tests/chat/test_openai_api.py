"""/v1 as a program sees it that speaks plain HTTP; with OpenAI's own client it is test_openai_sdk.py."""

import json
import time
from typing import Any

import httpx
import pytest

from providers.wire.base import PASSED_ON
from tests.chat.programs import HELLO, URL, WEATHER, ask, chunks, error, generation_of, read_one_by_one
from tests.paused import PausedUpstream
from tests.product import ApiUser
from tests.scenarios import PLAIN, REASONING, TOOL_ARGUMENTS
from tests.upstreams import FakeOpenAI

# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.contract("POST /v1/chat/completions")
def test_a_completion_has_the_shape_of_openai(caller: httpx.Client) -> None:
    """A completion in one piece has OpenAI's shape and nothing else."""
    answer = ask(caller)
    body = answer.json()
    assert body == {
        "id": body["id"],
        "object": "chat.completion",
        "created": body["created"],
        "model": "echo",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
    assert body["id"].startswith("chatcmpl-")
    assert abs(body["created"] - time.time()) < 60
    assert int(answer.headers["x-quota-remaining"]) > 0
    assert answer.headers["x-request-id"]


@pytest.mark.contract("POST /v1/chat/completions")
def test_a_stream_has_the_full_shape(caller: httpx.Client, upstream: PausedUpstream) -> None:
    """Role, content, finish, usage where it was asked for, the terminator; one id, date and model in all of them."""
    words = [f"c{number} " for number in range(12)]
    *events, done = chunks(read_one_by_one(caller, upstream, URL, words, stream_options={"include_usage": True}))
    assert done == "[DONE]"
    head = {name: events[0][name] for name in ("id", "created", "model")}
    for event in events:
        assert event == {
            **head,
            "object": "chat.completion.chunk",
            "choices": event["choices"],
            "usage": event["usage"],
        }
    role, *contents, finish, usage = events
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [list(event["choices"][0]["delta"]) for event in contents] == [["content"]] * len(contents)
    assert [event["choices"][0]["delta"]["content"] for event in contents] == words, "deltas are forwarded as they come"
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
    assert [event["choices"][0]["finish_reason"] for event in contents] == [None] * len(contents)
    assert {event["usage"] for event in events[:-1] if not event["usage"]} == {None}
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 16)


def test_usage_is_sent_only_when_asked_for(program: httpx.Client) -> None:
    """Without `stream_options.include_usage` no chunk has a usage, and none is without a choice."""
    *events, done = chunks(ask(program, "plain", stream=True))
    assert done == "[DONE]"
    assert all("usage" not in event and event["choices"] for event in events)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == PLAIN


def test_reasoning_is_apart(program: httpx.Client) -> None:
    """Thinking text is `reasoning_content`, in deltas and in the whole message."""
    message = ask(program, "reasoning").json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": PLAIN, "reasoning_content": REASONING}
    deltas = [event["choices"][0]["delta"] for event in chunks(ask(program, "reasoning", stream=True))[:-1]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == REASONING
    assert "".join(delta.get("content", "") for delta in deltas) == PLAIN


@pytest.mark.contract("what is passed on")
def test_tool_calls(caller: httpx.Client, api_user: ApiUser) -> None:
    """Calls come back in pieces, unchanged, and as a whole in a whole completion; such a completion costs one."""
    deltas = [event["choices"][0] for event in chunks(ask(caller, "tools", tools=[WEATHER], stream=True))[:-1]]
    pieces = [choice["delta"]["tool_calls"][0] for choice in deltas if "tool_calls" in choice["delta"]]
    assert pieces[0] == {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    assert set(map(tuple, pieces[1:])) == {("index", "function")}
    assert "".join(piece["function"]["arguments"] for piece in pieces) == TOOL_ARGUMENTS
    assert deltas[-1]["finish_reason"] == "tool_calls"
    whole = ask(caller, "tools", tools=[WEATHER]).json()
    assert whole["choices"][0] == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": TOOL_ARGUMENTS}}
            ],
        },
        "logprobs": None,
        "finish_reason": "tool_calls",
    }
    row = api_user.generation(generation_of(whole))
    assert (row["finish_reason"], row["charge"]["amount"]) == ("stop", 1)
    assert api_user.quota()["used_today"] == 2


def test_an_empty_answer(caller: httpx.Client, api_user: ApiUser) -> None:
    """An empty completion is one: with the upstream's finish reason, without an error, and it costs nothing."""
    *events, done = chunks(ask(caller, "empty", stream=True))
    assert (events[-1]["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")
    whole = ask(caller, "empty").json()["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == ("", "stop")
    assert api_user.quota()["used_today"] == 0


def test_the_account_of_it(caller: httpx.Client, api_user: ApiUser) -> None:
    """A completion costs one, is no conversation, and can be read under its own id, by its owner only."""
    before = api_user.client.get("/api/conversations/").json()["results"]
    row = api_user.generation(generation_of(ask(caller).json()))
    assert (row["status"], row["content"], row["finish_reason"]) == ("completed", "Hello", "stop")
    assert (row["conversation"], row["message"]) == (None, None)
    assert row["charge"] == {"amount": 1, "source": "daily", "reason": "stop"}
    assert api_user.client.get("/api/conversations/").json()["results"] == before
    assert api_user.quota()["used_today"] == 1
    stranger = api_user.product.register(f"{api_user.name}x")
    assert stranger.client.get(f"/api/generations/{row['id']}/").status_code == 404


@pytest.mark.contract("GET /v1/models")
def test_models(caller: httpx.Client, api_user: ApiUser) -> None:
    """The models are those of the page; others are 404."""
    listed = caller.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == [m["slug"] for m in api_user.client.get("/api/models/").json()]
    echo, demo = (next(model for model in listed["data"] if model["id"] == slug) for slug in ("echo", "demo"))
    assert echo == {
        "id": "echo",
        "object": "model",
        "created": echo["created"],
        "owned_by": "system",
        "type": "model",
        "display_name": "echo",
        "created_at": "2023-11-14T22:13:20Z",
        "context_length": echo["context_length"],
        "capabilities": ["images", *PASSED_ON],
    }
    assert echo["context_length"] > 1000
    assert demo["capabilities"] == []
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (
        False,
        listed["data"][0]["id"],
        listed["data"][-1]["id"],
    )
    assert caller.get("/v1/models/echo").json() == next(m for m in listed["data"] if m["id"] == "echo")
    for path in ("nope", "org%2Fm:paid", "org/m:paid"):
        assert error(caller.get(f"/v1/models/{path}")) == (404, "invalid_request_error", "model_not_found", "model")


@pytest.mark.contract("GET /v1/models/{model_id}")
def test_a_model_with_a_slash(program: httpx.Client) -> None:
    """A model may be called as its vendor calls it, however the slash is written."""
    for path in ("org/m:free", "org%2Fm:free"):
        assert program.get(f"/v1/models/{path}").json()["id"] == "org/m:free"
    assert ask(program, "org/m:free").json()["model"] == "org/m:free"


# --- what may be asked -----------------------------------------------------------------------------------------------


def test_messages_of_all_kinds(program: httpx.Client, upstream: FakeOpenAI) -> None:
    """Text parts are text, `developer` is `system`, names and calls go along; nothing is trimmed or reordered."""
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "now?"}],
            "name": "al",
        },
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm", "audio": None},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Sun.", "reasoning_content": "not sent back"},
        {"role": "user", "content": "Thanks"},
    ]
    assert ask(program, "echo", messages, tools=[WEATHER]).json()["choices"][0]["message"]["content"] == "Thanks"
    assert upstream.requests[-1].body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "What now?", "name": "al"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Sun."},
        {"role": "user", "content": "Thanks"},
    ]


@pytest.mark.contract("what is passed on")
def test_what_is_passed_on(program: httpx.Client, upstream: FakeOpenAI) -> None:
    """The fields of the contract and image parts reach an OpenAI-compatible upstream as they are."""
    passed = {
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "stop": ["END", "\n\n"],
        "seed": 42,
        "top_p": 0.5,
        "presence_penalty": -1.5,
        "frequency_penalty": 0,
        "parallel_tool_calls": False,
        "reasoning_effort": "high",
        "verbosity": "low",
        "logit_bias": {"50256": -100},
        "top_k": 40,
    }
    picture = {"url": "data:image/png;base64,AAAA", "detail": "low"}
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": picture}]
    # Further fields of an image would reach the model unscreened.
    given = [content[0], {"type": "image_url", "image_url": {**picture, "caption": "a text"}}]
    ask(program, "plain", [{"role": "user", "content": given}], **passed, temperature=0.1, max_completion_tokens=99)
    sent = upstream.requests[-1].body
    assert {name: sent[name] for name in passed} == passed
    assert sent["messages"] == [{"role": "user", "content": content}]
    assert (sent["temperature"], sent["max_tokens"]) == (0.1, 99)


def test_unknown_fields_are_ignored(program: httpx.Client, upstream: FakeOpenAI) -> None:
    """An unknown field is accepted and not forwarded; null is nothing."""
    answer = ask(program, "plain", user="u1", store=True, metadata={"a": "b"}, n=1, stop=None)
    assert answer.status_code == 200
    assert set(upstream.requests[-1].body) == {"model", "messages", "stream", "stream_options"}


def test_any_content_type(program: httpx.Client) -> None:
    """A body is JSON whatever it calls itself: `curl -d` calls it a form."""
    body = json.dumps({"model": "echo", "messages": HELLO})
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        assert program.post(URL, content=body, headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"n": 2}, "n"),
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        ({"messages": [*HELLO, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"top_p": 2}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"stop": [1]}, "stop"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"function": {}}]}, "tools"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"top_k": "many"}, "top_k"),
        ({"functions": [{}]}, "functions[0].name"),
        ({"functions": [{"name": "f"}], "tools": [{"type": "function", "function": {"name": "f"}}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
    ],
)
def test_wrong_fields_are_named(program: httpx.Client, wrong: dict[str, Any], param: str) -> None:
    """A field that is wrong is answered with 400 and its name."""
    answer = program.post(URL, json={"model": "echo", "messages": HELLO, **wrong})
    assert error(answer) == (400, "invalid_request_error", None, param)


def test_bodies_that_are_no_request(program: httpx.Client) -> None:
    """No JSON, another value than an object, and nesting without end are refused like anything else."""
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    assert error(program.post(URL, content=b"{"))[0] == 400
    assert error(program.post(URL, content=b"[1]"))[0] == 400
    assert error(ask(program, tools=[{"type": "function", "function": deep}])) == (
        400,
        "invalid_request_error",
        None,
        "tools",
    )


@pytest.mark.contract("setting: MAX_BODY_MIB")
def test_prompts_that_are_too_long(program: httpx.Client) -> None:
    """Only MAX_BODY_MIB and the model limit the length of a message, not MAX_PROMPT_CHARS."""
    answer = ask(program, messages=[{"role": "user", "content": "x" * 20 * 2**20}])
    assert error(answer)[:3] == (413, "invalid_request_error", "context_length_exceeded")
    assert "20 MiB" in answer.json()["error"]["message"]
    assert "MAX_BODY_MIB" in answer.json()["error"]["message"]
    assert error(ask(program, "short-context", [*HELLO, *HELLO]))[:3] == (
        400,
        "invalid_request_error",
        "context_length_exceeded",
    )
    long = ask(program, "plain", messages=[{"role": "user", "content": "x" * 2 * 2**20}])
    assert long.status_code == 200
