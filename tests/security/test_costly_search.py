"""100 characters against a user's texts take 3 s at most and delay no other user.

The texts are the worst case of a substring search: the searched text fails at its last character, at every place. 120
MB with SOAK=1, else 24 MB.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from chat.models import Conversation, Message
from tests import servers
from tests.product import ApiUser, Product

MEGABYTES = 120 if os.environ.get("SOAK") else 24
TEXT = "a" * 1_000_000
LONGEST = "a" * 99 + "b"
SEARCH_SECONDS, PAGE_SECONDS = 3.0, 0.5

pytestmark = [pytest.mark.server, pytest.mark.alone, pytest.mark.soak]


@pytest.fixture(scope="module", params=["product", "on_postgresql"], ids=["sqlite", "postgresql"])
def attacker(request: pytest.FixtureRequest, django_db_blocker: Any) -> ApiUser:
    """A user with long texts, of a shared product on each database."""
    product: Product = request.getfixturevalue(request.param)
    api_user = product.register(f"costly{request.param_index}")
    user_id = api_user.client.get("/api/me/").json()["id"]
    with django_db_blocker.unblock(), servers.connected(product.database_url):
        conversation = Conversation.objects.create(user_id=user_id, title="needle")
        for _megabyte in range(MEGABYTES):
            Message.objects.create(conversation=conversation, role="user", content=TEXT)
    return api_user


def search(api_user: ApiUser, text: str) -> httpx.Response:
    return api_user.client.get("/api/conversations/", params={"search": text})


@pytest.fixture
def page_seconds(attacker: ApiUser) -> Iterator[list[float]]:
    """Seconds that another user's pages take, measured during the test."""
    seconds: list[float] = []
    other = attacker.product.register(f"other{time.monotonic_ns()}")
    browser = attacker.product.browser(other.name)
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            for read in (lambda: browser.get("/"), lambda: other.client.get("/api/conversations/")):
                started = time.monotonic()
                assert read().status_code == 200
                seconds.append(time.monotonic() - started)

    loading = threading.Thread(target=load)
    loading.start()
    yield seconds
    ended.set()
    loading.join()


def test_the_longest_search_is_bounded_and_delays_no_other_user(attacker: ApiUser, page_seconds: list[float]) -> None:
    """100 characters: 3 s at most, with a result or 503; other users' pages take less than 500 ms meanwhile."""
    started = time.monotonic()
    response = search(attacker, LONGEST)
    assert time.monotonic() - started < SEARCH_SECONDS
    assert response.status_code in {200, 503}
    if response.status_code == 503:
        assert response.json()["error"]["code"] == "service_unavailable"
        assert response.headers["Retry-After"]
    assert page_seconds
    assert max(page_seconds) < PAGE_SECONDS


def test_a_longer_text_is_refused(attacker: ApiUser) -> None:
    """More than 100 characters are 400, and the field is named; 100 of any script are not."""
    response = search(attacker, "字" * 101)
    assert (response.status_code, list(response.json()["error"]["details"])) == (400, ["search"])
    assert search(attacker, "字" * 100).status_code in {200, 503}


def test_many_searches_of_one_user_are_one_at_a_time(attacker: ApiUser, page_seconds: list[float]) -> None:
    """20 searches at once: only the newest goes on, the others are 429; no other user waits."""

    async def send() -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {attacker.access}"}
        async with httpx.AsyncClient(
            base_url=attacker.product.url, headers=headers, timeout=60, verify=False
        ) as client:
            gets = [client.get("/api/conversations/", params={"search": f"{LONGEST[n:]}"}) for n in range(20)]
            return list(await asyncio.gather(*gets))

    responses = asyncio.run(send())
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {200, 429, 503}
    refused = [response for response in responses if response.status_code == 429]
    assert len(refused) >= 10
    assert all(response.json()["error"]["code"] == "too_many_requests" for response in refused)
    assert all(response.headers["Retry-After"] == "1" for response in refused)
    assert max(page_seconds) < PAGE_SECONDS
    assert [row["title"] for row in search(attacker, "needle").json()["results"]] == ["needle"]
