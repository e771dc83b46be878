"""Counters in a real Redis, and one database for several processes."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from django.utils import timezone

from quotas import hints
from quotas.apps import quotas_app
from runtime import redis_clients
from runtime.apps import runtime
from tests import servers

# Seconds that a busy machine may take between two steps of a test.
PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class Counters:
    """Redis as the tests see it, and the loop on which the product uses it."""

    server: servers.Redis
    redis: redis.Redis
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Any) -> Any:
        """Await something on the serving loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(3 * PATIENCE_SECONDS)

    def key(self, user: Any) -> str:
        return hints.key(user.pk, timezone.now())

    def of(self, user: Any) -> dict[int, hints.Figures]:
        """Return the figures in a user's counter by quota id."""
        return self.run(quotas_app().hints.read(user.pk))

    def pass_a_moment(self) -> None:
        """Let Redis accept counters again, as when a change's empty value has expired."""
        self.redis.flushall()


@pytest.fixture
def counters(redis_server: servers.Redis, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counters]:
    """An empty Redis for the product's counters.

    No test gives up on it for its delay, and after a change it accepts no counter until `pass_a_moment`.
    """
    timeouts = dict.fromkeys(redis_clients._TIMEOUTS, PATIENCE_SECONDS)
    monkeypatch.setattr(redis_clients, "_TIMEOUTS", timeouts)
    monkeypatch.setattr(redis_clients, "REPLY_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(redis_clients, "AWAY_SECONDS", 3 * PATIENCE_SECONDS)
    monkeypatch.setattr(hints, "CHANGED_SECONDS", PATIENCE_SECONDS)
    own = redis.Redis.from_url(redis_server.url)
    own.flushall()
    settings.REDIS_URL = redis_server.url
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    monkeypatch.setattr(runtime().process, "loop", loop)
    runtime().redis.succeeded()
    monkeypatch.setattr(runtime().redis, "_client", None)
    here = Counters(redis_server, own, loop)
    yield here
    here.run(_closed())
    runtime().redis.succeeded()
    loop.call_soon_threadsafe(loop.stop)
    serving.join()
    loop.close()
    own.close()


async def _closed() -> None:
    """Close everything that the product keeps open with Redis."""
    await runtime().broker.aclose()
    await runtime().redis.aclose()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@pytest.fixture
def variables(database_url: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment of other processes that use the database of the test."""
    return servers.environment(database_url, tmp_path / "var")


@pytest.fixture
def here(database_url: str, django_db_blocker: Any) -> Iterator[None]:
    """Let the models of this process use the same database as the other processes."""
    with django_db_blocker.unblock(), servers.connected(database_url):
        yield
