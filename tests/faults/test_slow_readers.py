"""Readers who never read cost little memory. That they are let go is shown in tests/runtime/test_http.py."""

import contextlib
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

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
    parts = urlsplit(api_user.product.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((parts.hostname, parts.port))
    head = f"GET /api/generations/{generation}/events/ HTTP/1.1\r\nHost: localhost\r\n"
    client.sendall(f"{head}Authorization: Bearer {api_user.access}\r\n\r\n".encode())
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
