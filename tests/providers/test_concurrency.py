"""The limit of a key over several processes, counted by Redis; without Redis each process keeps it alone.

Each `ConcurrencyLimits` stands for one process.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.concurrency import LEASE_SECONDS, ConcurrencyLimits, Slot, _name
from runtime import redis_clients
from runtime.apps import runtime
from runtime.redis_clients import RedisClients
from tests.servers import Redis

KEY, LIMIT = 41, 3
# Seconds that a busy machine may take for a reply.
PATIENCE_SECONDS = 20.0


@pytest.fixture
async def redis(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisClients]:
    """Clients that wait for Redis as long as a busy machine needs."""
    timeouts = dict.fromkeys(redis_clients._TIMEOUTS, PATIENCE_SECONDS)
    monkeypatch.setattr(redis_clients, "_TIMEOUTS", timeouts)
    monkeypatch.setattr(redis_clients, "REPLY_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(redis_clients, "AWAY_SECONDS", 3 * PATIENCE_SECONDS)
    clients = RedisClients(redis_server.url, runtime().process)
    await clients.ask(lambda redis: redis.flushall(), None)
    yield clients
    await clients.aclose()


async def acquire(limits: ConcurrencyLimits, count: int) -> list[Slot]:
    slots = await asyncio.gather(*(limits.acquire(KEY, LIMIT) for _ in range(count)))
    return [slot for slot in slots if slot]


async def test_all_processes_share_a_limit(redis: RedisClients) -> None:
    """All processes together have no more attempts with a key than it takes, and an ended one makes room."""
    processes = [ConcurrencyLimits(redis) for _ in range(4)]
    slots = [(process, slot) for process in processes for slot in await acquire(process, 2)]
    assert len(slots) == LIMIT
    assert {slot.shared for _process, slot in slots} == {True}
    process, slot = slots[0]
    for _repeated in range(2):
        process.release(slot)
    await process.tasks.wait()
    assert len(await acquire(processes[-1], 5)) == 1


async def let_pass(redis: RedisClients, seconds: float) -> None:
    """Bring the ends of all leases nearer, as when so much time has passed."""

    async def shift(client: Any) -> int:
        members = await client.zrange(_name(KEY), 0, -1)
        for member in members:
            await client.zincrby(_name(KEY), -seconds, member)
        return len(members)

    assert await redis.ask(shift, 0) == LIMIT


async def test_slots_of_a_dead_process_end(redis: RedisClients) -> None:
    """Slots that no process renews are free after their lease; renewed ones are not."""
    process, other = ConcurrencyLimits(redis), ConcurrencyLimits(redis)
    await acquire(process, LIMIT)
    for _turn in range(2):
        await let_pass(redis, LEASE_SECONDS / 2 + 1)
        assert await acquire(other, 1) == []
        await process.renew()
    await let_pass(redis, LEASE_SECONDS + 1)
    assert len(await acquire(other, LIMIT)) == LIMIT


async def test_each_process_keeps_the_limit_while_redis_is_away(redis: RedisClients, redis_server: Redis) -> None:
    """Attempts go on without Redis, and only the first of them waits for it."""
    redis_server.stop()
    try:
        started = asyncio.get_running_loop().time()
        assert len(await acquire(ConcurrencyLimits(redis), 10)) == LIMIT
        assert asyncio.get_running_loop().time() - started < 2 * PATIENCE_SECONDS
        assert redis.away
    finally:
        redis_server.start()


async def test_a_key_without_a_limit_does_not_ask_redis(redis: RedisClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only keys with `max_concurrency` cost a question to Redis."""
    monkeypatch.setattr(redis, "ask", lambda *_arguments: pytest.fail("Redis was asked"))
    limits = ConcurrencyLimits(redis)
    slots = [await limits.acquire(KEY, None) for _ in range(10)]
    assert limits.in_use[KEY] == 10
    for slot in slots:
        assert slot
        limits.release(slot)
    assert limits.in_use[KEY] == 0
