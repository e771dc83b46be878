"""Many logins at once delay logins only."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import filling, servers
from tests.product import PASSWORD, ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
LOGINS, REQUESTS, P95_SECONDS = 40, 100, 0.5
# Requests that may wait in the product with a short queue.
QUEUE = 3

pytestmark = [pytest.mark.server, pytest.mark.soak]


@pytest.fixture
def hashing_product(
    tmp_path: Path, upstream: FakeOpenAI, request: pytest.FixtureRequest, django_db_blocker: Any
) -> Iterator[Product]:
    """A product that hashes passwords as in production, with a short queue of logins from one address.

    In the soak it has 100,000 users on PostgreSQL.
    """
    database = ""
    if SOAK:
        postgres: servers.Postgres = request.getfixturevalue("postgres")
        database = postgres.migrated_database()
        with django_db_blocker.unblock(), servers.connected(database):
            filling.fill(filling.Size(users=100_000, conversations=1_000, entries=1_000))
    variables = {"DJANGO_SETTINGS_MODULE": "chatproject.settings", **connected(upstream)}
    variables["IMPATIENCE"] = f"chatproject.asgi.MOST_LOGINS_OF_CLIENT={QUEUE}"
    with Product(tmp_path, database, **variables) as running:
        yield running


def log_in(product: Product, name: str, address: str = "10.0.0.1") -> httpx.Response:
    body = {"username": name, "password": PASSWORD}
    return httpx.post(
        f"{product.url}/api/auth/token/",
        json=body,
        headers={"X-Forwarded-For": address},
        timeout=120,
        trust_env=False,
        verify=False,
    )


def log_in_on_page(product: Product, name: str, address: str) -> httpx.Response:
    """Send the form of the login page as a browser does."""
    with httpx.Client(
        base_url=product.url, headers={"X-Forwarded-For": address}, timeout=120, trust_env=False, verify=False
    ) as page:
        page.get("/accounts/login/")
        fields = {"login": name, "password": PASSWORD, "csrfmiddlewaretoken": page.cookies["csrftoken"]}
        return page.post("/accounts/login/", data=fields, headers={"Referer": product.url})


def seconds_of(user: ApiUser, path: str) -> float:
    began = time.perf_counter()
    assert user.client.get(path).status_code == 200
    return time.perf_counter() - began


@pytest.mark.alone
def test_40_logins_at_once_do_not_delay_others(hashing_product: Product) -> None:
    """While 40 logins wait, the other requests of a user take less than 500 ms (p95)."""
    alice = hashing_product.register("alice")
    answered = threading.Event()

    def storm(number: int) -> int:
        # Half on the page, half through the API; known and unknown names.
        way = log_in_on_page if number % 2 else log_in
        status = way(hashing_product, "alice" if number % 4 < 2 else f"nobody{number}", f"10.0.1.{number}").status_code
        answered.set()
        return status

    with ThreadPoolExecutor(LOGINS) as threads:
        logins = [threads.submit(storm, number) for number in range(LOGINS)]
        assert answered.wait(60)
        taken = sorted(seconds_of(alice, "/api/me/" if number % 2 else "/api/models/") for number in range(REQUESTS))
        during = sum(not login.done() for login in logins)
        hashing_product.kill()
    assert during >= 1, "the logins ended before the measurement"
    p95 = taken[round(REQUESTS * 0.95) - 1]
    print(f"p95 beside {LOGINS} logins: {1000 * p95:.0f} ms")
    assert p95 < P95_SECONDS, taken


def test_more_logins_than_may_wait_are_refused(hashing_product: Product) -> None:
    """A login beyond the queue of its address gets 429 at once; another address is not affected."""
    hashing_product.register("alice")
    with ThreadPoolExecutor(LOGINS) as threads:
        logins = [threads.submit(log_in, hashing_product, "alice") for _ in range(12)]
        refused = [login.result() for login in logins if login.result().status_code != 200]
        accepted = len(logins) - len(refused)
    assert QUEUE <= accepted < len(logins)
    for response in refused:
        assert response.status_code == 429
        assert response.json()["error"]["code"] == "too_many_requests"
        assert int(response.headers["Retry-After"]) >= 1
