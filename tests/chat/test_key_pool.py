"""A pool with a dead key, a limited key and a good one, used by a hundred users at once."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

DEAD, LIMITED, GOOD = (f"sk-{name}-0123456789abcdef" for name in ("dead", "limited", "good"))


def ask_together(product: Product, tokens: list[str]) -> list[str]:
    """Ask once for each token at the same time; return the streams."""

    async def one(client: httpx.AsyncClient, token: str) -> str:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        body = {"model": "plain", "prompt": "Hello"}
        return (await client.post("/api/chat/", json=body, headers=headers)).text

    async def ask() -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=product.url, limits=limits, timeout=60, trust_env=False, verify=False
        ) as client:
            return list(await asyncio.gather(*(one(client, token) for token in tokens)))

    return asyncio.run(ask())


def statuses(staff: httpx.Client) -> list[str]:
    return sorted(key["status"] for key in staff.get("/api/admin/keys/").json())


def asked_again(api_user: ApiUser, upstream: FakeOpenAI) -> set[str | None]:
    """Ask once more; return the keys that were used so far."""
    api_user.answer("Hello", "plain")
    return {request.key for request in upstream.requests}


@pytest.mark.contract("refusal: model_unavailable")
def test_a_dead_key_is_quarantined_and_a_limited_one_returns(tmp_path: Path) -> None:
    """Every user gets a clean completion; the dead key is quarantined, the limited one returns after its rest."""
    with FakeOpenAI.in_thread() as upstream:
        upstream.keys.update({DEAD: "http_401", LIMITED: "http_429"})
        environment = {**connected(upstream), "OPENAI_API_KEYS": ",".join((DEAD, LIMITED, GOOD))}
        with Product(tmp_path, **environment) as product:
            people = [product.register(f"person{number}") for number in range(20)]
            streams = ask_together(product, [api_user.access for api_user in people] * 5)
            assert Counter("event: done" in stream for stream in streams) == {True: 100}
            assert all("event: error" not in stream and "retrying" not in stream for stream in streams)

            upstream.keys.pop(LIMITED)
            staff = product.admin().client
            wait_until(lambda: "quarantined" in statuses(staff))
            upstream.requests.clear()
            wait_until(lambda: LIMITED in asked_again(people[0], upstream))
            for _ in range(20):
                used = asked_again(people[0], upstream)
            assert used == {LIMITED, GOOD}
            assert statuses(staff) == ["ok", "ok", "quarantined"]
            for secret in (DEAD, LIMITED, GOOD):
                assert secret not in product.output
