"""A real Redis Cluster of three nodes: commands, cache, notifications; slots that move, a node that is killed."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import redis
from django.core.cache import cache

from chat.events import redis as streams
from runtime import deploy_checks
from runtime.apps import runtime
from runtime.pubsub import MISSED, PREFIX, Broker
from runtime.redis_clients import CONNECTIONS, RedisClients, ping
from runtime.redis_slots import slot_of
from tests.conftest import _need
from tests.redis_servers import ClusterNode, RedisCluster, be_patient, until
from tests.runtime.test_pubsub import soon, subscribe

pytestmark = pytest.mark.server

SOAK = os.environ.get("SOAK") == "1"
KEYS = [f"key{number}" for number in range(100)]


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    """Three nodes; "gated" ones can be cut off from their clients, but not from each other."""
    _need(RedisCluster)
    with RedisCluster(gates=getattr(request, "param", "") == "gated") as running:
        yield running


@pytest.fixture
async def clients(cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RedisClients, None]:
    be_patient(monkeypatch)
    clients = RedisClients(cluster.url, runtime().process)
    yield clients
    await clients.aclose()


@pytest.fixture
async def brokers(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[Broker, Broker], None]:
    """The brokers of two processes."""
    be_patient(monkeypatch)
    both = [RedisClients(cluster.url, runtime().process) for _process in range(2)]
    brokers = [Broker(clients, uuid.uuid4().hex) for clients in both]
    yield brokers[0], brokers[1]
    for broker in brokers:
        await broker.aclose()
    for clients in both:
        await clients.aclose()


async def test_commands_go_to_the_nodes_of_their_keys(clients: RedisClients, cluster: RedisCluster) -> None:
    """Single commands, scripts, pipelines, and what has several keys, over all nodes."""
    async with clients.connect() as client:
        pipeline = client.pipeline(transaction=False)
        for key in KEYS:
            pipeline.execute_command("SET", key, key)
        pipeline.execute_command("INCR", KEYS[0])
        *replies, refused = await pipeline.execute(raise_on_error=False)
        assert replies == [True] * len(KEYS)
        assert isinstance(refused, redis.ResponseError)
        assert [await client.get(key) for key in KEYS] == [key.encode() for key in KEYS]
        assert await client.eval("return redis.call('GET', KEYS[1])", 1, KEYS[1]) == KEYS[1].encode()
        for number, key in enumerate(KEYS[:20]):
            await client.execute_command("XADD", f"stream:{key}", f"{number + 1}-0", "n", number)
        read: Any = await client.xread({f"stream:{key}": "0-0" for key in KEYS[:20]}, count=1)
        assert dict(read) == {
            f"stream:{key}".encode(): [(f"{n + 1}-0".encode(), {b"n": str(n).encode()})]
            for n, key in enumerate(KEYS[:20])
        }
        assert await client.xread({f"stream:{KEYS[0]}": "1-0"}) == []
        assert await client.delete(*KEYS) == len(KEYS)
        assert await client.get(KEYS[0]) is None


async def test_few_connections_to_each_node(clients: RedisClients, cluster: RedisCluster) -> None:
    """However many callers there are at once, none fails and none opens a further connection."""
    found = await asyncio.gather(*(clients.ask(lambda client, key=key: client.get(key), b"") for key in KEYS))
    assert found == [None] * len(KEYS)
    for node in cluster.nodes:
        with redis.Redis(port=node.port) as client:
            ours = [row for row in client.client_list() if row["cmd"] == "get"]
        assert 1 <= len(ours) <= CONNECTIONS


async def test_messages_arrive_once_from_every_shard(brokers: tuple[Broker, Broker]) -> None:
    """A process learns whether another one subscribes, on whatever node."""
    here, there = brokers
    topics = [f"topic{number}" for number in range(30)]
    subscriptions = {topic: subscribe(here, topic) for topic in topics}
    for received, _unsubscribe in subscriptions.values():
        assert await soon(received) == MISSED
    for topic, (received, unsubscribe) in subscriptions.items():
        assert await there.publish(topic, topic.encode())
        assert await here.publish(topic, b"own")
        assert {await soon(received), await soon(received)} == {topic.encode(), b"own"}
        unsubscribe()
    async with asyncio.timeout(30):
        while any([await there.publish(topic) for topic in topics]):
            await asyncio.sleep(0.02)
    assert all(received.empty() for received, _unsubscribe in subscriptions.values())


async def test_a_slot_that_moves_takes_its_subscribers_along(
    brokers: tuple[Broker, Broker], clients: RedisClients, cluster: RedisCluster
) -> None:
    """Its keys are found while it moves and afterwards, and messages arrive from its new node."""
    here, there = brokers
    received, _unsubscribe = subscribe(here, "moving")
    assert await soon(received) == MISSED
    assert await there.publish("moving", b"before")
    assert await soon(received) == b"before"
    channel = PREFIX + "moving"
    await clients.ask(lambda client: client.get(channel), None)
    source = cluster.owner(channel)
    target = next(node for node in cluster.nodes if node is not source)
    await asyncio.to_thread(begin_move, channel, source, target)
    assert await clients.ask(lambda client: client.set(channel, "while it moves"), None) is True
    assert await clients.ask(lambda client: client.get(channel), None) == b"while it moves"
    await asyncio.to_thread(end_move, channel, target, cluster)
    assert await soon(received) == MISSED
    assert await there.publish("moving", b"after")
    assert await soon(received) == b"after"
    assert await clients.ask(lambda client: client.delete(channel), 0) == 1


def begin_move(key: str, source: ClusterNode, target: ClusterNode) -> None:
    with redis.Redis(port=source.port) as old, redis.Redis(port=target.port) as new:
        ids = [client.execute_command("CLUSTER MYID").decode() for client in (old, new)]
        new.execute_command("CLUSTER SETSLOT", slot_of(key), "IMPORTING", ids[0])
        old.execute_command("CLUSTER SETSLOT", slot_of(key), "MIGRATING", ids[1])


def end_move(key: str, target: ClusterNode, cluster: RedisCluster) -> None:
    with redis.Redis(port=target.port) as client:
        new = client.execute_command("CLUSTER MYID").decode()
    for node in (target, *(node for node in cluster.nodes if node is not target)):
        with redis.Redis(port=node.port) as client:
            client.execute_command("CLUSTER SETSLOT", slot_of(key), "NODE", new)


@pytest.fixture
def cluster_cache(cluster: RedisCluster, settings: Any) -> Iterator[None]:
    settings.REDIS_URL = cluster.url
    own = {"BACKEND": "runtime.cache.FallbackCache", "LOCATION": cluster.url, "KEY_PREFIX": "rivulet"}
    settings.CACHES = {"default": own}
    runtime().redis.succeeded()
    yield
    cache._local.clear()
    cache._shared.client.do_close_clients()
    runtime().redis.succeeded()


def test_the_cache_is_on_all_nodes(cluster_cache: None, cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are shared by processes; clearing deletes the cache's own keys on every node."""
    be_patient(monkeypatch)
    with cluster.client() as client:
        for key in KEYS:
            cache.set(key, [1, key], 60)
            client.set(f"other:{key}", 1)
        assert client.get(f"rivulet:1:{KEYS[0]}") == b'[1, "key0"]'
        assert [cache.get(key) for key in KEYS] == [[1, key] for key in KEYS]
        assert cache.add(KEYS[0], 1) is False
        assert (cache.add("count", 1), cache.incr("count"), cache.touch("count", 5)) == (True, 2, True)
        assert cache.delete(KEYS[0]) is True
        assert cache.has_key(KEYS[0]) is False
        cache.clear()
        assert not list(client.scan_iter("rivulet:*"))
        assert client.delete(*(f"other:{key}" for key in KEYS)) == len(KEYS)


def test_check_deploy_asks_all_primaries(cluster_cache: None) -> None:
    (finding,) = deploy_checks._redis()
    assert finding.level == "ok"
    assert finding.text.startswith("Redis or Valkey ")
    assert finding.text.endswith(", a cluster")


def test_a_killed_node_takes_redis_away_until_it_is_back(cluster: RedisCluster, cluster_cache: None) -> None:
    """Callers continue without Redis at once; when the node is back, commands, cache and messages are too."""

    @contextmanager
    def killed() -> Iterator[None]:
        node = cluster.owner(PREFIX + "topic")
        node.kill()
        yield
        node.start()
        cluster.wait_until_sound()

    asyncio.run(lose_a_node(killed(), missed=True))


@pytest.mark.parametrize("cluster", ["gated"], indirect=True)
def test_a_node_that_is_cut_off_takes_redis_away_until_it_is_not(cluster: RedisCluster, cluster_cache: None) -> None:
    """The same with a node that the others find in order: no reply, and no refusal, comes from it."""
    gate = cluster.owner(PREFIX + "topic").gate
    assert gate
    asyncio.run(lose_a_node(gate.shut(), missed=False))


async def lose_a_node(lost: AbstractContextManager[None], missed: bool) -> None:
    """Check what callers notice while the node of the topic is lost, and afterwards; some have `missed` messages."""
    clients = runtime().redis
    broker, other = (Broker(clients, uuid.uuid4().hex) for _process in range(2))
    received, _unsubscribe = subscribe(broker, "topic")
    assert await soon(received) == MISSED
    cache.set("shared", 1)
    with lost:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(30):
            while not clients.away:
                await streams.read(clients, dict.fromkeys(KEYS, 0))
        assert await streams.read(clients, {"one": 0}) is None
        await asyncio.to_thread(cache.set, "local", 1)
        assert loop.time() - began < 30  # one of them waited for a reply
    async with asyncio.timeout(30):
        while clients.away or await streams.read(clients, dict.fromkeys(KEYS, 0)) != {}:
            await clients.probe()
    assert await asyncio.to_thread(cache.get, "local") is None
    if missed:
        assert await soon(received) == MISSED
    assert await other.publish("topic", b"afterwards")
    assert await soon(received) == b"afterwards"
    await broker.aclose()
    await other.aclose()
    await clients.aclose()


@pytest.fixture(scope="module")
def replicated() -> Iterator[RedisCluster]:
    """A cluster whose primaries have a replica each: six processes."""
    _need(RedisCluster)
    with RedisCluster(replicas=1) as running:
        yield running


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="only in `make soak`; it takes six processes and their time-outs")
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_replica_takes_over(replicated: RedisCluster, fault: int) -> None:
    """A primary that is killed or frozen is replaced: commands and messages use the new one within five seconds."""
    clients = RedisClients(replicated.url, runtime().process)
    broker, other = (Broker(clients, uuid.uuid4().hex) for _process in range(2))
    received, _unsubscribe = subscribe(broker, "topic")
    assert await soon(received) == MISSED
    node = replicated.owner(PREFIX + "topic")
    node.signal(fault)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await clients.ask(lambda client: client.get(PREFIX + "topic"), b"away") == b"away"
    assert loop.time() - began < 2
    survivor = next(one for one in replicated.nodes if one is not node)
    await asyncio.to_thread(until, lambda: primary_of(survivor, PREFIX + "topic") != node.port)
    promoted = loop.time()
    async with asyncio.timeout(30):
        while not await clients.ask(ping, False):
            await clients.probe()
        assert await clients.ask(lambda client: client.get(PREFIX + "topic"), b"away") is None
        assert await soon(received) == MISSED
    assert loop.time() - promoted < 5
    assert await other.publish("topic", b"from the new primary")
    assert await soon(received) == b"from the new primary"
    await broker.aclose()
    await clients.aclose()
    node.signal(signal.SIGCONT)
    if fault == signal.SIGKILL:
        node.start()
    await asyncio.to_thread(replicated.wait_until_sound)


def primary_of(node: ClusterNode, key: str) -> int:
    """Return the port of the primary that has a key, as a node sees it."""
    with redis.Redis(port=node.port) as client:
        slots = client.execute_command("CLUSTER SLOTS")
    return next(primary[1] for first, last, primary, *_replicas in slots if first <= slot_of(key) <= last)
