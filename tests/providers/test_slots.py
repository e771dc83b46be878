"""The limit of a key over several processes, counted by Redis; each process keeps it alone without one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from django.conf import LazySettings

from providers import concurrency
from providers.concurrency import Slot
from runtime.apps import runtime
from tests.servers import Redis

KEY, LIMIT = 41, 3


@pytest.fixture(autouse=True)
async def shared(redis_server: Redis, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    settings.REDIS_URL = redis_server.url
    runtime().redis.succeeded()
    await runtime().redis.ask(lambda redis: redis.flushall(), None)
    yield
    await asyncio.gather(*concurrency._tasks)
    await runtime().redis.aclose()


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the count of this process always be zero: the others' attempts are not in it either."""
    monkeypatch.setattr(concurrency, "in_use", Counter())


async def taken(count: int) -> list[Slot]:
    found = await asyncio.gather(*(concurrency.take(KEY, LIMIT) for _ in range(count)))
    return [slot for slot in found if slot]


async def test_it_works(two_processes: None) -> None:
    """All processes together have no more attempts with a key than it takes, and an ended one makes room."""
    held = []
    for _process in range(4):
        concurrency.in_use.clear()
        held += await taken(2)
    assert len(held) == LIMIT
    concurrency.in_use[KEY] = LIMIT
    concurrency.leave(held[0])
    await asyncio.gather(*concurrency._tasks)
    concurrency.in_use.clear()
    assert len(await taken(5)) == 1
    assert {slot.shared for slot in held} == {True}


async def test_a_dead_process_gives_its_places_back(two_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places that nobody renews are free after their lease; renewed ones are not."""
    monkeypatch.setattr(concurrency, "LEASE_SECONDS", 1)
    await taken(LIMIT)
    for _turn in range(4):
        await asyncio.sleep(0.5)
        await concurrency.renew()
    concurrency.in_use.clear()
    assert await taken(1) == []
    await asyncio.sleep(2.1)
    assert len(await taken(LIMIT)) == LIMIT


async def test_without_redis(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis is away each process keeps the limit by itself, and nobody waits for it twice."""
    monkeypatch.setattr(concurrency, "in_use", Counter())
    redis_server.stop()
    try:
        started = asyncio.get_running_loop().time()
        assert len(await taken(10)) == LIMIT
        assert asyncio.get_running_loop().time() - started < 2
        assert runtime().redis.away
    finally:
        redis_server.start()


async def test_a_key_without_a_limit_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only limited keys cost a question to Redis."""
    monkeypatch.setattr(concurrency, "in_use", Counter())
    monkeypatch.setattr(runtime().redis, "_shared", lambda: pytest.fail("Redis was asked"))
    held = [await concurrency.take(KEY, None) for _ in range(10)]
    assert concurrency.in_use[KEY] == 10
    for slot in held:
        assert slot
        concurrency.leave(slot)
    assert concurrency.in_use[KEY] == 0
