"""The cache on Redis, its fallback to memory, and the login limits that use it."""

import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.test import Client

from runtime import redis_clients
from runtime.apps import runtime
from tests import servers
from tests.readers import wait_until
from tests.redis_servers import be_patient


@pytest.fixture
def own_redis(
    redis_server: servers.Redis, settings: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[servers.Redis]:
    """An empty Redis for the cache, configured as in `chatproject.settings`."""
    if "fault" not in request.fixturenames:
        be_patient(monkeypatch)
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    settings.REDIS_URL = redis_server.url
    own = {"BACKEND": "runtime.cache.FallbackCache", "LOCATION": redis_server.url, "KEY_PREFIX": "rivulet"}
    settings.CACHES = {"default": own}
    runtime().redis.succeeded()
    yield redis_server
    redis_server.signal(signal.SIGCONT)
    cache._local.clear()
    cache._shared.client.do_close_clients()


def test_values_are_in_redis_as_json(own_redis: servers.Redis) -> None:
    """A value is stored in Redis as JSON, for all processes."""
    cache.set("a", [1.5, 2.5], 60)
    assert cache.get("a") == [1.5, 2.5]
    assert cache.add("a", 1) is False
    assert cache.add("b", 1) is True
    assert cache.incr("b") == 2
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("rivulet:1:a") == b"[1.5, 2.5]"
    assert cache.delete("a") is True
    assert cache.get("a", "none") == "none"
    assert cache.has_key("b") is True
    assert cache.touch("b", 5) is True


def test_clear_deletes_only_the_caches_keys(own_redis: servers.Redis) -> None:
    """Clearing the cache deletes no key of another part of the product."""
    cache.set("a", 1)
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("rivulet:quota:1:1:2026-11-21", 1)
        cache.clear()
        assert client.keys("*") == [b"rivulet:quota:1:1:2026-11-21"]


def test_values_of_other_programs_count_as_missing(own_redis: servers.Redis) -> None:
    """A value that another program wrote counts as missing, and is not an error."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("rivulet:1:a", b"\x80\x04 no json")
        client.rpush("rivulet:1:b", 1)
    assert (cache.get("a"), cache.get("b", 7)) == (None, 7)
    assert not runtime().redis.away


def stop(server: servers.Redis) -> None:
    server.stop()


def freeze(server: servers.Redis) -> None:
    server.signal(signal.SIGSTOP)


@pytest.mark.parametrize("fault", [stop, freeze])
def test_the_process_counts_alone_without_redis(
    own_redis: servers.Redis, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Redis the process uses its own memory after one short wait; then Redis again."""
    now, waits = [1_000.0], list[BaseException]()
    failed = runtime().redis.failed

    def noted(error: BaseException) -> None:
        waits.append(error)
        failed(error)

    def is_shared() -> bool:
        """Ask once the time without Redis is over, which passes at once here."""
        now[0] += redis_clients.AWAY_SECONDS
        return bool(cache.get("a") == (None if fault is stop else "shared"))

    monkeypatch.setattr(redis_clients, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("rivulet:1:a", '"shared"')
    monkeypatch.setattr(runtime().redis, "failed", noted)
    fault(own_redis)
    assert cache.add("lock", 1) is True
    assert cache.add("lock", 1) is False
    assert cache.get("a") is None
    cache.set("a", "local")
    assert cache.get("a") == "local"
    assert len(waits) == 1
    own_redis.signal(signal.SIGCONT)
    if fault is stop:
        own_redis.start()
    wait_until(is_shared)


@pytest.mark.django_db
@pytest.mark.parametrize("away", [False, True])
def test_failed_logins_are_limited_with_and_without_redis(own_redis: servers.Redis, alice: Any, away: bool) -> None:
    """After five wrong passwords a client waits before it tries that name again, with Redis and without."""
    if away:
        own_redis.stop()

    def log_in(password: str) -> int:
        body = {"username": "alice", "password": password}
        return int(Client().post("/api/auth/token/", body, "application/json").status_code)

    try:
        assert log_in("correct horse battery staple") == 200
        assert [log_in("wrong") for _guess in range(6)] == [401] * 5 + [429]
    finally:
        if away:
            own_redis.start()
