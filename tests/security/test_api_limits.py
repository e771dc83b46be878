"""/v1 has limits of its own: calls that run at once, and that start within a minute."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chat.programs import HELLO, URL, ask, error
from tests.faults import pairs
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected, post_many
from tests.readers import wait_until
from tests.servers import Postgres
from tests.upstreams import FakeOpenAI


@pytest.mark.contract("setting: MAX_ACTIVE_API_CALLS")
def test_running_calls_are_bounded(database_url: str, tmp_path: Path, upstream: PausedUpstream) -> None:
    """With MAX_ACTIVE_API_CALLS=3, exactly three of twenty parallel calls reach the upstream; the page goes on."""
    prompt = f"{secrets.token_hex(5)} {PAUSE}"
    with Product(tmp_path, database_url, **connected(upstream), MAX_ACTIVE_API_CALLS="3") as product:
        api_user = product.register("alice")
        before = len(upstream.requests)
        with ThreadPoolExecutor(20) as threads:
            clients = [product.client(api_user.access) for _call in range(20)]
            calls = [threads.submit(ask, client, "paused", _said(prompt)) for client in clients]
            wait_until(lambda: sum(call.done() for call in calls) >= 17)
            upstream.go_on(prompt, 3)
            answers = [call.result() for call in calls]
        assert Counter(answer.status_code for answer in answers) == {200: 3, 429: 17}
        assert len(upstream.requests) - before == 3
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert error(refused)[:3] == (429, "requests", "rate_limit_exceeded")
        assert int(refused.headers["Retry-After"]) > 0
        assert ask(api_user.client).status_code == 200
        for _ in range(4):
            api_user.ask(model="hang")
        assert ask(api_user.client).status_code == 200
        assert ask(product.register("bob").client).status_code == 200


@pytest.fixture(scope="module")
def paced(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that starts five calls of a user within a minute."""
    variables = {**connected(upstream), "API_REQUESTS_PER_MINUTE": "5"}
    with Product(tmp_path_factory.mktemp("paced"), **variables) as running:
        yield running


@pytest.mark.contract("setting: API_REQUESTS_PER_MINUTE")
def test_calls_per_minute_are_bounded(paced: Product) -> None:
    """The sixth call within a minute is refused, streamed or whole; other routes and users are not counted."""
    api_user = paced.register("often")
    api_user.answer("Hello", "plain", text_tool="polish")
    assert api_user.client.get("/api/chatgpt/test", params={"message": "x", "model": "plain"}).status_code == 200
    assert {ask(api_user.client, stream=bool(number % 2)).status_code for number in range(5)} == {200}
    for stream in (False, True):
        refused = ask(api_user.client, stream=stream)
        assert error(refused)[:3] == (429, "requests", "rate_limit_exceeded")
        assert 30 < int(refused.headers["Retry-After"]) <= 60
    assert api_user.client.get("/v1/models").status_code == 200
    assert api_user.answer("Hello", "plain")[-1].name == "done"
    assert ask(paced.register("seldom").client).status_code == 200


def test_counting_tokens_counts_as_a_call(paced: Product) -> None:
    """Counts of tokens cost time too, so the sixth within a minute is refused."""
    api_user = paced.register("counts")
    body = {"model": "plain", "messages": [{"role": "user", "content": "word " * 50_000}]}
    answers = [api_user.client.post("/v1/messages/count_tokens", json=body) for _number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert 50_000 < answers[0].json()["input_tokens"] < 80_000
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"
    assert 30 < int(answers[-1].headers["Retry-After"]) <= 60


def test_exactly_so_many_of_many_at_once(paced: Product) -> None:
    """Of 50 calls at once exactly five start."""
    api_user = paced.register("at-once")
    answers = post_many(api_user, [({"model": "echo", "messages": HELLO}, {})] * 50, URL)
    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 45}
    assert api_user.quota()["used_today"] == 5


@pytest.mark.parametrize(
    "filling", [b"[],", b"1,", b'"a",', b'{"role":"user","content":"a"},'], ids=["lists", "numbers", "texts", "turns"]
)
def test_a_large_body_has_few_values(paced: Product, filling: bytes) -> None:
    """A body of megabytes is text: one of millions of tiny values is refused before it is parsed."""
    client = paced.register(f"tiny{len(filling)}").client
    content = b'{"model":"echo","messages":[' + filling * (4 * 2**20 // len(filling)) + b"1]}"
    started = time.monotonic()
    assert error(client.post(URL, content=content))[:3] == (400, "invalid_request_error", None)
    assert time.monotonic() - started < 5


@pytest.mark.alone
def test_a_large_text_keeps_no_other_user_waiting(paced: Product) -> None:
    """While megabytes with sensitive words are screened, other users' requests are answered."""
    admin = paced.admin().client
    word = {"word": "walnuts", "action": "mask", "scope": "input"}
    assert admin.post("/api/admin/sensitive-words/", json=word).status_code == 201
    large = paced.register("large")
    wait_until(lambda: "walnuts" not in ask(large.client, messages=_said("walnuts")).text)
    with ThreadPoolExecutor(1) as pool:
        texts = _said("Walnuts, and “quotes”, [brackets]. " * 75_000)
        sent = time.monotonic()
        answer = pool.submit(ask, large.client, "plain", texts)
        other, waits = paced.register("other").client, []
        while not answer.done():
            started = time.monotonic()
            assert other.get("/api/me/").status_code == 200
            waits.append(time.monotonic() - started)
        assert answer.result().status_code == 200
    # Screened in the only database thread of SQLite, it would hold up others for nearly as long as it takes.
    assert max(waits) < (time.monotonic() - sent) / 2


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.server
def test_both_limits_over_two_processes(postgres: Postgres, tmp_path: Path, upstream: PausedUpstream) -> None:
    """Two processes count together; while Redis is away each counts the calls of a minute alone."""
    limits = {"MAX_ACTIVE_API_CALLS": "2", "API_REQUESTS_PER_MINUTE": "6"}
    prompt = f"{secrets.token_hex(5)} {PAUSE}"
    with pairs.started(postgres, tmp_path, **connected(upstream), **limits) as pair:
        both = (pair.alice, pair.alice_there)
        body = {"model": "paused", "messages": _said(prompt), "stream": True}
        with (
            pair.alice.client.stream("POST", URL, json=body) as one,
            pair.alice_there.client.stream("POST", URL, json=body) as two,
        ):
            assert (one.status_code, two.status_code) == (200, 200)
            refused = [ask(pair.first.client(pair.alice.access)), ask(pair.second.client(pair.alice.access))]
            assert [answer.status_code for answer in refused] == [429, 429]
            assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
            upstream.go_on(prompt, 2)
            assert (one.read(), two.read()) != (b"", b"")
        assert _sent(both, 4) == [200, 200, 429, 429]
        pair.redis.stop()
        assert _sent(both, 4) == [200] * 4


def _sent(api_users: tuple[ApiUser, ApiUser], count: int) -> list[int]:
    """Return the statuses of calls, sent to both processes in turn."""
    return [ask(api_users[number % 2].client).status_code for number in range(count)]
