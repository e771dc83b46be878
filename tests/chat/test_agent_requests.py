"""Requests as agents send them: a long system prompt, hundreds of tools, a photo."""

import base64
import secrets
import statistics
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.chat.programs import URL
from tests.product import Product, connected
from tests.upstreams import FakeOpenAI

# A vendor's usual time to a first delta.
FIRST_SECONDS = 0.3
LEAST_ROUNDS, MOST_ROUNDS, MOST_RATIO = 3, 5, 1.5

HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": ("You are careful. " * 4_000)[:60_000]}
PHOTO = "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff" + secrets.token_bytes(1_400_000)).decode()
ASKED = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PHOTO}}]}
PARAMETERS = {f"field_{number}": {"type": "string", "description": "A field."} for number in range(6)}
TOOLS = [
    {
        "type": "function",
        "function": {"name": f"tool_{number}", "parameters": {"type": "object", "properties": PARAMETERS}},
    }
    for number in range(200)
]


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with a model whose first delta takes a vendor's usual time."""
    offered = connected(upstream, usual=f"silent:{FIRST_SECONDS}")
    with Product(tmp_path_factory.mktemp("agents"), **offered) as running:
        yield running


def first_delta(client: httpx.Client, **body: Any) -> float:
    """Return the seconds until a streamed completion's first delta."""
    began = time.perf_counter()
    with client.stream("POST", URL, json={"model": "usual", "stream": True, **body}) as response:
        assert response.status_code == 200, response.read()
        next(line for line in response.iter_lines() if '"content":"' in line.replace('"content":""', ""))
        return time.perf_counter() - began


def ratio(times: list[tuple[float, float]]) -> float:
    """Return the median of the large requests as a multiple of the small ones."""
    small_median, large_median = (statistics.median(column) for column in zip(*times, strict=True))
    return large_median / small_median


@pytest.mark.server
@pytest.mark.alone
def test_large_requests_wait_little_longer_than_small_ones(product: Product, upstream: FakeOpenAI) -> None:
    """A 1.4 MB photo, 60,000 characters of instructions and 200 tools reach the vendor whole, and soon."""
    client = product.client(product.register("agent").access)
    large = {"messages": [SYSTEM, ASKED], "tools": TOOLS}
    times: list[tuple[float, float]] = []
    while len(times) < LEAST_ROUNDS or (len(times) < MOST_ROUNDS and ratio(times) > MOST_RATIO):
        times.append((first_delta(client, messages=[HELLO]), first_delta(client, **large)))
    assert ratio(times) <= MOST_RATIO, times
    sent = upstream.requests[-1].body
    assert (sent["messages"], sent["tools"]) == ([SYSTEM, ASKED], TOOLS)
