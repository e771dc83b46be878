"""Many at once: one key, one limit, one place; on both databases."""

import asyncio
import secrets
from collections import Counter
from pathlib import Path

from tests.product import PASSWORD, Product, connected, post_many
from tests.upstreams import FakeOpenAI


def test_one_key_fifty_times(database_url: str, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """50 parallel POSTs with one Idempotency-Key make one generation, one upstream call and one charge."""
    prompt = secrets.token_hex(8)
    with Product(tmp_path, database_url, **connected(upstream)) as product:
        person = product.register("alice")
        body = {"model": "quick", "prompt": prompt}
        answers = post_many(person, [(body, {"Idempotency-Key": "k"})] * 50)
        assert {answer.status_code for answer in answers} == {202}
        (generation,) = {answer.json()["generation"]["id"] for answer in answers}
        assert person.ended(generation)["charge"]["amount"] == 1
        assert person.quota()["used_today"] == 1
        assert len(upstream.asked(prompt)) == 1
        other = person.client.post("/api/chat/", json={**body, "prompt": "x"}, headers={"Idempotency-Key": "k"})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


def test_the_limit_is_exact(database_url: str, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """A limit of 10 under 200 parallel calls grants exactly 10; nobody sees a locked database."""
    environment = {**connected(upstream), "DAILY_LIMIT_STANDARD": "10"}
    with Product(tmp_path, database_url, **environment) as product:
        person = product.register("alice")
        answers = post_many(person, [({"model": "quick", "prompt": f"n{i}"}, {}) for i in range(200)])
        assert Counter(answer.status_code for answer in answers) == {202: 10, 429: 190}
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.json()["error"]["code"] for answer in refused} == {"quota_exhausted"}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        for answer in answers:
            if answer.status_code == 202:
                assert person.ended(answer.json()["generation"]["id"])["charge"]["amount"] == 1
        quota = person.quota()
        assert (quota["used_today"], quota["remaining"]) == (10, 0)
        assert "locked" not in product.output


def test_active_generations_are_bounded(database_url: str, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """With MAX_ACTIVE_GENERATIONS=3, exactly three of twenty parallel questions begin."""
    with Product(tmp_path, database_url, **connected(upstream), MAX_ACTIVE_GENERATIONS="3") as product:
        person = product.register("alice")
        answers = post_many(person, [({"model": "hang", "prompt": f"n{i}"}, {}) for i in range(20)])
        assert Counter(answer.status_code for answer in answers) == {202: 3, 429: 17}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"]["code"] == "too_many_requests"
        assert "Retry-After" in refused.headers
        for answer in answers:
            if answer.status_code == 202:
                person.stop(answer.json()["generation"]["id"])
        assert person.quota()["used_today"] == 0
        person.answer("Hello", "plain")


def test_two_setups_at_once(database_url: str, tmp_path: Path) -> None:
    """Several processes may set up one database at the same time."""
    product = Product(tmp_path, database_url, ADMIN_PASSWORD=PASSWORD)

    async def setups() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(lambda: product.manage("setup").returncode) for _ in range(3)))

    assert asyncio.run(setups()) == [0, 0, 0]
