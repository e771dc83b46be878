"""From the invitation to its reward, over HTTP: what the invited and their inviters see, on both databases."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.product import PASSWORD, ApiUser, Product, connected
from tests.upstreams import FakeOpenAI


def invite(inviter: ApiUser, name: str) -> ApiUser:
    """Let a new user register by the inviter's code."""
    code = inviter.client.get("/api/me/").json()["invite_code"]
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "invite_code": code}
    made = inviter.product.client().post("/api/auth/register/", json=body)
    assert made.status_code == 201, made.text
    return ApiUser(inviter.product, name, made.json()["access"], made.json()["refresh"])


def invitations(api_user: ApiUser) -> dict[str, Any]:
    answer = api_user.client.get("/api/invitations/")
    assert answer.status_code == 200
    return dict(answer.json())


def ledger(api_user: ApiUser) -> list[tuple[int, str, str]]:
    rows = api_user.client.get("/api/quotas/ledger/").json()["results"]
    return [(row["amount"], row["source"], row["reason"]) for row in rows]


def test_only_the_first_charged_answer_earns(product: Product, api_user: ApiUser) -> None:
    """Failed and empty answers earn the inviter nothing, the first charged one does, and no later one."""
    friend = invite(api_user, f"{api_user.name}-friend")
    assert friend.quota()["credits"] == 5
    assert ledger(friend) == [(5, "credit", "invited")]
    for model in ("empty", "error", "http-400"):
        friend.answer(model=model)
    before = invitations(api_user)
    assert [row["credited"] for row in before["invited"]] == [False]
    assert (before["pending"], before["earned"], api_user.quota()["credits"]) == (10, 0, 0)
    for _ in range(2):
        assert friend.answer(model="plain")[-1].data["charge"]["amount"] == 1
        after = invitations(api_user)
        assert [(row["username"], row["credited"]) for row in after["invited"]] == [(friend.name, True)]
        assert (after["pending"], after["earned"], api_user.quota()["credits"]) == (0, 10, 10)
    assert ledger(api_user) == [(10, "credit", "inviter")]


@pytest.fixture(params=["sqlite", "postgresql and redis"])
def wide(request: pytest.FixtureRequest, upstream: FakeOpenAI, tmp_path: Path) -> Iterator[Product]:
    """A product, small and scaled out."""
    if request.param == "sqlite":
        yield request.getfixturevalue("product")
        return
    database, redis_url = (
        request.getfixturevalue("postgres").migrated_database(),
        request.getfixturevalue("redis_server").url,
    )
    with redis.Redis.from_url(redis_url) as empty:
        empty.flushall()
    with Product(tmp_path, database, REDIS_URL=redis_url, **connected(upstream)) as product:
        yield product


@pytest.mark.server
def test_many_hands(wide: Product) -> None:
    """Twenty first answers at once earn the inviter once; one code sent by many at once brings one its credits."""
    alice = wide.register(f"p{secrets.token_hex(5)}")
    bob = invite(alice, f"{alice.name}-bob")
    generations = asyncio.run(_ask(bob, 20))
    assert {bob.ended(generation)["charge"]["amount"] for generation in generations} == {1}
    assert (invitations(alice)["earned"], alice.quota()["credits"]) == (10, 10)
    day = bob.client.get("/api/quotas/usage/").json()
    assert [(row["model"], row["answers"]) for row in day] == [("quick", 20)]

    order = {"quota": "standard", "credits": 7, "count": 1}
    (code,) = wide.admin().client.post("/api/admin/redeem-codes/", json=order).json()["codes"]
    people = [alice, bob, wide.register(f"{alice.name}-carol")]
    before = sum(api_user.quota()["credits"] for api_user in people)
    assert sorted(asyncio.run(_redeem(people, code))) == [200] + [400] * 23
    assert sum(api_user.quota()["credits"] for api_user in people) == before + 7


async def _ask(api_user: ApiUser, count: int) -> list[str]:
    headers = {"Authorization": f"Bearer {api_user.access}"}
    async with httpx.AsyncClient(
        base_url=api_user.product.url, headers=headers, timeout=60, trust_env=False, verify=False
    ) as client:
        body = {"model": "quick", "prompt": "Hello"}
        answers = await asyncio.gather(*(client.post("/api/chat/", json=body) for _ in range(count)))
    return [answer.json()["generation"]["id"] for answer in answers]


async def _redeem(people: list[ApiUser], code: str) -> list[int]:
    async with httpx.AsyncClient(base_url=people[0].product.url, timeout=60, trust_env=False, verify=False) as client:
        posts = [
            client.post("/api/redeem/", json={"code": code}, headers={"Authorization": f"Bearer {api_user.access}"})
            for api_user in people * 8
        ]
        answers = await asyncio.gather(*posts)
    refused = {answer.json()["error"]["code"] for answer in answers if answer.status_code != 200}
    assert refused == {"invalid_code"}
    return [answer.status_code for answer in answers]
