"""/v1 with the clients that programs are written with: OpenAI's and Anthropic's in Node, Vercel's AI SDK, LangChain.

OpenAI's client in Python is in tests/chat (`test_openai_sdk`, `test_responses_sdk`), Anthropic's in `test_anthropic`.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.product import MODELS, ApiUser, Product, connected
from tests.readers import wait_until
from tests.scenarios import PLAIN, REASONING
from tests.sdk.conftest import READ_SECONDS, Program, Running
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
# Seconds of silence that each client waits for, with keep-alives sooner than its time-out. `make soak` takes the
# product's own pace.
SILENCE = 40 if SOAK else 10
PACE = {} if SOAK else {"STREAM_PING_SECONDS": "1", "IMPATIENCE": "chat.openai.calls.HOLD_SECONDS=0.5"}

GIVEN = {"city": "杭州", "days": 2}


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that sends keep-alives often, with a model that is silent first."""
    offered = connected(upstream, silent=f"silent:{SILENCE}")
    with Product(tmp_path_factory.mktemp("programs"), **offered, **PACE) as running:
        yield running


def test_text(node: Program, langchain: Program) -> None:
    """Whole completions come with their usage."""
    assert node("openai.text") == ["Hello", "stop", 11, True, "Hello", "completed"]
    assert node("anthropic.text") == ["Hello", "end_turn", 2, True]
    assert node("vercel.text") == [["Hello", "stop", 2]] * 4
    assert langchain("text") == [["Hello", 11]] * 2


def test_streams(node: Program, langchain: Program) -> None:
    """The clients put streams together, reasoning included."""
    assert node("openai.stream") == [REASONING, PLAIN, 16, PLAIN]
    assert node("anthropic.stream") == [REASONING, PLAIN, PLAIN, 7]
    assert node("vercel.stream") == [
        [None, PLAIN, "stop"] if way == 1 else [REASONING, PLAIN, "stop"] for way in range(4)
    ]
    assert langchain("stream") == [[PLAIN, 16]] * 2


def test_rounds_with_tools(node: Program, langchain: Program) -> None:
    """The model calls a tool, gets its result, and answers."""
    assert node("openai.tools") == [GIVEN, "sunny, 24 °C", "rainy"]
    assert node("anthropic.tools") == [GIVEN, "tool_use", "sunny, 24 °C"]
    assert node("vercel.tools") == [[[GIVEN, GIVEN], "sunny", "sunny"]] * 4
    assert langchain("tools") == [[GIVEN, "sunny in 杭州 for 2 days"]] * 2


def test_images(node: Program, langchain: Program, upstream: FakeOpenAI) -> None:
    """Images reach the upstream."""
    before = len(upstream.requests)
    assert node("openai.image") == "stop"
    assert node("anthropic.image") == "end_turn"
    assert node("vercel.image") == ["stop"] * 4
    assert langchain("image") == [True] * 2
    contents = [request.body["messages"][0]["content"] for request in upstream.requests[before:]]
    assert [content[1]["image_url"]["url"] for content in contents] == ["data:image/png;base64,AAAA"] * 8


def test_cancelling(node: Program, langchain: Program, upstream: FakeOpenAI) -> None:
    """A program that leaves has the upstream closed, in the middle and before the first event."""
    before = len(upstream.requests)
    assert node("openai.cancel")[0] == "APIUserAbortError"
    assert node("anthropic.cancel")[0] == "APIUserAbortError"
    assert {name for name, _status in node("vercel.cancel")} <= {"DOMException", "AbortError", "TimeoutError"}
    assert langchain("cancel") == ["APITimeoutError"] * 2
    left = upstream.requests[before:]
    wait_until(lambda: all(request.closed_by_peer_at for request in left))
    calls = Counter(request.body["model"] for request in left)
    # Programs that wait for their time-out may leave before a slow machine has asked the upstream.
    assert (calls[MODELS["paced"]], 0 < calls[MODELS["hang"]] <= 8, len(calls)) == (8, True, 2)


def test_error_classes(node: Program, langchain: Program) -> None:
    """Refusals and failures raise the clients' own classes, with our codes."""
    assert node("openai.errors") == [
        ["AuthenticationError", 401, "invalid_api_key", None],
        ["NotFoundError", 404, "model_not_found", "model"],
        ["BadRequestError", 400, None, "n"],
        ["APIError", None, "server_error"],
    ]
    assert node("anthropic.errors") == [
        ["AuthenticationError", 401, "authentication_error"],
        ["NotFoundError", 404, "not_found_error"],
        ["BadRequestError", 400, "invalid_request_error"],
        ["APIError", None, "api_error"],
    ]
    refused, unknown, wrong, parts = node("vercel.errors")
    assert [refused, unknown] == [[["APICallError", status, False]] * 4 for status in (401, 404)]
    assert wrong == [["APICallError", 400, False]] * 4
    assert parts == [["error"]] * 4
    assert langchain("errors") == [
        ["AuthenticationError", "invalid_api_key"],
        ["NotFoundError", "model_not_found"],
        ["BadRequestError", None],
        ["APIError", "server_error"],
    ]


def test_retries(node: Program, langchain: Program, upstream: FakeOpenAI, api_user: ApiUser) -> None:
    """Clients repeat what failed at the upstream; a repeated call with a key is one call and one charge."""
    before = len(upstream.requests)
    failed, calls, same_id, same_text = node("openai.retries")
    assert (failed[:2], calls) == (["InternalServerError", 502], 3)
    assert (same_id, same_text) == (True, True)
    assert [request.scenario for request in upstream.requests[before:]].count("plain") == 1
    assert api_user.quota()["used_today"] == 1
    failed, calls = node("anthropic.retries")
    assert (failed[:2], calls) == (["InternalServerError", 502], 3)
    assert node("vercel.retries") == [["RetryError", None, "maxRetriesExceeded"], 2]
    assert langchain("retries") == ["InternalServerError", "server_error"]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_silent_upstream(
    node_program: Running, langchain_program: Running, anthropic_program: Running, key: str, product: Product
) -> None:
    """Every client waits for an upstream that says nothing for long, and gets the text."""
    calls = {
        "openai.silent": (node_program, [PLAIN] * 3),
        "anthropic.silent": (node_program, [PLAIN] * 2),
        "vercel.silent": (node_program, [PLAIN] * 4),
        "langchain": (langchain_program, PLAIN),
        "anthropic": (anthropic_program, PLAIN),
    }
    began = time.monotonic()
    for name, (program, _wanted) in calls.items():
        program.send(key, name if "." in name else "silent")
    http = httpx.Client(trust_env=False, verify=False, timeout=READ_SECONDS)
    with openai.OpenAI(base_url=f"{product.url}/v1", api_key=key, http_client=http, max_retries=0) as client:
        hello: Any = [{"role": "user", "content": "Hello"}]
        chunks = client.chat.completions.create(model="silent", messages=hello, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == PLAIN
    assert time.monotonic() - began >= SILENCE
    wanted = {name: value for name, (program, value) in calls.items() if program is node_program}
    assert dict(node_program.receive() for _ in wanted) == wanted
    for program in (langchain_program, anthropic_program):
        assert program.receive() == ("silent", PLAIN)
