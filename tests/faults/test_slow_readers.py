"""Readers who never read cost little memory. That they are let go is shown in tests/runtime/test_http.py."""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import servers
from tests.faults.pairs import started
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected, text_of
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

READERS, OFFERED_MIB, ALLOWED_MIB = 50, 100, 64
# An event is about 115 bytes.
DELTAS = OFFERED_MIB * 2**20 // READERS // 115

pytestmark = pytest.mark.server


def resident_mib(product: Product) -> float:
    status = Path(f"/proc/{product.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def silent_reader(api_user: ApiUser, generation: str) -> socket.socket:
    """Ask for the events and never read them."""
    return silent(api_user, f"GET /api/generations/{generation}/events/ HTTP/1.1\r\n\r\n")


def silent(api_user: ApiUser, request: str) -> socket.socket:
    """Send a request and never read its response."""
    parts = urlsplit(api_user.product.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((parts.hostname, parts.port))
    first, rest = request.split("\r\n", 1)
    client.sendall(f"{first}\r\nHost: localhost\r\nAuthorization: Bearer {api_user.access}\r\n{rest}".encode())
    return client


def test_silent_readers_cost_little_memory(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """50 readers who never read, offered 100 MB while it is written and after, cost less than 64 MiB."""
    with (
        Product(tmp_path, **connected(upstream, flood=f"long:{DELTAS}")) as product,
        contextlib.ExitStack() as readers,
    ):
        api_user = product.register("alice")
        api_user.answer("Warm up", "quick")
        before = most = resident_mib(product)
        generation = api_user.ask("Much", "flood")["id"]
        for _ in range(READERS // 2):
            readers.enter_context(silent_reader(api_user, generation))
        while api_user.generation(generation)["status"] == "running":
            most = max(most, resident_mib(product))
            time.sleep(0.1)
        for _ in range(READERS // 2):
            readers.enter_context(silent_reader(api_user, generation))
        until = time.monotonic() + 2
        while time.monotonic() < until:
            most = max(most, resident_mib(product))
            time.sleep(0.1)
        events = api_user.follow(generation)
        assert sum(len(event.data.get("content", "")) for event in events) > DELTAS * 4
        assert text_of(events) == api_user.generation(generation)["content"]
    assert most - before < ALLOWED_MIB, (before, most)


def test_snapshots(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """50 readers who never read cost no more where each is offered one `reset` of 3 MB: the events are gone."""
    variables = {**connected(upstream, large="large:100:10000"), "CHANNEL_RETENTION_SECONDS": "1"}
    with Product(tmp_path, **variables) as product, contextlib.ExitStack() as readers:
        api_user = product.register("alice")
        generation = api_user.answer("Much", "large")[0].data["generation"]
        wait_until(lambda: api_user.follow(generation)[0].name == "reset")
        before = most = resident_mib(product)
        for _ in range(READERS):
            readers.enter_context(silent_reader(api_user, generation))
        until = time.monotonic() + 4
        while time.monotonic() < until:
            most = max(most, resident_mib(product))
            time.sleep(0.1)
        assert len(text_of(api_user.follow(generation))) == 1_000_000
    assert most - before < ALLOWED_MIB, (before, most)


# --- one long completion that still grows -----------------------------------------------------------------------------

# Deltas and their characters (three bytes each in JSON): 3 MB in all, 10 MB in `make soak`.
SOAK = os.environ.get("SOAK") == "1"
GROWING = (280 if SOAK else 80, 12_500)
# Deltas that come with each silent reader, and seconds between two readers.
WITH_READER, JOIN_SECONDS = GROWING[0] // (READERS + 1), 0.05
# Memory that one silent reader may cost, in KiB, and what the measurement allows beside it, in MiB.
READER_KIB, BESIDE_MIB = 256, 12


def growing(upstream: FakeOpenAI) -> dict[str, str]:
    scenario = "growing:" + ":".join(map(str, GROWING))
    variables = connected(upstream, growing=scenario)
    return {**variables, "MAX_ANSWER_CHARS": "10000000", "CHANNEL_RETENTION_SECONDS": "1"}


def memory_mib(upstream: PausedUpstream, owner: ApiUser, at: ApiUser, request: str, readers: int) -> float:
    """Return the memory of a new process after a completion that silent readers joined while it grew.

    They come one by one, so that each misses another part of it. `request` may name the generation.
    """
    prompt = f"Much {secrets.token_hex(5)} {PAUSE}"
    generation = owner.ask(prompt, "growing")["id"]
    with contextlib.ExitStack() as sockets:
        # One reader in any case, so that a process elsewhere has a replica.
        sockets.enter_context(at.client.stream("GET", f"/api/generations/{generation}/events/"))
        for number in range(READERS):
            if number < readers:
                sockets.enter_context(silent(at, request.format(generation=generation)))
            upstream.go_on(prompt, WITH_READER)
            time.sleep(JOIN_SECONDS)
        assert owner.generation(generation)["status"] == "running"
        upstream.go_on(prompt, GROWING[0])
        wait_until(lambda: owner.generation(generation)["status"] != "running")
        # The least of some samples, because the product's own work needs the whole text more than once for a moment.
        samples = [resident_mib(at.product)]
        for _ in range(10):
            time.sleep(0.1)
            samples.append(resident_mib(at.product))
    return min(samples)


EVENTS = "GET /api/generations/{generation}/events/ HTTP/1.1\r\n\r\n"
CLASSIC = "GET /api/chatgpt/test?last_event_id={generation}:0 HTTP/1.1\r\nSec-Fetch-Site: none\r\n\r\n"


def memories_mib(upstream: PausedUpstream, measurements: Sequence[tuple[ApiUser, ApiUser, str, int]]) -> list[float]:
    """Return what `memory_mib` returns for each of these arguments; all wait at the same time."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(partial(memory_mib, upstream), *zip(*measurements, strict=True)))


@pytest.mark.soak
def test_silent_readers_of_a_growing_completion_share_it(tmp_path: Path, upstream: PausedUpstream) -> None:
    """50 silent readers of one completion of megabytes that still grows cost 256 KiB each at most."""
    with contextlib.ExitStack() as products:
        users = [
            products.enter_context(Product(tmp_path / name, **growing(upstream))).register("alice")
            for name in ("none", "events", "classic")
        ]
        readers = zip(users, users, (EVENTS, EVENTS, CLASSIC), (0, READERS, READERS), strict=True)
        none, *memory = memories_mib(upstream, list(readers))
    assert max(memory) - none < READERS * READER_KIB / 1024 + BESIDE_MIB, (none, memory)


@pytest.mark.soak
def test_silent_readers_of_a_replica_share_it(
    postgres: servers.Postgres, tmp_path: Path, upstream: PausedUpstream
) -> None:
    """The same holds in another process than the one that generates."""
    with contextlib.ExitStack() as pairs:
        none, memory = memories_mib(
            upstream,
            [
                (pair.alice, pair.alice_there, EVENTS, readers)
                for readers in (0, READERS)
                for pair in [pairs.enter_context(started(postgres, tmp_path / str(readers), **growing(upstream)))]
            ],
        )
    assert memory - none < READERS * READER_KIB / 1024 + BESIDE_MIB, (none, memory)
