"""/v1 with an Idempotency-Key: one upstream call, one charge and the same bytes, in every shape."""

import asyncio
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests import servers
from tests.chat.openai_client import leave
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected, post_many
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

CHAT, RESPONSES, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"
MODELS = {
    "slow": "paced:10:50",
    "embed": "embed",
    "refuses": "http_400:content_filter",
}
# The first delta of streams that wait after it.
FIRST = '"content":"Begin "'


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with slow and failing models."""
    with Product(tmp_path_factory.mktemp("keys"), **connected(upstream, **MODELS)) as running:
        yield running


@pytest.fixture
def api_user(product: Product) -> ApiUser:
    return product.register(f"k{secrets.token_hex(5)}")


def body_of(path: str, prompt: str, model: str = "quick", *, stream: bool = False) -> dict[str, Any]:
    """Return a body in the shape of a path."""
    if path == EMBEDDINGS:
        return {"model": "embed", "input": prompt}
    text = {"input": prompt} if path == RESPONSES else {"messages": [{"role": "user", "content": prompt}]}
    return {"model": model, **text, **({"max_tokens": 100} if path == MESSAGES else {}), "stream": stream}


def post(api_user: ApiUser, path: str, body: dict[str, Any], key: str = "k", **options: Any) -> httpx.Response:
    client = api_user.product.client(api_user.access)
    return client.post(path, json=body, headers={"Idempotency-Key": key}, **options)


def asked(upstream: FakeOpenAI, prompt: str) -> int:
    """Return how many upstream calls had this prompt."""
    embedded = [request for request in upstream.requests if request.body.get("input") in (prompt, [prompt])]
    return len(upstream.asked(prompt)) + len(embedded)


def without_comments(response: httpx.Response) -> str:
    return "".join(line for line in response.text.splitlines(keepends=True) if not line.startswith(":"))


SHAPES = [(path, stream) for path in (CHAT, RESPONSES, MESSAGES) for stream in (False, True)]


@pytest.mark.contract("a retry on /v1 with the same key", "refusal: conflict")
@pytest.mark.parametrize(("path", "stream"), [*SHAPES, (EMBEDDINGS, False)])
def test_a_retry_gets_the_same_bytes(api_user: ApiUser, upstream: FakeOpenAI, path: str, *, stream: bool) -> None:
    """A repeated call gets the same bytes, with one upstream call and one charge; another body is a conflict."""
    prompt = secrets.token_hex(8)
    body = body_of(path, prompt, stream=stream)
    first, *others = [post(api_user, path, body) for _ in range(3)]
    assert first.status_code == 200, first.text
    for other in others:
        assert (other.status_code, other.headers["content-type"]) == (200, first.headers["content-type"])
        assert without_comments(other) == without_comments(first)
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1
    conflict = post(api_user, path, body_of(path, prompt + "x", stream=stream))
    assert (conflict.status_code, conflict.headers["x-should-retry"]) == (409, "false")
    error = conflict.json()["error"]
    assert "Idempotency-Key" in error["message"]
    assert error["type"] == "invalid_request_error"
    assert path == MESSAGES or error["code"] == "conflict"
    assert asked(upstream, prompt + "x") == 0


def test_keys_are_of_a_user_and_a_route(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """Another user may use the same key; another route, or a stream instead of a whole response, is a conflict."""
    prompt = secrets.token_hex(8)
    body = body_of(MESSAGES, prompt)
    assert post(api_user, MESSAGES, body).status_code == 200
    assert post(api_user, CHAT, body).status_code == 409
    assert post(api_user, MESSAGES, {**body, "stream": True}).status_code == 409
    asking = {"model": "quick", "prompt": prompt}
    assert post(api_user, "/api/chat/", asking).json()["error"]["code"] == "conflict"
    stranger = api_user.product.register(f"{api_user.name}x")
    assert post(stranger, MESSAGES, body).status_code == 200
    assert asked(upstream, prompt) == 2


@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
def test_a_key_that_is_none(api_user: ApiUser, key: str) -> None:
    """A key that is too long or not printable is refused by its name."""
    refused = post(api_user, CHAT, body_of(CHAT, "Hello"), key)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_refusal_uses_up_no_key(api_user: ApiUser) -> None:
    """A refused call leaves its key free for another body."""
    assert post(api_user, CHAT, body_of(CHAT, "Hello", "no-such-model")).status_code == 404
    assert post(api_user, CHAT, body_of(CHAT, "Hello")).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_frees_its_key(api_user: ApiUser, upstream: FakeOpenAI, *, stream: bool) -> None:
    """A call that failed and cost nothing is made anew by its retry."""
    prompt = secrets.token_hex(8)
    for calls in (1, 2):
        failed = post(api_user, CHAT, body_of(CHAT, prompt, "refuses", stream=stream))
        assert (failed.status_code, failed.json()["error"]["code"]) == (400, "content_policy_violation")
        assert asked(upstream, prompt) == calls
    assert post(api_user, CHAT, body_of(CHAT, prompt)).status_code == 200
    assert api_user.quota()["used_today"] == 1


def test_a_whole_call_that_was_left(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """A caller with a key that leaves does not stop the upstream; the retry joins it and pays once."""
    prompt = f"{secrets.token_hex(8)} {PAUSE}is whole"
    body = body_of(CHAT, prompt, "paused")
    with pytest.raises(httpx.ReadTimeout):
        post(api_user, CHAT, body, timeout=httpx.Timeout(30, read=0.2))
    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(post, api_user, CHAT, body)
        wait_until(lambda: bool(asked(upstream, prompt)))
        upstream.go_on(prompt)
        joined = joining.result()
    assert joined.json()["choices"][0]["message"]["content"] == prompt.replace(PAUSE, "")
    assert post(api_user, CHAT, body).content == joined.content
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1


def test_embeddings_that_were_left(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """Embeddings whose caller left without waiting are paid for and kept."""
    prompt = secrets.token_hex(8)
    with suppress(httpx.ReadTimeout):  # on a busy machine the response may be faster than the caller
        post(api_user, EMBEDDINGS, body_of(EMBEDDINGS, prompt), timeout=httpx.Timeout(30, read=0.001))
    assert post(api_user, EMBEDDINGS, body_of(EMBEDDINGS, prompt)).json()["object"] == "list"
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1


def test_openais_client_retries(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """OpenAI's client, which gives up and tries again by itself, gets the completion of its first call."""
    prompt = f"{secrets.token_hex(8)} {PAUSE}again"
    calls: list[httpx.Request] = []

    def call(request: httpx.Request) -> None:
        calls.append(request)
        if len(calls) == 2:
            upstream.go_on(prompt)

    http = httpx.Client(trust_env=False, verify=False, event_hooks={"request": [call]})
    with OpenAI(base_url=f"{api_user.product.url}/v1", api_key=api_user.access, http_client=http) as client:
        completion = client.with_options(timeout=0.4, max_retries=5).chat.completions.create(
            model="paused",
            messages=[{"role": "user", "content": prompt}],
            extra_headers={"Idempotency-Key": "retried"},
        )
    assert completion.choices[0].message.content == prompt.replace(PAUSE, "")
    assert len(calls) > 1
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_one_key_fifty_times(on_each: Product, upstream: FakeOpenAI, *, stream: bool) -> None:
    """50 parallel calls with one key make one upstream call and one charge, and get the same bytes."""
    prompt = secrets.token_hex(8)
    api_user = on_each.register(f"k{secrets.token_hex(5)}")
    body = body_of(CHAT, prompt, stream=stream)
    answers = post_many(api_user, [(body, {"Idempotency-Key": "k"})] * 50, CHAT)
    assert {answer.status_code for answer in answers} == {200}, {answer.text for answer in answers}
    assert len({without_comments(answer) for answer in answers}) == 1
    assert "19" in answers[0].text
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1


# --- streams ---------------------------------------------------------------------------------------------------------


def first_text(api_user: ApiUser, body: dict[str, Any], enough: threading.Event) -> None:
    """Read the beginning of a stream, and leave when `enough` is set."""
    client = api_user.product.client(api_user.access)
    with client.stream("POST", CHAT, json=body, headers={"Idempotency-Key": "k"}) as response:
        texts, text = response.iter_text(), ""  # httpx closes the connection when its iterator is deleted
        while FIRST not in text:
            text += next(texts)
        enough.wait(60)


def test_a_stream_is_followed(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """A second caller gets the stream from its beginning, and keeps it running when the first one leaves."""
    prompt, leaving = f"Begin {PAUSE}{secrets.token_hex(8)}", threading.Event()
    body = body_of(CHAT, prompt, "paused", stream=True)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(first_text, api_user, body, leaving)
        wait_until(lambda: bool(asked(upstream, prompt)))
        client = api_user.product.client(api_user.access)
        with client.stream("POST", CHAT, json=body, headers={"Idempotency-Key": "k"}) as response:
            texts, text = response.iter_text(), ""
            while FIRST not in text:
                text += next(texts)
            leaving.set()
            first.result()
            upstream.go_on(prompt)
            text += "".join(texts)
    assert "".join(re.findall(r'"content":"([^"]*)"', text)) == prompt.replace(PAUSE, "")
    assert text.endswith("data: [DONE]\n\n")
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1


def test_a_stream_that_was_left(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A stream whose only caller leaves stops; its retry gets the text so far and a failure, at no further charge."""
    prompt, leaving = f"Begin {PAUSE}{secrets.token_hex(8)}", threading.Event()
    leaving.set()
    body = body_of(CHAT, prompt, "paused", stream=True)
    first_text(api_user, body, leaving)
    upstream.closed_at(prompt)
    retries = [post(api_user, CHAT, body) for _ in range(2)]
    for retry in retries:
        text = without_comments(retry)
        assert FIRST in text
        assert '"error":{' in text.split("\n\n")[-2]
        assert "[DONE]" not in text
    assert len({without_comments(retry) for retry in retries}) == 1
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1


def test_a_stream_that_was_left_before_its_text(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A stream that was left before it cost anything is made anew by its retry."""
    prompt = secrets.token_hex(8)
    body = body_of(CHAT, prompt, "hang", stream=True)
    generation = "SELECT 1 FROM chat_generation WHERE idempotency_key = ?"
    for _ in range(2):
        leave(api_user, upstream, body, prompt)
        upstream.closed_at(prompt)
        wait_until(lambda: not api_user.product.sql(generation, prompt))
    assert asked(upstream, prompt) == 2
    assert api_user.quota()["used_today"] == 0


# --- time, space and processes ---------------------------------------------------------------------------------------


def test_after_ten_minutes(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A retry that comes when nothing is kept any more is refused, and not charged."""
    prompt = secrets.token_hex(8)
    generation = post(api_user, CHAT, body_of(CHAT, prompt)).json()["id"].removeprefix("chatcmpl-")
    kept = "SELECT 1 FROM chat_keptresponse WHERE generation_id = ?"
    wait_until(lambda: bool(api_user.product.sql(kept, generation)))
    early = "2026-01-01 00:00:00"
    api_user.product.sql("UPDATE chat_keptresponse SET kept_at = ? WHERE generation_id = ?", early, generation)
    api_user.product.sql("UPDATE chat_generation SET finished_at = ? WHERE id = ?", early, generation)
    refused = post(api_user, CHAT, body_of(CHAT, prompt))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert asked(upstream, prompt) == 1
    assert api_user.quota()["used_today"] == 1


@pytest.mark.server
@pytest.mark.parametrize("with_redis", [False, True])
def test_another_process(
    postgres: servers.Postgres,
    redis_server: servers.Redis,
    upstream: FakeOpenAI,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    with_redis: bool,
) -> None:
    """A retry that reaches another process waits for the response of the first one, and gets its bytes."""
    database, folder = postgres.migrated_database(), tmp_path_factory.mktemp("keyed")
    variables = {**connected(upstream, **MODELS), "REDIS_URL": redis_server.url if with_redis else ""}
    with (
        Product(folder, database, **variables) as first,
        Product(folder, database, is_set_up=True, **variables) as second,
    ):
        alice = first.register("alice")
        for stream in (False, True):
            asyncio.run(_ask_both(alice, second, upstream, stream=stream))
        assert alice.quota()["used_today"] == 2
        prompt = secrets.token_hex(8)
        body, headers = body_of(CHAT, prompt, "slow"), {"Idempotency-Key": prompt}
        there = ApiUser(second, "alice", alice.access, "")
        with ThreadPoolExecutor(2) as pool:
            asking = [pool.submit(post_many, each, [(body, headers)] * 25, CHAT) for each in (alice, there)]
            contents = {answer.content for one in asking for answer in one.result()}
        assert len(contents) == 1, contents
        assert asked(upstream, prompt) == 1
        assert alice.quota()["used_today"] == 3


async def _ask_both(alice: ApiUser, second: Product, upstream: FakeOpenAI, *, stream: bool) -> None:
    prompt = secrets.token_hex(8)
    body, headers = body_of(CHAT, prompt, "slow", stream=stream), {"Idempotency-Key": prompt}
    headers["Authorization"] = f"Bearer {alice.access}"
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client:
        started = asyncio.create_task(client.post(alice.product.url + CHAT, json=body, headers=headers))
        while not asked(upstream, prompt):
            await asyncio.sleep(0.01)
        here, there = await asyncio.gather(started, client.post(second.url + CHAT, json=body, headers=headers))
        again = await client.post(second.url + CHAT, json=body, headers=headers)
    assert without_comments(here) == without_comments(there) == without_comments(again)
    assert "9 " in here.text
    assert asked(upstream, prompt) == 1
