"""Readers that lose their connections at a random byte and resume with the last event id."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.product import ApiUser, Event, text_of

# Seconds until a reader tries again after a refusal or a failed connection.
RETRY_SECONDS = 0.2
PATIENCE_SECONDS = 90


@dataclass
class Reading:
    """The events that one reader received of one generation, over all its connections."""

    generation: str
    events: list[Event] = field(default_factory=list)
    connections: int = 0
    # The statuses of refusals, after each of which the reader has come back.
    refused: list[int] = field(default_factory=list)

    @property
    def last_id(self) -> str:
        return self.events[-1].id if self.events else ""

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1].name in {"done", "error"}

    @property
    def text(self) -> str:
        return text_of(self.events)

    def check(self) -> None:
        """Check that no event came twice, and that none is missing except before a `reset`."""
        for before, after in zip(self.events, self.events[1:], strict=False):
            if after.name == "reset":
                assert after.number >= before.number, (before, after)
            else:
                assert after.number == before.number + 1, (before, after)


async def read(
    url: str,
    token: str,
    generation: str,
    *,
    cuts: random.Random | None = None,
    most: int = 8,
    reading: Reading | None = None,
) -> Reading:
    """Follow a generation to its end over several connections; `cuts` ends up to `most` of them early.

    The events go to `reading`, if one is given.
    """
    reading = reading or Reading(generation)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reading.ended:
        assert time.monotonic() < deadline, f"{generation} did not end; last event {reading.last_id}"
        limit = cuts.randrange(2500) if cuts and reading.connections < most else None
        try:
            await _connect(url, token, reading, limit)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(RETRY_SECONDS)
    return reading


@contextmanager
def reading(url: str, api_user: ApiUser, generations: list[str]) -> Iterator[list[Reading]]:
    """Follow generations from another thread; the readings grow during the block, and are complete when it ends."""
    readings = [Reading(generation) for generation in generations]

    async def follow() -> None:
        await asyncio.gather(*(read(url, api_user.access, one.generation, reading=one) for one in readings))

    thread = threading.Thread(target=lambda: asyncio.run(follow()))
    thread.start()
    try:
        yield readings
    finally:
        thread.join()
    assert all(one.ended for one in readings)


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it is true, which is asked less and less often, because most questions are requests."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while not true():
        assert time.monotonic() < deadline
        time.sleep(pause)
        pause = min(1.3 * pause, 0.2)


def until_below(bound: float, delays: list[float], most: int = 20) -> Iterator[int]:
    """Yield numbers until the last of `delays` is below the bound: what a crowded machine adds is not ours."""
    for number in range(most):
        yield number
        if delays[-1] < bound:
            return


async def _connect(url: str, token: str, reading: Reading, limit: int | None) -> None:
    """Read one response, or its first `limit` bytes."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        head = [f"GET /api/generations/{reading.generation}/events/ HTTP/1.1", "Host: localhost"]
        head += [f"Authorization: Bearer {token}"]
        head += [f"Last-Event-ID: {reading.last_id}"] if reading.last_id else []
        writer.write("\r\n".join([*head, "", ""]).encode())
        head_of_response = await reader.readuntil(b"\r\n\r\n")
        status = int(head_of_response.split(b" ", 2)[1])
        reading.connections += 1
        assert status in {200, 204, 502, 503}, (reading.generation, head_of_response, await reader.read(1000))
        if status == 200:
            await _take(reader, reading, limit)
        else:
            reading.refused += [status] * (status >= 500)
            await asyncio.sleep(RETRY_SECONDS)
    finally:
        writer.transport.abort()


async def _take(reader: asyncio.StreamReader, reading: Reading, limit: int | None) -> None:
    rest, taken = b"", 0
    while size := int(await reader.readline() or b"0", 16):
        chunk = (await reader.readexactly(size + 2))[:-2]
        if limit is not None:
            chunk, cut = chunk[: limit - taken], taken + size >= limit
        *blocks, rest = (rest + chunk).split(b"\n\n")
        reading.events += [event for block in blocks if (event := _event(block.decode()))]
        taken += size
        if limit is not None and cut:
            return


def _event(block: str) -> Event | None:
    fields: dict[str, Any] = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    return Event(fields["id"], fields["event"], json.loads(fields["data"])) if "data" in fields else None
