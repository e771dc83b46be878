"""The delay of streams over real connections while words are compiled in the same process."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import screening as lists
from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.scenarios import ChatExchange
from tests.upstreams import FakeOpenAI

pytestmark = [pytest.mark.server, pytest.mark.soak, pytest.mark.alone]

SOAK = os.environ.get("SOAK") == "1"
WORDS = 50_000 if SOAK else 5_000
STREAMS = 5
TRIES = 5
# Deltas of each stream before a measurement: by then all streams run.
DELTAS_BEFORE = 10
# Seconds of measurement, enough deltas for a percentile.
LEAST_SECONDS = 0.5


class Clock(FakeOpenAI):
    """An upstream that sends the time fifty times a second without end."""

    async def handle(self, exchange: Any) -> None:
        chat: ChatExchange = exchange
        await chat.start()
        while True:
            await chat.delta(content=f"{time.monotonic():.6f} ")
            await asyncio.sleep(0.02)


class Reader:
    """Read streams of the clock; store the arrival and the delay of each delta."""

    def __init__(self) -> None:
        self.late: list[tuple[float, float]] = []
        self.ended = threading.Event()

    def read(self, api_user: ApiUser) -> None:
        # The prompt has no letters, because the long list has words in the usual ones ("is it").
        with api_user.asking("0", "plain") as events:
            for event in events:
                now = time.monotonic()
                if event.name == "message":
                    self.late += [(now, now - float(sent_at)) for sent_at in event.data["content"].split()]
                if self.ended.is_set():
                    return

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Stop all readers at the end, because the clocks never stop."""
        try:
            yield
        finally:
            self.ended.set()

    def p99(self, start: float, end: float) -> float:
        late = sorted(wait for came, wait in self.late if start <= came <= end)
        assert len(late) > 20
        return late[int(len(late) * 0.99)]


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    """A separate product, because its list is too long for other tests."""
    with Clock.in_thread() as clock, Product(tmp_path / "var", **connected(clock)) as running:
        yield running


def test_deltas_stay_punctual_while_words_are_compiled(product: Product) -> None:
    """A changed long list applies within two seconds and delays deltas by less than 20 ms."""
    staff, reader = product.admin(), Reader()
    listed = "\n".join(lists.words(WORDS))
    path = "/api/admin/sensitive-words/"
    headers = {"Content-Type": "text/plain"}
    taken = staff.client.post(f"{path}import/", content=listed.encode(), headers=headers, timeout=60)
    assert (taken.status_code, taken.json()["created"]) == (200, WORDS), taken.text
    row = staff.client.post(path, json={"word": "one more", "action": "mask"}).json()["id"]
    users = [product.register(f"reader{number}") for number in range(STREAMS)]
    results = []
    with ThreadPoolExecutor(STREAMS) as threads, reader.reading():
        running = [threads.submit(reader.read, user) for user in users]
        wait_until(lambda: len(reader.late) > STREAMS * DELTAS_BEFORE)
        for number in range(TRIES):
            idle = time.monotonic()
            time.sleep(LEAST_SECONDS)
            start = time.monotonic()
            assert staff.client.patch(f"{path}{row}/", json={"enabled": bool(number % 2)}).status_code == 200
            took = time.monotonic() - start
            time.sleep(max(0.0, LEAST_SECONDS - took))
            results.append((reader.p99(start, time.monotonic()), reader.p99(idle, start), took))
            if results[-1][0] < 0.02 and results[-1][2] < 2:
                break
    for reading in running:
        reading.result(30)
    print([tuple(round(figure * 1000, 1) for figure in result) for result in results])
    assert min(took for _late, _idle, took in results) < 2
    assert min(late - idle for late, idle, _took in results) < 0.02
