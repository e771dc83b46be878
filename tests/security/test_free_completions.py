"""Completions for nothing are bounded: MAX_UNCHARGED_PER_HOUR."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chat.programs import HELLO, URL, ask, error
from tests.faults import pairs
from tests.product import ApiUser, Product, connected, post_many
from tests.readers import wait_until
from tests.servers import Postgres
from tests.upstreams import FakeOpenAI

LIMIT = 30
CALLS = 60
BOUNDED = {"MAX_UNCHARGED_PER_HOUR": str(LIMIT)}
MODELS = {
    "white-space": "whitespace",
    "filtered": "finish:content_filter:",
    "moderated": "http_400:content_policy_violation",
    "refuses-stop": "http_400:unsupported_parameter:stop",
}


@pytest.fixture(scope="module")
def bounded(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with the limit, and no other one."""
    with Product(tmp_path_factory.mktemp("bounded"), **connected(upstream, **MODELS), **BOUNDED) as running:
        yield running


def reached(api_user: ApiUser) -> int:
    """Return how many generations of the user have started; each reaches the upstream."""
    ((count,),) = api_user.product.sql(
        "SELECT COUNT(*) FROM chat_generation g JOIN accounts_user u ON u.id = g.user_id WHERE u.username = ?",
        api_user.name,
    )
    return int(count)


def uncharged(api_user: ApiUser) -> int:
    ((count,),) = api_user.product.sql(
        "SELECT COUNT(g.uncharged_at) FROM chat_generation g JOIN accounts_user u ON u.id = g.user_id"
        " WHERE u.username = ?",
        api_user.name,
    )
    return int(count)


def leave(api_user: ApiUser, upstream: FakeOpenAI, number: int) -> int:
    """Leave a call of a silent model once it has reached the upstream; return the status of a refusal, else 200."""
    place, before = urlsplit(api_user.product.url), len(upstream.requests)
    body = json.dumps({"model": "hang", "messages": HELLO})
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api_user.access}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), 60) as sock:
        sock.sendall(f"{head}{body}".encode())
        if number >= LIMIT:
            return int(sock.recv(65536).split()[1])
        wait_until(lambda: len(upstream.requests) > before)
    wait_until(lambda: uncharged(api_user) > number)
    return 200


def ends_with_nothing(api_user: ApiUser, upstream: FakeOpenAI, number: int) -> int:
    """Let a call end before its first visible character, each time in another way; return the status of the refusal."""
    client, way, before = api_user.client, number % 7, len(upstream.requests)
    match way:
        case 0:
            return ask(client, "empty").status_code
        case 1:
            return ask(client, "filtered").status_code
        case 2:
            return leave(api_user, upstream, number)
        case 3:
            status = ask(client, "moderated").status_code
            return 200 if status == 400 else status
        case 4:
            answer = client.post("/api/chat/", json={"model": "hang", "prompt": "Hello"})
            if answer.status_code == 202:
                wait_until(lambda: len(upstream.requests) > before)
                api_user.stop(answer.json()["generation"]["id"])
            return answer.status_code
        case 5:  # refused for a reason without a code of its own
            status = ask(client, "http-400").status_code
            return 200 if status == 502 else status
    return client.get("/api/chatgpt/test", params={"message": "Hello", "model": "white-space"}).status_code


@pytest.mark.contract("setting: MAX_UNCHARGED_PER_HOUR")
def test_sixty_calls_that_show_nothing(bounded: Product, upstream: FakeOpenAI) -> None:
    """Of 60 calls that end before the first visible character, in any way, 30 reach the upstream."""
    api_user = bounded.register("collector")
    before = len(upstream.requests)
    for number in range(LIMIT):
        assert ends_with_nothing(api_user, upstream, number) in {200, 202}
        assert uncharged(api_user) == number + 1
    for number in range(LIMIT, CALLS):
        status = ends_with_nothing(api_user, upstream, number)
        # The classic route sends refusals as events.
        assert status == (200 if number % 7 == 6 else 429)
    assert (reached(api_user), len(upstream.requests) - before) == (LIMIT, LIMIT)
    assert api_user.quota()["used_today"] == 0
    assert ask(bounded.register("another").client, "plain").status_code == 200


def test_the_refusal(bounded: Product) -> None:
    """All entry points refuse with a code of theirs, and say when the oldest is an hour ago."""
    api_user = bounded.register("refused")
    for _ in range(LIMIT):
        api_user.ended(api_user.ask(model="empty")["id"])
    first, last = oldest_and_newest(api_user)
    bounded.sql("UPDATE chat_generation SET uncharged_at = datetime(uncharged_at, '-50 minutes') WHERE id = ?", first)
    refused = api_user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
    assert 540 < int(refused.headers["Retry-After"]) <= 600
    on_v1 = ask(api_user.client, "plain")
    assert error(on_v1)[:3] == (429, "requests", "rate_limit_exceeded")
    assert 540 < int(on_v1.headers["Retry-After"]) <= 600
    for path in ("/api/chat/?model=plain&prompt=x", "/api/chatgpt/test?model=plain&message=x"):
        event = api_user.client.get(path).text
        assert "event: error" in event
        assert json.loads(event.partition("data: ")[2].strip())["code"] == "too_many_requests"
    bounded.sql("UPDATE chat_generation SET uncharged_at = datetime(uncharged_at, '-10 minutes') WHERE id = ?", first)
    assert api_user.answer("Hello", "plain")[-1].name == "done"
    assert last != first


def oldest_and_newest(api_user: ApiUser) -> tuple[str, str]:
    rows = api_user.product.sql(
        "SELECT g.id FROM chat_generation g JOIN accounts_user u ON u.id = g.user_id WHERE u.username = ?"
        " ORDER BY g.uncharged_at",
        api_user.name,
    )
    return str(rows[0][0]), str(rows[-1][0])


def test_a_known_key_answers_all_the_same(bounded: Product) -> None:
    """A known Idempotency-Key gets its generation, whatever else holds."""
    api_user = bounded.register("keyed")
    first = api_user.ended(api_user.ask(model="empty", key="k")["id"])
    for _ in range(LIMIT - 1):
        api_user.ended(api_user.ask(model="empty")["id"])
    assert api_user.ask(model="empty", key="k")["id"] == first["id"]


def test_failures_of_the_upstream_do_not_count(bounded: Product) -> None:
    """The upstream's own failures count for nothing, charged completions neither; refused parameters count."""
    api_user = bounded.register("unlucky")
    for model in ("cut", "error", "plain"):
        for _ in range(3):
            api_user.answer("Hello", model)
    assert (reached(api_user), uncharged(api_user)) == (9, 0)
    assert error(ask(api_user.client, "refuses-stop", stop="x"))[0] == 400
    assert uncharged(api_user) == 1


def test_many_at_once_near_the_limit(bounded: Product) -> None:
    """100 calls at once, when 29 have ended for nothing, are one; the others are not sent."""
    api_user = bounded.register("hasty")
    for _ in range(LIMIT - 1):
        api_user.ended(api_user.ask(model="empty")["id"])
    answers = post_many(api_user, [({"model": "hang", "prompt": f"n{number}"}, {}) for number in range(100)])
    assert Counter(answer.status_code for answer in answers) == {202: 1, 429: 99}
    assert reached(api_user) == LIMIT
    (running,) = [answer.json()["generation"]["id"] for answer in answers if answer.status_code == 202]
    api_user.stop(running)
    assert api_user.client.post("/api/chat/", json={"model": "plain", "prompt": "x"}).status_code == 429


def test_a_hundred_at_once_on_both_databases(database_url: str, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """100 calls of /v1 at once that show nothing: 30 and those that ran at once, at most; a kill forgets none."""
    variables = {**connected(upstream), **BOUNDED, "MAX_ACTIVE_API_CALLS": "10", "PROCESS_LEASE_SECONDS": "2"}
    with Product(tmp_path, database_url, **variables) as product:
        api_user = product.register("alice")
        before = len(upstream.requests)
        statuses: Counter[int] = Counter()
        while statuses.total() < 100 or statuses[200] < LIMIT:
            body = {"model": "empty", "messages": HELLO}
            statuses.update(answer.status_code for answer in post_many(api_user, [(body, {})] * 25, URL))
        assert set(statuses) == {200, 429}
        assert statuses[200] == len(upstream.requests) - before <= LIMIT + 10
        product.kill()
        product.start()
        assert ask(product.client(api_user.access), "empty").status_code == 429


@pytest.mark.server
def test_two_processes_count_together(postgres: Postgres, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """What ended for nothing in one process counts in the other."""
    with pairs.started(postgres, tmp_path, **connected(upstream), **BOUNDED) as pair:
        for number in range(LIMIT):
            api_user = (pair.alice, pair.alice_there)[number % 2]
            assert ask(api_user.client, "empty").status_code == 200
        for api_user in (pair.alice, pair.alice_there):
            assert ask(api_user.client, "empty").status_code == 429
