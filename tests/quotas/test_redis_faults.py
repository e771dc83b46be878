"""Redis lost, spoilt, stopped and frozen under load: limits hold, and requests do not wait."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson
import pytest
import redis

from tests import servers
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.soak

SOAK = os.environ.get("SOAK") == "1"
# Seconds for which Redis is away, and the daily limit of each user.
AWAY_SECONDS, LIMIT = (30, 1_000) if SOAK else (3, 60)
PEOPLE = 3
NONSENSE = itertools.cycle([b"", b"nonsense", b'{"read_at": 1, "quotas": {}}', b'{"read_at": 9e99, "quotas": []}'])
FORGED = itertools.cycle([0, 999_999])
# Seconds for which a counter may show old figures.
OLD_SECONDS = 30
# Seconds to wait for Redis, and for a generation on a busy machine. In a short run, Redis is away for less than such a
# machine may stand still.
PATIENCE_SECONDS = 2 + 3 if SOAK else 40


@dataclass
class Redis:
    """A Redis of these tests' own, and its faults."""

    server: servers.Redis
    client: redis.Redis

    def flush(self) -> None:
        self.client.flushall()

    def spoil(self) -> None:
        """Replace every counter with an invalid value, each time of another kind."""
        for name in self.client.keys("rivulet:quota:*"):
            nonsense = next(NONSENSE)
            self.client.delete(name)
            if nonsense:
                self.client.set(name, nonsense)
            else:
                self.client.rpush(name, 1, 2)

    def forge(self) -> None:
        """Make fresh counters show that nothing was used, or far too much."""
        for name in self.client.keys("rivulet:quota:*"):
            used = next(FORGED)
            figures = {str(quota): {"used": used, "limit": LIMIT, "credits": 0} for quota in range(1, 5)}
            self.client.set(name, orjson.dumps({"read_at": int(time.time()), "quotas": figures}), ex=30)

    def stop(self) -> None:
        self.server.stop()
        time.sleep(AWAY_SECONDS)
        self.server.start()

    def freeze(self) -> None:
        self.server.signal(signal.SIGSTOP)
        time.sleep(AWAY_SECONDS)
        self.server.signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Redis]:
    if servers.Redis.missing():
        pytest.skip(servers.Redis.install)
    with servers.Redis() as server, redis.Redis.from_url(server.url) as client:
        yield Redis(server, client)


@pytest.fixture(scope="module")
def counted_product(
    own_redis: Redis, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    limits = {"DAILY_LIMIT_STANDARD": str(LIMIT), "REDIS_URL": own_redis.server.url}
    with Product(tmp_path_factory.mktemp("product"), **{**connected(upstream), **limits}) as running:
        yield running


@dataclass
class Life:
    """A user who sends prompts until refused, and then a few more."""

    api_user: ApiUser
    charged: int = 0
    refused: int = 0
    answered_after_a_refusal: int = 0
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0

    def go(self) -> None:
        for number in itertools.count():
            if self.refused == 10:
                return
            started = time.monotonic()
            # Every fourth generation fails and gives its unit back.
            model = "cut" if number % 4 == 3 else "plain"
            answer = self.api_user.client.post("/api/chat/", json={"model": model, "prompt": "Hello"})
            self.longest = max(self.longest, time.monotonic() - started)
            if answer.status_code == 202:
                self.charged += self.api_user.ended(answer.json()["generation"]["id"])["charge"]["amount"]
                self.answered_after_a_refusal += bool(self.refused)
            elif answer.status_code == 429 and answer.json()["error"]["code"] == "quota_exhausted":
                self.refused += 1
            else:
                self.wrong.append(answer.text)


def test_faults_cost_no_unit(counted_product: Product, own_redis: Redis) -> None:
    """Under load, no fault of Redis costs a unit, and figures are soon right."""
    lives = [Life(counted_product.register(f"p{number}")) for number in range(PEOPLE)]
    everybody_done = threading.Event()
    faults: list[Callable[[], None]] = [own_redis.flush, own_redis.spoil, own_redis.forge] * 2
    faults += [own_redis.stop, own_redis.freeze]

    def trouble() -> None:
        for fault in faults:
            time.sleep(0.2)
            fault()
            if everybody_done.is_set():
                return

    with ThreadPoolExecutor(PEOPLE + 1) as pool:
        troubled = pool.submit(trouble)
        list(pool.map(Life.go, lives))
        everybody_done.set()
        troubled.result()
    for life in lives:
        assert life.wrong == []
        assert (life.charged, life.answered_after_a_refusal) == (LIMIT, 0)
        assert life.longest < PATIENCE_SECONDS
        assert shown_within(OLD_SECONDS, life.api_user, used_today=LIMIT, remaining=0)
    assert "Traceback" not in counted_product.output


def shown_within(seconds: float, api_user: ApiUser, **figures: int) -> bool:
    """Return whether the user's quota shows these figures in time."""
    deadline = time.monotonic() + seconds + 1
    while not figures.items() <= api_user.quota().items():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


@pytest.mark.parametrize("fault", ["flush", "spoil"])
def test_shown_right_at_once(counted_product: Product, own_redis: Redis, fault: str) -> None:
    """After a flush or with invalid counters, the next two reads show the ledger's figures."""
    api_user = counted_product.register(f"looks-{fault}")
    api_user.answer("Hello", "plain")
    for _again in range(2):
        getattr(own_redis, fault)()
        assert [api_user.quota()["remaining"] for _look in range(2)] == [LIMIT - 1, LIMIT - 1]
    api_user.answer("Hello", "plain")
    assert api_user.quota()["remaining"] == LIMIT - 2


def test_logins_without_redis(counted_product: Product, own_redis: Redis) -> None:
    """With Redis frozen, then stopped, users sign up and log in without long waits."""
    own_redis.server.signal(signal.SIGSTOP)
    try:
        waits = [duration(lambda: counted_product.register("logs-in"))]
        own_redis.server.signal(signal.SIGCONT)
        own_redis.server.stop()
        waits.append(duration(lambda: counted_product.log_in("logs-in").raise_for_status()))
    finally:
        own_redis.server.start()
    assert max(waits) < PATIENCE_SECONDS


def duration(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def test_few_connections(counted_product: Product, own_redis: Redis) -> None:
    """Under any load, the process has at most five connections to Redis."""
    api_user = counted_product.register("many")

    def connections() -> int:
        return len([one for one in own_redis.client.client_list() if one["cmd"] != "client|list"])

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(api_user.answer, "Hello", "quick") for _stream in range(16)]
        seen = 0
        while not seen or not all(one.done() for one in asked):
            api_user.quota()
            counted_product.log_in("many")
            # One that was just closed may be listed until the server reads from it again.
            seen = max(seen, min(connections() for _look in range(3)))
    assert 1 <= seen <= 5
