"""What one user may have of each kind is bounded, with a clear refusal."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from accounts.models import MOST_API_TOKENS
from accounts.tickets import MOST_UNUSED
from chat.channels.store import MOST_CHANNELS
from chat.events.sse import MOST_STREAMS
from tests.product import ApiUser, Product


@pytest.fixture
def greedy(on_each: Product) -> ApiUser:
    """A user who takes all that there is."""
    return on_each.register(f"g{secrets.token_hex(5)}")


def at_once(api_user: ApiUser, requests: list[tuple[str, str, Any]]) -> list[httpx.Response]:
    """Send requests over ten connections; return the responses."""

    async def send() -> list[httpx.Response]:
        headers, limits = {"Authorization": f"Bearer {api_user.access}"}, httpx.Limits(max_connections=10)
        async with httpx.AsyncClient(
            base_url=api_user.product.url, headers=headers, limits=limits, timeout=120, trust_env=False, verify=False
        ) as client:
            return list(await asyncio.gather(*(client.request(way, path, json=body) for way, path, body in requests)))

    return asyncio.run(send())


def check(responses: list[httpx.Response], made: int, status: int, code: str) -> None:
    """Require that exactly `made` requests succeeded, and that the others were refused like this."""
    refused = [response for response in responses if not response.is_success]
    assert len(responses) - len(refused) == made
    assert {(response.status_code, response.json()["error"]["code"]) for response in refused} == {(status, code)}
    if status == 429:
        assert all(int(response.headers["Retry-After"]) > 0 for response in refused)


def test_api_tokens(greedy: ApiUser) -> None:
    """The 51st API token is a conflict, also when many are made at once; after a deletion there is room."""
    check(at_once(greedy, [("POST", "/api/tokens/", {"name": "x"})] * (MOST_API_TOKENS + 10)), 50, 409, "conflict")
    first = greedy.client.get("/api/tokens/").json()[0]["id"]
    assert greedy.client.delete(f"/api/tokens/{first}/").status_code == 204
    assert greedy.client.post("/api/tokens/", json={"name": "x"}).status_code == 201


def test_the_page_of_tokens_says_so(greedy: ApiUser) -> None:
    """The page shows the refusal at its form."""
    at_once(greedy, [("POST", "/api/tokens/", {"name": "x"})] * MOST_API_TOKENS)
    browser = greedy.product.browser(greedy.name)
    fields = {"name": "one more", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    page = browser.post("/accounts/tokens/", data=fields, headers={"Referer": greedy.product.url})
    assert page.status_code == 200
    assert "You have 50 API tokens" in page.text


def test_tickets(greedy: ApiUser) -> None:
    """The 101st unused ticket is refused for the 30 seconds of the others."""
    path = {"path": "/api/chat/"}
    check(at_once(greedy, [("POST", "/api/tickets/", path)] * (MOST_UNUSED + 10)), 100, 429, "too_many_requests")


def test_push_channels(greedy: ApiUser) -> None:
    """The 201st channel is refused; those that exist go on."""
    keys = [f"order-{number}" for number in range(MOST_CHANNELS + 10)]
    responses = at_once(greedy, [("GET", f"/sse/message/{key}/", None) for key in keys])
    check(responses, MOST_CHANNELS, 429, "too_many_requests")
    publisher, body = greedy.product.admin(), {"user": greedy.name, "data": "x"}
    refused = publisher.client.post("/api/channels/one-more/messages/", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")


def test_open_streams(tmp_path: Path) -> None:
    """The 101st stream is refused, before a generation starts; a closed one makes room."""
    with Product(tmp_path, MAX_ACTIVE_GENERATIONS="3") as product:
        fill_streams(product.register("greedy"))


def fill_streams(greedy: ApiUser) -> None:

    async def open_all() -> None:
        headers = {"Authorization": f"Bearer {greedy.access}"}
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(
                base_url=greedy.product.url, headers=headers, limits=limits, timeout=60, trust_env=False, verify=False
            ) as client,
            AsyncExitStack() as streams,
        ):
            for _stream in range(MOST_STREAMS - 1):
                opened = await streams.enter_async_context(client.stream("GET", "/sse/one/"))
                assert opened.status_code == 200
            async with client.stream("GET", "/sse/one/") as last:
                assert last.status_code == 200
                refused = await client.get("/sse/one/")
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
                body = {"model": "demo", "prompt": "Hello"}
                refused = await client.post("/api/chat/", json=body, headers={"Accept": "text/event-stream"})
                assert refused.status_code == 429
            while (
                again := await client.send(client.build_request("GET", "/sse/one/"), stream=True)
            ).status_code != 200:
                await again.aclose()
                await asyncio.sleep(0.05)
            await again.aclose()

    asyncio.run(open_all())
    assert greedy.quota()["used_today"] == 0
