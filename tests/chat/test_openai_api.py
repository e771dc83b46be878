"""/v1 as a program sees it that speaks HTTP and knows OpenAI's documents; with OpenAI's own client: test_openai_sdk.py."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.product import Person, Product, connected
from tests.scenarios import PLAIN, REASONING, TOOL_ARGUMENTS
from tests.upstreams import FakeOpenAI

URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
WITHIN_SECONDS = 0.05
TRIES = 5


@pytest.fixture
def caller(person: Person) -> Iterator[httpx.Client]:
    """A program with an API token."""
    token = person.client.post("/api/tokens/", json={"name": "program"}).json()["token"]
    yield person.product.client(token)


def ask(caller: httpx.Client, model: str = "echo", messages: Any = HELLO, **body: Any) -> httpx.Response:
    return caller.post(URL, json={"model": model, "messages": messages, **body})


def chunks(response: httpx.Response) -> list[Any]:
    """Return the data of a stream, `[DONE]` as it is; every line must be one that OpenAI's clients understand."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(re.match(r"data: |: ", block) for block in blocks)
    data = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
    return [text if text == "[DONE]" else json.loads(text) for text in data]


def error(response: httpx.Response) -> tuple[int, str, str | None, str | None]:
    """Return status, type, code and param of a refusal; its envelope must be OpenAI's and it must bear a number."""
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert response.headers["x-request-id"]
    return response.status_code, body["error"]["type"], body["error"]["code"], body["error"]["param"]


def generation_of(answer: dict[str, Any]) -> str:
    return str(answer["id"]).removeprefix("chatcmpl-")


# --- what comes back -------------------------------------------------------------------------------------------------


def test_it_works(caller: httpx.Client) -> None:
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


def test_a_stream_has_the_full_shape(caller: httpx.Client) -> None:
    """Role, content, finish, usage where it was asked for, the terminator; one id, date and model in all of them."""
    *events, done = chunks(ask(caller, "quick", stream=True, stream_options={"include_usage": True}))
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
    assert "".join(event["choices"][0]["delta"]["content"] for event in contents) == "".join(f"{n} " for n in range(20))
    assert len(contents) > 10, "deltas are forwarded as they come"
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
    assert [event["choices"][0]["finish_reason"] for event in contents] == [None] * len(contents)
    assert {event["usage"] for event in events[:-1] if not event["usage"]} == {None}
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 29)


def test_usage_is_sent_only_when_asked_for(caller: httpx.Client) -> None:
    """Without `stream_options.include_usage` no chunk has a usage, and none is without a choice."""
    *events, done = chunks(ask(caller, "plain", stream=True))
    assert done == "[DONE]"
    assert all("usage" not in event and event["choices"] for event in events)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == PLAIN


def test_reasoning_is_apart(caller: httpx.Client) -> None:
    """Thinking text is `reasoning_content`, in deltas and in the whole message."""
    message = ask(caller, "reasoning").json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": PLAIN, "reasoning_content": REASONING}
    deltas = [event["choices"][0]["delta"] for event in chunks(ask(caller, "reasoning", stream=True))[:-1]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == REASONING
    assert "".join(delta.get("content", "") for delta in deltas) == PLAIN


def test_an_empty_answer(caller: httpx.Client, person: Person) -> None:
    """The upstream's empty success is its failure, before anything was sent, and costs nothing."""
    assert error(ask(caller, "empty", stream=True))[:3] == (502, "server_error", "server_error")
    assert person.quota()["used_today"] == 0


def test_the_account_of_it(caller: httpx.Client, person: Person) -> None:
    """An answer costs one, is no conversation, and can be read under its own id, by its owner only."""
    before = person.client.get("/api/conversations/").json()["results"]
    row = person.generation(generation_of(ask(caller).json()))
    assert (row["status"], row["content"], row["finish_reason"]) == ("completed", "Hello", "stop")
    assert (row["conversation"], row["message"]) == (None, None)
    assert row["charge"] == {"amount": 1, "source": "daily", "reason": "stop"}
    assert person.client.get("/api/conversations/").json()["results"] == before
    assert person.quota()["used_today"] == 1
    stranger = person.product.register(f"{person.name}x")
    assert stranger.client.get(f"/api/generations/{row['id']}/").status_code == 404


def test_models(caller: httpx.Client, person: Person) -> None:
    """The models are those of the page; ids may hold a slash, however it is written."""
    listed = caller.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == [m["slug"] for m in person.client.get("/api/models/").json()]
    assert set(map(tuple, listed["data"])) == {("id", "object", "created", "owned_by")}
    assert caller.get("/v1/models/echo").json() == next(m for m in listed["data"] if m["id"] == "echo")
    for path in ("nope", "org%2Fm:free", "org/m:free"):
        assert error(caller.get(f"/v1/models/{path}")) == (404, "invalid_request_error", "model_not_found", "model")


def test_a_model_with_a_slash(upstream: FakeOpenAI, tmp_path: Path) -> None:
    """A model may be called as its vendor calls it."""
    with Product(tmp_path, **{**connected(upstream), "OPENAI_MODELS": "org/m:free=echo"}) as product:
        caller = product.client(product.register("alice").access)
        assert caller.get("/v1/models/org%2Fm:free").json()["id"] == "org/m:free"
        assert ask(caller, "org/m:free").json()["model"] == "org/m:free"


# --- what may be asked -----------------------------------------------------------------------------------------------


def test_messages_of_all_kinds(caller: httpx.Client, upstream: FakeOpenAI) -> None:
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
    assert ask(caller, "echo", messages, tools=[WEATHER]).json()["choices"][0]["message"]["content"] == "Thanks"
    assert upstream.requests[-1].body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "What now?", "name": "al"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Sun."},
        {"role": "user", "content": "Thanks"},
    ]


def test_what_is_passed_on(caller: httpx.Client, upstream: FakeOpenAI) -> None:
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
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    content = [{"type": "text", "text": "What is this?"}, image]
    ask(caller, "plain", [{"role": "user", "content": content}], **passed, temperature=0.1, max_completion_tokens=99)
    sent = upstream.requests[-1].body
    assert {name: sent[name] for name in passed} == passed
    assert sent["messages"] == [{"role": "user", "content": content}]
    assert (sent["temperature"], sent["max_tokens"]) == (0.1, 99)


def test_unknown_fields_are_ignored(caller: httpx.Client, upstream: FakeOpenAI) -> None:
    """What we do not know is accepted and sent nowhere; null is nothing."""
    answer = ask(caller, "plain", user="u1", store=True, logit_bias={"1": 2}, metadata={"a": "b"}, n=1, stop=None)
    assert answer.status_code == 200
    assert set(upstream.requests[-1].body) == {"model", "messages", "stream", "stream_options"}


def test_any_content_type(caller: httpx.Client) -> None:
    """A body is JSON whatever it calls itself: `curl -d` calls it a form."""
    body = json.dumps({"model": "echo", "messages": HELLO})
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        assert caller.post(URL, content=body, headers={"Content-Type": kind}).status_code == 200


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
    ],
)
def test_wrong_fields_are_named(caller: httpx.Client, wrong: dict[str, Any], param: str) -> None:
    """A field that is wrong is answered with 400 and its name."""
    answer = caller.post(URL, json={"model": "echo", "messages": HELLO, **wrong})
    assert error(answer) == (400, "invalid_request_error", None, param)


def test_bodies_that_are_no_request(caller: httpx.Client) -> None:
    """No JSON, another value than an object, and nesting without end are refused like anything else."""
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    assert error(caller.post(URL, content=b"{"))[0] == 400
    assert error(caller.post(URL, content=b"[1]"))[0] == 400
    assert error(ask(caller, tools=[{"type": "function", "function": deep}])) == (
        400,
        "invalid_request_error",
        None,
        "tools",
    )


def test_prompts_that_are_too_long(caller: httpx.Client) -> None:
    """A message over MAX_PROMPT_CHARS, and a body over 1 MiB, is a context that is too long."""
    for length in (33_000, 2**20):
        answer = ask(caller, messages=[{"role": "user", "content": "x" * length}])
        assert error(answer)[:3] == (400, "invalid_request_error", "context_length_exceeded")
    earlier = {"role": "user", "content": "x" * 33_000}
    assert error(ask(caller, messages=[earlier, *HELLO]))[2] == "context_length_exceeded"


# --- what an upstream cannot take ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [WEATHER]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"stop": "END"}, "stop"),
        ({"seed": 1}, "seed"),
        ({"top_p": 0.5}, "top_p"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:,"}]}]}, "messages"),
    ],
)
def test_what_a_model_cannot_take_is_named(
    caller: httpx.Client, person: Person, body: dict[str, Any], param: str
) -> None:
    """A model whose upstream cannot take a field answers 400 with its name, and nothing is charged."""
    answer = caller.post(URL, json={"model": "demo", "messages": HELLO, **body})
    assert error(answer) == (400, "invalid_request_error", "unsupported_parameter", param)
    assert person.quota()["used_today"] == 0


def test_what_changes_nothing_is_no_hindrance(caller: httpx.Client) -> None:
    """Clients that always send the defaults can ask every model."""
    defaults = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "response_format": {"type": "text"}}
    assert ask(caller, "demo", **defaults, tools=[], tool_choice="auto", max_tokens=3).status_code == 200


def test_what_the_upstream_refuses_is_named(caller: httpx.Client, person: Person, upstream: FakeOpenAI) -> None:
    """A field that the upstream itself refuses is not dropped and asked again without: the caller hears of it."""
    before = len(upstream.requests)
    answer = ask(caller, "refuses-seed", seed=7, stream=True)
    assert error(answer) == (400, "invalid_request_error", None, "seed")
    assert "sk-" not in answer.text
    assert len(upstream.requests) == before + 1
    assert person.quota()["used_today"] == 0


def test_tool_calls(caller: httpx.Client, person: Person) -> None:
    """Calls come back in pieces, unchanged, and as a whole in a whole answer; such an answer is not empty: it costs one."""
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
    row = person.generation(generation_of(whole))
    assert (row["finish_reason"], row["charge"]["amount"]) == ("stop", 1)
    assert person.quota()["used_today"] == 2


# --- refusals --------------------------------------------------------------------------------------------------------


def test_bad_tokens(product: Product, person: Person) -> None:
    """Without a good bearer it is 401 `invalid_api_key`; a session cookie and a ticket prove nothing here."""
    ticket = person.client.post("/api/tickets/", json={"path": "/v1/models"}).json()["ticket"]
    for headers in (
        {},
        {"Authorization": "Bearer sk-wrong"},
        {"Authorization": "Basic eDp5"},
        {"Cookie": "sessionid=x"},
    ):
        for answer in (
            product.client().get("/v1/models", headers=headers),
            product.client().get(f"/v1/models?ticket={ticket}", headers=headers),
            product.client().post(URL, json={"model": "echo", "messages": HELLO}, headers=headers),
        ):
            assert error(answer) == (401, "invalid_request_error", "invalid_api_key", None)


def test_a_jwt_will_do(person: Person) -> None:
    """An access token is as good as an API token."""
    assert ask(person.client).status_code == 200


@pytest.mark.parametrize("path", ["", "/", "/responses", "/chat/completions/", "/embeddings", "/models/", "/a/b/c"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_routes(caller: httpx.Client, method: str, path: str) -> None:
    """Everything else below /v1 is 404 in JSON, never a page and never a redirect."""
    assert error(caller.request(method, f"/v1{path}")) == (404, "invalid_request_error", "unknown_url", None)


def test_wrong_methods(caller: httpx.Client) -> None:
    """A wrong method is 405 with those that are right."""
    answer = caller.get(URL)
    assert error(answer)[0] == 405
    assert answer.headers["allow"] == "POST"


def test_the_wrong_host(caller: httpx.Client) -> None:
    """Even what is refused before any view has OpenAI's envelope."""
    assert error(caller.get("/v1/models", headers={"Host": "evil.example"}))[0] == 400


def test_unknown_model(caller: httpx.Client) -> None:
    """A model that does not exist is 404 `model_not_found`."""
    assert error(ask(caller, "nope")) == (404, "invalid_request_error", "model_not_found", "model")


def test_an_exhausted_quota(caller: httpx.Client) -> None:
    """Ten answers a day are ten; the next is 429 `insufficient_quota`, and clients are told not to try again."""
    assert [ask(caller, "gpt-4-echo").status_code for _ in range(10)] == [200] * 10
    for stream in (False, True):
        answer = ask(caller, "gpt-4-echo", stream=stream)
        assert error(answer) == (429, "insufficient_quota", "insufficient_quota", None)
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["retry-after"]) > 0


def test_an_upstream_that_refuses(caller: httpx.Client, person: Person) -> None:
    """The upstream's refusals become 502, before anything was sent; its own words and key stay here."""
    for stream in (False, True):
        answer = ask(caller, "http-400", stream=stream)
        assert error(answer) == (502, "server_error", "server_error", None)
        assert "sk-" not in answer.text
    assert person.quota()["used_today"] == 0


def test_a_failure_in_the_middle(caller: httpx.Client, person: Person) -> None:
    """What breaks after the first words ends with an error and without `[DONE]`; a whole answer is then none."""
    *events, last = chunks(ask(caller, "error", stream=True))
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "one two three "
    assert events[-1]["choices"][0]["finish_reason"] is None
    assert last["error"] == {"message": last["error"]["message"], "type": "server_error", "param": None} | {
        "code": "server_error"
    }
    assert error(ask(caller, "error"))[:3] == (502, "server_error", "server_error")
    row = person.generation(generation_of(events[0]))
    assert (row["status"], row["content"], row["charge"]["amount"]) == ("failed", "one two three ", 0)
    assert person.quota()["used_today"] == 0


def test_active_answers_are_not_counted(upstream: FakeOpenAI, tmp_path: Path) -> None:
    """MAX_ACTIVE_GENERATIONS is for the page; programs may ask more at once, and do not keep the page from asking."""
    with Product(tmp_path, **connected(upstream), MAX_ACTIVE_GENERATIONS="1") as product:
        person = product.register("alice")
        with (
            person.client.stream("POST", URL, json={"model": "paced", "messages": HELLO, "stream": True}) as first,
            person.client.stream("POST", URL, json={"model": "paced", "messages": HELLO, "stream": True}) as second,
        ):
            assert (first.status_code, second.status_code) == (200, 200)
            assert ask(person.client).status_code == 200
            person.ask("Hello", "paced")
            refused = person.client.post("/api/chat/", json={"model": "echo", "prompt": "x"})
            assert refused.json()["error"]["code"] == "too_many_requests"


def test_a_process_that_ends(upstream: FakeOpenAI, tmp_path: Path) -> None:
    """What a stopping process cannot finish ends with an error: in the stream, or as 503; nothing is charged."""
    with Product(tmp_path, **connected(upstream), DRAIN_SECONDS="0") as product:
        person = product.register("alice")
        with person.client.stream("POST", URL, json={"model": "paced", "messages": HELLO, "stream": True}) as response:
            pieces = response.iter_text()
            assert "chatcmpl" in next(pieces)
            product.stop_soon()
            text = "".join(pieces)
        assert text.endswith("\n\n")
        assert json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == "server_error"
        assert "[DONE]" not in text
        assert "retry:" not in text
        assert product.stop() == 0


# --- browsers --------------------------------------------------------------------------------------------------------


def test_preflight(product: Product) -> None:
    """Pages of any origin may send a token, JSON and the client's own headers, and nothing with cookies."""
    asked = "authorization,content-type,x-stainless-os,x-stainless-retry-count,x-csrftoken"
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    answer = product.client().options(URL, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == ", ".join(asked.split(",")[:-1])
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers


def test_answers_to_browsers(product: Product, caller: httpx.Client) -> None:
    """Answers and refusals can be read there, with the headers that tell a client what to do."""
    origin = {"Origin": "https://app.example"}
    for answer in (caller.get("/v1/models", headers=origin), product.client().get("/v1/nope", headers=origin)):
        assert answer.headers["access-control-allow-origin"] == "*"
        shown = answer.headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "retry-after"} <= set(shown)
        assert "access-control-allow-credentials" not in answer.headers


# --- leaving ---------------------------------------------------------------------------------------------------------


def closed_after(upstream: FakeOpenAI, left_at: float) -> float:
    """Return how long after the caller's leaving the upstream connection was closed."""
    deadline = time.monotonic() + 10
    while (at := upstream.requests[-1].closed_by_peer_at) is None:
        assert time.monotonic() < deadline, "the upstream was not closed"
        time.sleep(0.001)
    return at - left_at


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["hang", "hang-after-headers"])
def test_leaving_before_the_first_words(person: Person, upstream: FakeOpenAI, model: str, *, stream: bool) -> None:
    """Who leaves before anything was said has the upstream closed within 50 ms, and pays nothing."""
    delays = []
    for _ in range(TRIES):
        body = {"model": model, "messages": HELLO, "stream": stream}
        with pytest.raises(httpx.ReadTimeout):
            person.product.client(person.access).post(URL, json=body, timeout=httpx.Timeout(5, read=0.2))
        delays.append(closed_after(upstream, time.monotonic()))
    assert min(delays) < WITHIN_SECONDS
    deadline = time.monotonic() + 5
    while person.quota()["used_today"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_leaving_in_the_middle(person: Person, upstream: FakeOpenAI) -> None:
    """Who leaves after the first words has the upstream closed within 50 ms, and pays for what was read."""
    delays, generations = [], []
    for _ in range(TRIES):
        body = {"model": "paced", "messages": HELLO, "stream": True}
        with person.client.stream("POST", URL, json=body) as response:
            first = next(response.iter_text())
            generations.append(generation_of(json.loads(first.split("\n\n")[0].removeprefix("data: "))))
            left_at = time.monotonic()
        delays.append(closed_after(upstream, left_at))
    assert min(delays) < WITHIN_SECONDS
    for generation in generations:
        row = person.ended(generation)
        assert (row["status"], row["finish_reason"], row["charge"]["amount"]) == ("completed", "cancelled", 1)


def test_leaving_a_whole_answer_in_the_middle(person: Person, upstream: FakeOpenAI) -> None:
    """Who waits for a whole answer and leaves has the upstream closed within 50 ms."""
    delays = []
    for _ in range(TRIES):
        with pytest.raises(httpx.ReadTimeout):
            person.product.client(person.access).post(
                URL, json={"model": "paced", "messages": HELLO}, timeout=httpx.Timeout(5, read=0.3)
            )
        delays.append(closed_after(upstream, time.monotonic()))
    assert min(delays) < WITHIN_SECONDS


def test_leaving_without_ever_reading(person: Person, upstream: FakeOpenAI) -> None:
    """A caller who does not read holds the upstream up, whose answer is not collected here; leaving closes it too."""
    asked = upstream.requests[-1] if upstream.requests else None
    body = {"model": "flood", "messages": HELLO, "stream": True}
    with person.client.stream("POST", URL, json=body) as response:
        assert response.status_code == 200
        time.sleep(1.5)  # the fake upstream would send it all in less
        request = upstream.requests[-1]
        assert request is not asked
        assert request.ended_at is None
        left_at = time.monotonic()
    assert closed_after(upstream, left_at) < 2
