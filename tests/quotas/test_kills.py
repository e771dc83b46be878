"""`kill -9` at each point of a generation: figures are soon right, nothing paid twice."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from accounts.models import User
from chat.models import Generation
from quotas.models import DailyUsage, Quota, Reservation
from tests import servers
from tests.product import ApiUser, Product, connected
from tests.quotas import consistency
from tests.upstreams import FakeOpenAI

pytestmark = [pytest.mark.server, pytest.mark.soak]

SOAK = os.environ.get("SOAK") == "1"
# The point at which a process dies, the model of the prompt, and the charge of its generation.
POINTS = [
    ("before the reservation commits", "quick", 0),
    ("after the reservation commits", "quick", 0),
    ("before the counter follows the reservation", "quick", 0),
    ("before the upstream call", "quick", 0),
    ("mid-answer", "quick", 0),
    ("before settle", "quick", 0),
    ("after settle", "quick", 1),
    ("before the counter follows the end", "quick", 1),
    # The unit is given back, and nothing deletes the counter: it expires after half a minute.
    *([("before the counter follows the end", "cut", 0)] if SOAK else []),
]
RIGHT_WITHIN_SECONDS = 60
LIMIT = 10


@pytest.fixture(params=["sqlite", "postgresql"] if SOAK else ["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return servers.migrated_sqlite(tmp_path)
    return str(request.getfixturevalue("postgres").migrated_database())


@dataclass
class Lives:
    """One product that starts repeatedly, and a user who sends a prompt each time."""

    product: Product
    charged: int = 0
    api_user: ApiUser | None = None

    def live(self, point: str, model: str, cost: int) -> None:
        """Start a process that will die, check the state, send a prompt, and wait."""
        self.product.serve("-m", "tests.quotas.dying_server", point)
        self.api_user = self.api_user or self.product.register("alice")
        self.check()
        key = f"{point} {model}"
        body = {"model": model, "prompt": "Hello"}
        with suppress(httpx.TransportError):  # it died before it could answer
            self.api_user.client.post("/api/chat/", json=body, headers={"Idempotency-Key": key})
        self.product.wait_for_death()
        self.charged += cost

    def check(self) -> None:
        """Wait until all is settled; the ledger and the figures shown must be the same."""
        deadline = time.monotonic() + RIGHT_WITHIN_SECONDS
        while Reservation.objects.filter(status="reserved").exists() or Generation.objects.running().exists():
            assert time.monotonic() < deadline, "still reserved"
            time.sleep(0.1)
        assert self.api_user
        user, quota = User.objects.get(username="alice"), Quota.objects.get(slug="standard")
        consistency.check(user.pk, quota.pk)
        used = sum(DailyUsage.objects.values_list("used", flat=True))
        assert used == self.charged
        while (shown := self.api_user.quota())["used_today"] != used:
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        assert shown["remaining"] == LIMIT - used


@pytest.fixture
def lives(
    url: str, tmp_path: Path, upstream: FakeOpenAI, redis_server: servers.Redis, django_db_blocker: Any
) -> Iterator[Lives]:
    limits = {"DAILY_LIMIT_STANDARD": str(LIMIT), "PROCESS_LEASE_SECONDS": "2", "REDIS_URL": redis_server.url}
    product = Product(tmp_path / "var", url, **{**connected(upstream), **limits})
    with (
        closing(product.set_up()),
        redis.Redis.from_url(redis_server.url) as client,
        django_db_blocker.unblock(),
        servers.connected(url),
    ):
        client.flushall()
        yield Lives(product)


@pytest.mark.contract("a killed process's reservations", "setting: PROCESS_LEASE_SECONDS")
def test_killed_at_any_point(lives: Lives) -> None:
    """No unit stays reserved or gets lost, and no key is paid for twice."""
    for point in POINTS:
        lives.live(*point)
    lives.product.start()
    lives.check()
    assert lives.api_user
    for point, model, cost in POINTS:
        again = lives.api_user.ask("Hello", model, key=f"{point} {model}")
        ended = lives.api_user.ended(again["id"])
        # Nothing was stored under the first key, so this is its first generation; the others are as they ended.
        first = point == "before the reservation commits"
        assert ended["charge"]["amount"] == (1 if first else cost)
        assert ended["status"] == ("completed" if first or cost else "failed" if model == "cut" else "interrupted")
    lives.charged += 1
    lives.check()
