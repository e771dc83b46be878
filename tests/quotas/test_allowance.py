"""The allowance over HTTP: three units a day, five credits, with Redis and without."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests import servers
from tests.product import PASSWORD, ApiUser, Product, connected, post_many
from tests.upstreams import FakeOpenAI


@pytest.fixture(scope="module", params=["sqlite", "postgresql and redis"])
def counted_product(
    request: pytest.FixtureRequest, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """A product with a daily limit of three and five credits for invited users."""
    limits = {**connected(upstream), "DAILY_LIMIT_STANDARD": "3", "INVITEE_CREDITS": "5"}
    database, folder = "", tmp_path_factory.mktemp("product")
    if request.param != "sqlite":
        postgres: servers.Postgres = request.getfixturevalue("postgres")
        database, limits["REDIS_URL"] = postgres.migrated_database(), request.getfixturevalue("redis_server").url
    with Product(folder, database, **limits) as running:
        yield running


def invited(product: Product, name: str) -> ApiUser:
    """Return a new invited user."""
    code = product.admin().client.get("/api/me/").json()["invite_code"]
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "invite_code": code}
    made = product.client().post("/api/auth/register/", json=body)
    assert made.status_code == 201, made.text
    return ApiUser(product, name, made.json()["access"], made.json()["refresh"])


def ask(api_user: ApiUser) -> httpx.Response:
    return api_user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})


def check_refused(answer: httpx.Response, resets_at: float, before: float) -> None:
    """Check a refusal's code, and its time to the next day, to the second."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exhausted")
    latest, earliest = (math.ceil(resets_at - moment) for moment in (before, time.time()))
    assert earliest <= int(answer.headers["Retry-After"]) <= latest
    assert "nvit" in answer.json()["error"]["message"]


def resets_at(api_user: ApiUser) -> float:
    return datetime.fromisoformat(api_user.quota()["resets_at"]).timestamp()


def charges(api_user: ApiUser, generations: list[dict[str, Any]]) -> Counter[tuple[int, str]]:
    ended = (api_user.ended(row["id"])["charge"] for row in generations)
    return Counter((charge["amount"], charge["source"]) for charge in ended)


def test_one_after_another(counted_product: Product) -> None:
    """Eight are accepted, the day's three before the credits; the ninth is refused repeatedly."""
    api_user = invited(counted_product, "alice")
    assert (api_user.quota()["daily_limit"], api_user.quota()["credits"], api_user.quota()["remaining"]) == (3, 5, 8)
    generations = []
    for left in reversed(range(8)):
        answer = ask(api_user)
        assert answer.status_code == 202, answer.text
        assert answer.headers["X-Quota-Remaining"] == str(left)
        generations.append(answer.json()["generation"])
        assert api_user.quota()["remaining"] == left
    assert charges(api_user, generations) == {(1, "daily"): 3, (1, "credit"): 5}
    for _again in range(3):
        before = time.time()
        check_refused(ask(api_user), resets_at(api_user), before)
    quota = api_user.quota()
    assert (quota["used_today"], quota["credits"], quota["remaining"]) == (3, 0, 0)


def test_fifty_in_parallel(counted_product: Product) -> None:
    """Of fifty at once, exactly eight are accepted; the others learn when to come back."""
    api_user = invited(counted_product, "bob")
    before, reset = time.time(), resets_at(api_user)
    answers = post_many(api_user, [({"model": "plain", "prompt": f"n{number}"}, {}) for number in range(50)])
    assert Counter(answer.status_code for answer in answers) == {202: 8, 429: 42}
    for answer in answers:
        if answer.status_code == 429:
            check_refused(answer, reset, before)
    generations = [answer.json()["generation"] for answer in answers if answer.status_code == 202]
    assert charges(api_user, generations) == {(1, "daily"): 3, (1, "credit"): 5}
    assert api_user.quota()["remaining"] == 0


def test_what_costs_nothing_comes_back(counted_product: Product) -> None:
    """A failed generation gives its unit back, and every route shows it at once."""
    api_user = invited(counted_product, "carol")
    for _again in range(10):
        event = api_user.answer("Hello", "cut")[-1]
        assert (event.name, event.data["charge"]["amount"]) == ("error", 0)
        assert api_user.quota()["remaining"] == 8
    done = api_user.answer("Hello", "plain")[-1].data
    assert done["quota"] == api_user.quota()
    assert done["quota"]["remaining"] == 7
