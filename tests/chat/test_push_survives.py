"""Push channels during kills, restarts and deployments, with other processes and hostile programs."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from urllib.parse import quote

import pytest

from tests.chat.pushes import Reader, new_key, read, reading, status_of
from tests.product import ApiUser, Product
from tests.servers import Postgres, Redis

SOAK = os.environ.get("SOAK") == "1"
# An idle limit: longer than a test stands still, shorter than a reader waits for its end.
IDLE_SECONDS = 6


def publish(shop: ApiUser, to: ApiUser, key: str, data: object, status: int = 202) -> None:
    answer = shop.client.post(f"/api/channels/{key}/messages/", json={"user": to.name, "data": data})
    assert answer.status_code == status, answer.text


def complete(shop: ApiUser, to: ApiUser, key: str) -> None:
    answer = shop.client.post(f"/api/channels/{key}/complete/", json={"user": to.name})
    assert answer.status_code == 200, answer.text


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Product]:
    with Product(tmp_path) as running:
        yield running


@pytest.mark.contract("push survives a restart")
def test_a_restart_loses_nothing(mortal: Product) -> None:
    """A payment that completes while the server is killed and restarted is shown once."""
    shop, api_user = mortal.admin(), mortal.register("alice")
    publish(shop, api_user, "pay", "created")
    with reading(api_user, "pay") as (_status, events):
        first = next(events)
    publish(shop, api_user, "pay", "paying")
    mortal.kill()
    mortal.start()
    publish(shop, api_user, "pay", "paid")
    complete(shop, api_user, "pay")
    assert [(event.id, event.data) for event in read(api_user, "pay", first.id)] == [
        ("pay:2", "paying"),
        ("pay:3", "paid"),
        ("pay:4", "{}"),
    ]
    assert [event.data for event in read(api_user, "pay")] == ["created", "paying", "paid", "{}"]
    assert status_of(api_user, "pay", "pay:4") == 204

    # A deployment: the server tells readers to reconnect soon, and plays a started example to its end.
    with api_user.client.stream("GET", "/sse/quiet/") as response:
        pieces = response.iter_raw()
        assert next(pieces) == b": open\n\n"
        assert api_user.client.get("/sse/message/demo/").status_code == 202
        mortal.stop_soon()
        assert b"".join(pieces).endswith(b"retry: 500\n\n")
    assert mortal.stop() == 0
    mortal.start()
    assert [event.name for event in read(api_user, "demo")] == ["created", "paying", "paid", "complete"]


def test_idle_limits(product: Product, api_user: ApiUser) -> None:
    """Readers are disconnected after the idle limit, also one set later by another process."""
    shop, key = product.admin(), new_key()
    script = f"from chat.channels import push; push.open('{api_user.name}', '{key}', timeout_seconds={IDLE_SECONDS})"
    with Reader(api_user, key) as reader:
        assert product.manage("shell", "-c", script).returncode == 0
    started = time.monotonic()
    with Reader(api_user, key) as reader:
        time.sleep(1)
        publish(shop, api_user, key, "x")
    assert [event.data for event in reader.events] == ["x"]
    assert time.monotonic() - started > IDLE_SECONDS + 0.9
    complete(shop, api_user, key)
    assert [event.name for event in read(api_user, key)] == ["message", "complete"]


@pytest.mark.soak
@pytest.mark.timeout(1800 if SOAK else 300)
def test_hostile_programs(product: Product, api_user: ApiUser) -> None:
    """Hostile keys, data, names and ids never change the number or content of events."""
    shop = product.admin()
    random, count = Random(10), 10_000 if SOAK else 120
    parts = ["\r", "\n", "\r\n", "\0", "\u2028", "data: x", "id: 7\n", "event: x\r", "a", ":", "字", "\n\n"]
    sent: list[str] = []
    key = new_key()
    for number in range(count):
        hostile = "".join(random.choices(parts, k=random.randrange(1, 8)))
        wrong_key = f"a{random.choice(parts[:5])}{hostile}"
        match number % 4:
            case 0:
                assert shop.client.post(f"/api/channels/{quote(wrong_key, safe='')}/messages/").status_code == 404
                assert api_user.client.get(f"/sse/{quote(wrong_key, safe='')}/").status_code == 404
            case 1:
                body = {"user": api_user.name, "data": 1, "event": f"a{random.choice(parts[:5])}"}
                assert shop.client.post(f"/api/channels/{key}/messages/", json=body).status_code == 400
            case 2:
                path = f"/sse/{key}/?last_event_id={quote(hostile)}"
                with reading(api_user, key, path=path) as (_status, events):
                    first = next(events, None) if sent else None
                assert first is None or (first.id, first.name, first.data) == (f"{key}:0", "reset", "{}")
        if len(sent) % 9_000 == 8_999:
            key, sent = new_key(), []
        publish(shop, api_user, key, hostile)
        sent.append(hostile.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n"))
    complete(shop, api_user, key)
    events = read(api_user, key)
    assert [event.id for event in events] == [f"{key}:{n}" for n in range(1, len(sent) + 2)]
    assert [event.data for event in events] == [*sent, "{}"]


# --- two processes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(
    postgres: Postgres, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Product, Product]]:
    """Two processes of one service."""
    url, folder = postgres.migrated_database(), tmp_path_factory.mktemp("two")
    variables = {"REDIS_URL": redis_server.url, "SECRET_KEY": "x" * 50}
    # Without a notification no event would come as long as a test waits.
    variables["IMPATIENCE"] = "chat.channels.feeds.POLL_SECONDS=600"
    with Product(folder, url, **variables) as one, Product(folder, url, is_set_up=True, **variables) as other:
        yield one, other


def elsewhere(api_user: ApiUser, product: Product) -> ApiUser:
    """Return the same user at another process."""
    return ApiUser(product, api_user.name, api_user.access, "")


def test_across_processes(two: tuple[Product, Product]) -> None:
    """Events pushed at one process are read, and resumed, at another with the same numbers."""
    one, other = two
    shop, api_user, key = one.admin(), one.register("alice"), new_key()
    far = elsewhere(api_user, other)
    with Reader(far, key) as reader, Reader(api_user, key) as near:
        delays = []
        for number in range(10):
            started = time.monotonic()
            publish(shop if number % 2 else elsewhere(shop, other), api_user, key, number)
            reader.wait_for(number + 1)
            delays.append(reader.arrivals[-1] - started)
        assert min(delays) < 0.5
        complete(shop, api_user, key)
    assert reader.events == near.events
    assert [event.data for event in reader.events] == [*map(str, range(10)), "{}"]
    assert read(api_user, key, reader.events[4].id) == read(far, key, reader.events[4].id) == reader.events[5:]


def test_from_a_script(two: tuple[Product, Product]) -> None:
    """A script without an event loop wakes the readers of all processes."""
    one, other = two
    api_user, key = one.register("bob"), new_key()
    with Reader(api_user, key) as near, Reader(elsewhere(api_user, other), key) as far:
        done = one.manage("demo_push", api_user.name, key)
        assert done.returncode == 0, done.stderr
    assert [event.name for event in near.events] == ["created", "paying", "paid", "complete"]
    assert near.events == far.events


def test_redis_away(two: tuple[Product, Product], redis_server: Redis) -> None:
    """While Redis is away no push is lost; other processes deliver it afterwards."""
    one, other = two
    shop, api_user, key = one.admin(), one.register("carl"), new_key()
    with Reader(api_user, key) as near, Reader(elsewhere(api_user, other), key) as far:
        publish(shop, api_user, key, "before")
        far.wait_for(1)
        redis_server.stop()
        try:
            publish(shop, api_user, key, "while it is away")
            near.wait_for(2)
        finally:
            redis_server.start()
        far.wait_for(2)
        complete(shop, api_user, key)
    assert near.events == far.events
    assert json.dumps([event.data for event in far.events]) == '["before", "while it is away", "{}"]'
