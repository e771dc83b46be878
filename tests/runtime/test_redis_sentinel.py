"""A primary, its replica and a real sentinel: the primary is killed, and the replica takes its place."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.core.cache import cache

from runtime.apps import runtime
from runtime.pubsub import MISSED, Broker
from runtime.redis_clients import RedisClients
from tests import servers
from tests.conftest import _need
from tests.redis_servers import Watched, be_patient, until
from tests.runtime.test_pubsub import soon, subscribe

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def running() -> Iterator[Watched]:
    _need(servers.Redis)
    with Watched() as running:
        yield running


@pytest.fixture
def watched(running: Watched, settings: Any) -> Iterator[Watched]:
    """The servers, which this process's clients and its cache use."""
    settings.REDIS_URL = running.url
    own = {"BACKEND": "runtime.cache.FallbackCache", "LOCATION": running.url, "KEY_PREFIX": "rivulet"}
    settings.CACHES = {"default": own}
    runtime().redis.succeeded()
    yield running
    cache._local.clear()
    cache._shared.client.do_close_clients()
    runtime().redis.succeeded()


async def test_a_write_to_a_former_primary_finds_the_new_one(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that sentinels have not closed yet is closed by the refusal."""
    be_patient(monkeypatch)
    clients = RedisClients(watched.url, runtime().process)
    assert await clients.ask(lambda client: client.set("a", 1), None) is True
    with redis.Redis(port=watched.primary.port) as primary:
        await asyncio.to_thread(primary.replicaof, "127.0.0.1", watched.replica.port)
        assert await clients.ask(lambda client: client.set("a", 2), None) is None
        assert clients.away
        await asyncio.to_thread(primary.replicaof, "NO", "ONE")
    await clients.probe()
    assert await clients.ask(lambda client: client.set("a", 3), None) is True
    await clients.aclose()


def test_a_killed_primary_is_replaced(watched: Watched) -> None:
    """Callers continue without Redis, then with the replica; subscribers look again and get messages from there."""
    asyncio.run(fail_over(watched))


async def fail_over(watched: Watched) -> None:
    clients = runtime().redis
    broker = Broker(clients, uuid.uuid4().hex)
    received, _unsubscribe = subscribe(broker, "topic")
    assert await soon(received) == MISSED
    assert await clients.ask(lambda client: client.set("a", 1), None) is True
    await asyncio.to_thread(cache.set, "shared", [1])
    with redis.Redis(port=watched.primary.port) as primary:
        assert primary.get("rivulet:1:shared") == b"[1]"
        assert primary.wait(1, 10_000) == 1
    watched.primary.kill()
    began = time.monotonic()
    assert await clients.ask(lambda client: client.get("a"), None) is None
    assert await asyncio.to_thread(cache.get, "shared") is None
    assert time.monotonic() - began < 30
    with redis.Redis(port=watched.replica.port) as replica:
        await asyncio.to_thread(until, lambda: replica.info("replication")["role"] == "master")
    async with asyncio.timeout(30):
        while await clients.ask(lambda client: client.get("a"), None) != b"1":
            await clients.probe()
        assert await asyncio.to_thread(cache.get, "shared") == [1]
        assert await soon(received) == MISSED
    assert await Broker(clients, uuid.uuid4().hex).publish("topic", b"from the new primary")
    assert await soon(received) == b"from the new primary"
    await broker.aclose()
    await clients.aclose()
