"""/v1: what is refused, how it is said, and what browsers may see of it."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.chat.programs import HELLO, URL, WEATHER, ask, chunks, error, generation_of
from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

# --- what an upstream cannot take ------------------------------------------------------------------------------------


@pytest.mark.contract("what an upstream cannot take")
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
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"verbosity": "low"}, "verbosity"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"top_k": 3}, "top_k"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:,"}]}]}, "messages"),
    ],
)
def test_what_a_model_cannot_take_is_named(program: httpx.Client, body: dict[str, Any], param: str) -> None:
    """A model whose upstream cannot take a field answers 400 with its name."""
    answer = program.post(URL, json={"model": "demo", "messages": HELLO, **body})
    assert error(answer) == (400, "invalid_request_error", "unsupported_parameter", param)


def test_what_changes_nothing_is_no_hindrance(program: httpx.Client) -> None:
    """Clients that always send the defaults can ask every model."""
    defaults = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "response_format": {"type": "text"}}
    assert ask(program, "demo", **defaults, tools=[], tool_choice="auto", max_tokens=3).status_code == 200


def test_what_the_upstream_refuses_is_named(caller: httpx.Client, api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A field that the upstream itself refuses is not dropped and asked again without: the caller hears of it."""
    prompt = secrets.token_hex(8)
    answer = ask(caller, "refuses-seed", [{"role": "user", "content": prompt}], seed=7, stream=True)
    assert error(answer) == (400, "invalid_request_error", None, "seed")
    assert "sk-" not in answer.text
    assert len(upstream.asked(prompt)) == 1
    assert api_user.quota()["used_today"] == 0


def test_tools_that_no_endpoint_takes_are_named(caller: httpx.Client, upstream: FakeOpenAI) -> None:
    """A router's 404 for requests with tools names the field after one call, and takes the model from no one else."""
    prompt = secrets.token_hex(8)
    answer = ask(caller, "refuses-tools", [{"role": "user", "content": prompt}], tools=[WEATHER])
    assert error(answer) == (400, "invalid_request_error", None, "tools")
    assert len(upstream.asked(prompt)) == 1


# --- refusals --------------------------------------------------------------------------------------------------------


def test_bad_tokens(product: Product, api_user: ApiUser) -> None:
    """Without a good bearer it is 401 `invalid_api_key`; a session cookie and a ticket prove nothing here."""
    ticket = api_user.client.post("/api/tickets/", json={"path": "/v1/models"}).json()["ticket"]
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


def test_a_jwt_will_do(api_user: ApiUser) -> None:
    """An access token is as good as an API token."""
    assert ask(api_user.client).status_code == 200


@pytest.mark.parametrize("path", ["", "/", "/responses/1", "/completions/", "/embeddings/1", "/a/b/c", "/a/b/c/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_routes(program: httpx.Client, method: str, path: str) -> None:
    """Everything else below /v1 is 404 in JSON, never a page and never a redirect."""
    assert error(program.request(method, f"/v1{path}")) == (404, "invalid_request_error", "unknown_url", None)


def test_wrong_methods(program: httpx.Client) -> None:
    """A wrong method is 405 with those that are right."""
    answer = program.get(URL)
    assert error(answer)[0] == 405
    assert answer.headers["allow"] == "POST"


def test_the_wrong_host(program: httpx.Client) -> None:
    """Even what is refused before any view has OpenAI's envelope."""
    assert error(program.get("/v1/models", headers={"Host": "evil.example"}))[0] == 400


def test_unknown_model(program: httpx.Client) -> None:
    """A model that does not exist is 404 `model_not_found`."""
    assert error(ask(program, "nope")) == (404, "invalid_request_error", "model_not_found", "model")


def test_an_exhausted_quota(caller: httpx.Client) -> None:
    """Ten completions a day are ten; the next is 429 `insufficient_quota`, with the header that forbids a retry."""
    assert [ask(caller, "gpt-4-echo").status_code for _ in range(10)] == [200] * 10
    for stream in (False, True):
        answer = ask(caller, "gpt-4-echo", stream=stream)
        assert error(answer) == (429, "insufficient_quota", "insufficient_quota", None)
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["retry-after"]) > 0


def test_an_upstream_that_refuses(caller: httpx.Client, api_user: ApiUser) -> None:
    """The upstream's refusals become 502, before anything was sent; its own words and key stay here."""
    for stream in (False, True):
        answer = ask(caller, "http-400", stream=stream)
        assert error(answer) == (502, "server_error", "server_error", None)
        assert "sk-" not in answer.text
    assert api_user.quota()["used_today"] == 0


def test_a_context_that_is_too_long(program: httpx.Client, upstream: FakeOpenAI) -> None:
    """A prompt too long for the upstream is refused: the product drops no turn of a program's prompt silently."""
    prompt = secrets.token_hex(8)
    turns = [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": prompt}]
    for stream in (False, True):
        refused = error(ask(program, "short-context", turns, stream=stream))
        assert refused[:3] == (400, "invalid_request_error", "context_length_exceeded")
    assert [len(request.body["messages"]) for request in upstream.asked(prompt)] == [3, 3]


def test_a_prompt_that_the_vendor_blocks(caller: httpx.Client, api_user: ApiUser) -> None:
    """The vendor's moderation of the prompt is 400 `content_policy_violation`, not to be tried again, and free."""
    answer = ask(caller, "blocked", stream=True)
    assert error(answer)[:3] == (400, "invalid_request_error", "content_policy_violation")
    assert answer.headers["x-should-retry"] == "false"
    assert api_user.quota()["used_today"] == 0


def test_a_failure_in_the_middle(caller: httpx.Client, api_user: ApiUser) -> None:
    """A failure after the first text ends a stream with an error and no `[DONE]`; a whole completion then fails."""
    *events, last = chunks(ask(caller, "error", stream=True))
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "one two three "
    assert events[-1]["choices"][0]["finish_reason"] is None
    assert last["error"] == {"message": last["error"]["message"], "type": "server_error", "param": None} | {
        "code": "server_error"
    }
    assert error(ask(caller, "error"))[:3] == (502, "server_error", "server_error")
    row = api_user.generation(generation_of(events[0]))
    assert (row["status"], row["content"], row["charge"]["amount"]) == ("failed", "one two three ", 0)
    assert api_user.quota()["used_today"] == 0


@pytest.fixture(scope="module")
def strict(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that lets the page ask one at a time, and waits for nothing when it is stopped."""
    variables = {**connected(upstream), "MAX_ACTIVE_GENERATIONS": "1", "DRAIN_SECONDS": "0"}
    with Product(tmp_path_factory.mktemp("strict"), **variables) as running:
        yield running


def test_active_answers_are_not_counted(strict: Product) -> None:
    """MAX_ACTIVE_GENERATIONS is for the page; programs may ask more at once, and do not keep the page from asking."""
    api_user = strict.register("alice")
    body = {"model": "endless", "messages": HELLO, "stream": True}
    with (
        api_user.client.stream("POST", URL, json=body) as first,
        api_user.client.stream("POST", URL, json=body) as second,
    ):
        assert (first.status_code, second.status_code) == (200, 200)
        assert ask(api_user.client).status_code == 200
        api_user.ask("Hello", "endless")
        refused = api_user.client.post("/api/chat/", json={"model": "echo", "prompt": "x"})
        assert refused.json()["error"]["code"] == "too_many_requests"


def test_a_process_that_ends(strict: Product, upstream: FakeOpenAI) -> None:
    """A request that a stopping process cannot finish ends with an error, in the stream or as 503; it takes no more."""
    api_user = strict.register("bob")
    with ThreadPoolExecutor() as threads:
        whole = threads.submit(ask, strict.client(api_user.access), "endless", [{"role": "user", "content": "Whole"}])
        wait_until(lambda: bool(upstream.asked("Whole")))
        with api_user.client.stream(
            "POST", URL, json={"model": "endless", "messages": HELLO, "stream": True}
        ) as response:
            pieces = response.iter_text()
            assert "chatcmpl" in next(pieces)
            strict.stop_soon()
            text = "".join(pieces)
        assert error(whole.result())[:3] == (503, "server_error", "server_error")
    assert json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == "server_error"
    assert "[DONE]" not in text
    assert "retry:" not in text
    assert strict.stop() == 0


# --- browsers --------------------------------------------------------------------------------------------------------


@pytest.mark.contract("CORS of /v1")
def test_preflight(product: Product) -> None:
    """Pages of any origin may send a token, JSON and whatever headers their client has, and nothing with cookies."""
    asked = "authorization,content-type,x-stainless-os,x-title,HTTP-Referer"
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    answer = product.client().options(URL, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == asked
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.contract("CORS of /v1")
def test_answers_to_browsers(product: Product, program: httpx.Client) -> None:
    """Answers and refusals can be read there, with the headers that tell a client what to do."""
    origin = {"Origin": "https://app.example"}
    for answer in (program.get("/v1/models", headers=origin), product.client().get("/v1/nope", headers=origin)):
        assert answer.headers["access-control-allow-origin"] == "*"
        shown = answer.headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "retry-after"} <= set(shown)
        assert "access-control-allow-credentials" not in answer.headers
