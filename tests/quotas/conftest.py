"""Counters in a real Redis, with the serving loop in a thread of its own, as pages meet it."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from quotas import hints
from runtime.apps import runtime
from tests import servers


@dataclass(frozen=True)
class Counting:
    """Redis as the tests see it, and the loop on which the product speaks to it."""

    server: servers.Redis
    redis: redis.Redis
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Any) -> Any:
        """Await something on the serving loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def names(self) -> list[str]:
        return sorted(name.decode() for name in self.redis.keys("*"))


@pytest.fixture
def counting(redis_server: servers.Redis, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """An empty Redis that the product counts in."""
    own = redis.Redis.from_url(redis_server.url)
    own.flushall()
    settings.REDIS_URL = redis_server.url
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    monkeypatch.setattr(runtime().process, "loop", loop)
    fresh(monkeypatch)
    here = Counting(redis_server, own, loop)
    yield here
    here.run(_closed())
    loop.call_soon_threadsafe(loop.stop)
    serving.join()
    loop.close()
    own.close()
    forget()


async def _closed() -> None:
    """Let everything go that the product keeps open with Redis."""
    await runtime().broker.aclose()
    await runtime().redis.aclose()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this process has found out about Redis."""
    runtime().redis.succeeded()
    monkeypatch.setattr(runtime().redis, "_client", None)
    forget()


def forget() -> None:
    hints._untold.clear()
    hints._told.clear()
