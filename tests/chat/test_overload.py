"""More deltas than a core carries: readers get larger pieces instead of waiting, and new prompts begin in turn."""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from benchmarks import relays
from benchmarks.relays import Relay
from tests.product import Product

SOAK = os.environ.get("SOAK") == "1"
# Streams, their deltas and milliseconds between two, new prompts a second, and how many streams a core carries easily.
STREAMS, DELTAS, PAUSE_MS, PROMPTS, EASY = (1000, 400, 20, 20, 100) if SOAK else (150, 200, 10, 10, 20)
LONGEST_GAP_SECONDS = 1.0
# Seconds within which the streams begin, so that gaps are those of running streams.
RAMP_SECONDS = STREAMS / 100
LONG, SHORT = f"paced-{DELTAS}-{PAUSE_MS}", "paced-3-0"
# Enough deltas for the rate of a core that has little to do.
BRIEF = LONG if SOAK else f"paced-{DELTAS // 2}-{PAUSE_MS}"
STAMP = re.compile(rb"t(\d{9,}) ")

pytestmark = [pytest.mark.alone, pytest.mark.soak, pytest.mark.timeout(600 if SOAK else 120)]


@pytest.fixture(scope="module", params=["embedded", pytest.param("redis", marks=pytest.mark.server)])
def relay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """The product in front of a fast upstream, with a user's token."""
    redis = {"REDIS_URL": request.getfixturevalue("redis_server").url} if request.param == "redis" else {}
    with relays.upstream() as bare:
        address = f"http://127.0.0.1:{bare.port}/v1"
        variables = {
            "OPENAI_BASE_URL": address,
            "OPENAI_MODELS": ",".join({LONG, BRIEF, SHORT}),
            "DAILY_LIMIT_STANDARD": "100000000",
        }
        with Product(tmp_path_factory.mktemp("overload"), **variables, **redis) as product:
            port = urlsplit(product.url).port or 0
            yield Relay("product", port, "/api/chat/", (product.pid,), product.register("busy").access, prompt=True)


@dataclass
class Reader:
    """One reader: the times of what it got, and when the upstream wrote it."""

    stamps: list[int] = field(default_factory=list)
    first: float = 0.0
    last: float = 0.0
    gap: float = 0.0
    ended: bool = False

    async def read(self, relay: Relay, model: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        body = relay.body(model).encode()
        writer.write(f"{relay.head()}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        tail = b""
        while not self.ended and (data := await reader.read(2**16)):
            tail = tail[-40:] + data
            self.ended = b"event: done" in tail
            if found := STAMP.findall(data):
                now = time.monotonic()
                self.gap = max(self.gap, now - self.last) if self.last else 0.0
                self.first, self.last = self.first or now, now
                self.stamps += map(int, found)
        writer.close()


async def stream(relay: Relay, model: str, count: int, seconds: float) -> list[Reader]:
    """Read so many streams to their ends; they begin within these seconds."""
    streams = [Reader() for _ in range(count)]

    async def begin(number: int) -> None:
        await asyncio.sleep(seconds * number / count)
        await streams[number].read(relay, model)

    await asyncio.gather(*map(begin, range(count)))
    return streams


async def ask(relay: Relay) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{relay.port}", timeout=60, verify=False) as client:
        token = {"Authorization": f"Bearer {relay.token}", "Accept": "text/event-stream"}
        return await client.post("/api/chat/", json={"model": SHORT, "prompt": "hi"}, headers=token)


async def ask_again_and_again(relay: Relay, until: asyncio.Event) -> list[httpx.Response]:
    asked = []
    while not until.is_set():
        asked.append(asyncio.create_task(ask(relay)))
        await asyncio.sleep(1 / PROMPTS)
    return await asyncio.gather(*asked)


def rate(streams: list[Reader]) -> float:
    """Return the deltas a second over all streams."""
    span = max(one.last for one in streams) - min(one.first for one in streams)
    return sum(len(one.stamps) for one in streams) / span


def test_overload(relay: Relay) -> None:
    """All streams stay complete, in order and smooth; they bring at least what a core carries, and prompts begin."""

    async def overload() -> tuple[list[Reader], list[Reader], list[httpx.Response]]:
        easy = await stream(relay, BRIEF, EASY, 0)
        over = asyncio.Event()
        asking = asyncio.create_task(ask_again_and_again(relay, over))
        streams = await stream(relay, LONG, STREAMS, RAMP_SECONDS)
        over.set()
        return easy, streams, await asking

    easy, streams, prompts = asyncio.run(overload())
    for one in streams:
        assert one.ended
        assert len(one.stamps) == DELTAS
        assert one.stamps == sorted(one.stamps)
    assert max(one.gap for one in streams) <= LONGEST_GAP_SECONDS
    assert rate(streams) >= rate(easy)
    assert {response.status_code for response in prompts} <= {200, 503}
    assert all("Retry-After" in response.headers for response in prompts if response.status_code == 503)
    assert any(response.status_code == 200 and "event: done" in response.text for response in prompts)
