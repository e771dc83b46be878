"""Pub/sub: delivered here at once, in other processes through Redis, and made good after Redis was away."""

import asyncio
import contextvars
import os
import uuid
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis as Client
from structlog.typing import EventDict

from runtime import pubsub, redis_clients
from runtime.apps import runtime
from runtime.pubsub import MISSED, PREFIX, Broker
from runtime.redis_clients import RedisClients
from tests.redis_servers import be_patient
from tests.servers import Redis, environment, in_processes

Received = asyncio.Queue[bytes]

# Seconds to wait for what takes a hundredth of a second on an idle machine.
PATIENCE_SECONDS = 30


@pytest.fixture
async def clients(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RedisClients, None]:
    be_patient(monkeypatch)
    clients = RedisClients(redis_server.url, runtime().process)
    yield clients
    await clients.aclose()


@pytest.fixture
async def broker(clients: RedisClients, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Broker, None]:
    # A connection that is replaced while Redis stands still brings `MISSED` once more.
    monkeypatch.setattr(pubsub, "SILENCE_SECONDS", PATIENCE_SECONDS)
    broker = Broker(clients, uuid.uuid4().hex)
    yield broker
    await broker.aclose()


@pytest.fixture
def lone_broker() -> Broker:
    """A broker without Redis."""
    return Broker(RedisClients("", runtime().process), uuid.uuid4().hex)


def subscribe(broker: Broker, topic: str) -> tuple[Received, Callable[[], None]]:
    received: Received = asyncio.Queue()
    return received, broker.subscribe(topic, received.put_nowait)


async def soon(received: Received) -> bytes:
    return await asyncio.wait_for(received.get(), PATIENCE_SECONDS)


def publish_here(topic: str, payload: str) -> bool:
    """Publish from the process that this runs in."""

    async def publish() -> None:
        await runtime().broker.publish(topic, payload.encode())
        await runtime().redis.aclose()

    asyncio.run(publish())
    return True


async def publish_elsewhere(url: str, topic: str, *payloads: str) -> None:
    """Publish each payload from a process of its own."""
    variables = environment(f"sqlite:///{os.environ['VAR_DIR']}/unused.sqlite3", "", REDIS_URL=url)
    variables["VAR_DIR"] = os.environ["VAR_DIR"]
    rows = [(topic, payload) for payload in payloads]
    await asyncio.to_thread(in_processes, publish_here, rows, variables)


async def test_subscribers_of_this_process_are_called_before_publish_returns(lone_broker: Broker) -> None:
    """Without Redis too, by topic, and until they unsubscribe."""
    received, unsubscribe = subscribe(lone_broker, "topic")
    other, _unsubscribe_other = subscribe(lone_broker, "other")
    await lone_broker.publish("topic", b"1")
    assert received.get_nowait() == b"1"
    unsubscribe()
    unsubscribe()
    await lone_broker.publish("topic", b"2")
    assert received.empty()
    assert other.empty()


async def test_a_failing_subscriber_keeps_no_other_from_being_called(
    lone_broker: Broker, log_lines: list[EventDict]
) -> None:
    def fail(payload: bytes) -> None:
        raise ValueError(payload)

    lone_broker.subscribe("topic", fail)
    received, _unsubscribe = subscribe(lone_broker, "topic")
    await lone_broker.publish("topic", b"1")
    assert received.get_nowait() == b"1"
    assert [line["event"] for line in log_lines] == ["subscriber failed"]


async def test_each_request_is_served_once_in_an_empty_context(broker: Broker, clients: RedisClients) -> None:
    """However often `serve` was called; `MISSED` is no request."""
    caller = contextvars.ContextVar("caller", default="no caller")
    done: Received = asyncio.Queue()

    async def work(payload: bytes) -> None:
        await asyncio.sleep(0)
        done.put_nowait(payload + b" for " + caller.get().encode())

    received, _unsubscribe = subscribe(broker, "requests")
    caller.set("a caller")
    broker.serve("requests", work)
    broker.serve("requests", work)
    assert await soon(received) == MISSED
    await broker.publish("requests", b"one")
    await publish_elsewhere(clients.url, "requests", "two")
    assert {await soon(done), await soon(done)} == {b"one for no caller", b"two for no caller"}
    await broker._work.wait()
    assert done.empty()


async def test_publishing_from_another_loop_calls_subscribers_on_theirs(lone_broker: Broker) -> None:
    loops: list[object] = []
    lone_broker.subscribe("topic", lambda _payload: loops.append(asyncio.get_running_loop()))
    await asyncio.to_thread(lambda: asyncio.run(lone_broker.publish("topic")))
    assert loops == [asyncio.get_running_loop()]


async def test_messages_of_other_processes_arrive_and_own_ones_arrive_once(
    broker: Broker, clients: RedisClients
) -> None:
    received, _unsubscribe = subscribe(broker, "topic")
    assert await soon(received) == MISSED
    await publish_elsewhere(clients.url, "topic", "from elsewhere", "twice")
    assert {await soon(received), await soon(received)} == {b"from elsewhere", b"twice"}
    await broker.publish("topic", b"own")
    await publish_elsewhere(clients.url, "topic", "last")  # Redis keeps the order, so what it returned came before
    assert [await soon(received), await soon(received)] == [b"own", b"last"]


async def test_subscribers_look_again_when_redis_is_back(broker: Broker, redis_server: Redis) -> None:
    received, _unsubscribe = subscribe(broker, "topic")
    assert await soon(received) == MISSED
    await asyncio.to_thread(redis_server.stop)
    await asyncio.to_thread(redis_server.start)
    assert await soon(received) == MISSED
    await publish_elsewhere(redis_server.url, "topic", "after")
    while await soon(received) != b"after":
        pass


async def test_what_redis_did_not_take_is_sent_when_it_is_back(
    broker: Broker, clients: RedisClients, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_clients, "AWAY_SECONDS", 3_600)
    await asyncio.to_thread(redis_server.stop)
    await broker.publish("topic", b"lost")
    await asyncio.to_thread(redis_server.start)
    client = clients.connect(connections=1)
    async with client, client.pubsub() as elsewhere:
        await elsewhere.subscribe(PREFIX + "topic")
        await clients.probe()  # before it, nothing is sent
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (message := await elsewhere.get_message(timeout=5)) is None or message["type"] != "message":
                pass
    assert message["channel"] == b"rivulet:wake:topic"


async def test_one_connection_receives_all_topics_and_drops_unused_ones(broker: Broker, clients: RedisClients) -> None:
    subscriptions = [subscribe(broker, f"topic{number}") for number in range(1_000)]
    for received, _unsubscribe in subscriptions:
        assert await soon(received) == MISSED
    async with clients.connect(connections=1, socket_timeout=PATIENCE_SECONDS) as client:
        await until_subscribed(client, 1 + 1_000)
        for _received, unsubscribe in subscriptions:
            unsubscribe()
        await until_subscribed(client, 1)


async def subscription_counts(client: Client) -> list[int]:
    """Return how many topics each connection has subscribed to, of those that have any."""
    return [count for row in await client.client_list() if (count := int(row["sub"]))]


async def until_subscribed(client: Client, count: int) -> None:
    """Return when there is one subscribed connection, and it has `count` topics."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await subscription_counts(client) != [count]:
            await asyncio.sleep(0.02)


async def test_a_connection_lost_while_unsubscribing_is_replaced_by_one(broker: Broker, clients: RedisClients) -> None:
    """The new one has none of the topics that were dropped."""
    permanent, _unsubscribe_permanent = subscribe(broker, "kept")
    subscriptions = [subscribe(broker, f"topic{number}") for number in range(100)]
    for received, _unsubscribe in [(permanent, _unsubscribe_permanent), *subscriptions]:
        assert await soon(received) == MISSED
    async with clients.connect(connections=1, socket_timeout=PATIENCE_SECONDS) as client:
        await client.client_kill_filter(_type="pubsub")
        for _received, unsubscribe in subscriptions:
            unsubscribe()
        assert await soon(permanent) == MISSED
        await until_subscribed(client, 1 + 1)


async def test_messages_arrive_after_a_bug_in_receiving(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    receive, faults = broker._handle, iter([ValueError("a bug")])

    def faulty(message: dict[str, Any]) -> None:
        if fault := next(faults, None):
            raise fault
        receive(message)

    monkeypatch.setattr(broker, "_handle", faulty)
    received, _unsubscribe = subscribe(broker, "topic")
    assert await soon(received) == MISSED
