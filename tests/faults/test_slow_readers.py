"""Readers who never read: they cost little memory, are let go, and resume."""

import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.product import Person, Product, connected, text_of
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
READERS, OFFERED_MIB, ALLOWED_MIB = 50, 100, 64
# An event is about 115 bytes; each reader is offered the same two megabytes.
DELTAS = OFFERED_MIB * 2**20 // READERS // 115

pytestmark = [pytest.mark.server, pytest.mark.soak]


def resident_mib(product: Product) -> float:
    status = Path(f"/proc/{product.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def silent_reader(person: Person, generation: str) -> socket.socket:
    """Ask for the events and never read them."""
    parts = urlsplit(person.product.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((parts.hostname, parts.port))
    head = f"GET /api/generations/{generation}/events/ HTTP/1.1\r\nHost: localhost\r\n"
    client.sendall(f"{head}Authorization: Bearer {person.access}\r\n\r\n".encode())
    return client


def test_it_works(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """50 readers who never read, offered 100 MB while it is written, cost less than 64 MiB; then they resume."""
    with Product(tmp_path, **connected(upstream, flood=f"long:{DELTAS}")) as product:
        person = product.register("alice")
        person.answer("Warm up", "quick")
        before = most = resident_mib(product)
        generation = person.ask("Much", "flood")["id"]
        readers = [silent_reader(person, generation) for _ in range(READERS)]
        until = time.monotonic() + (45 if SOAK else 3)
        while time.monotonic() < until or person.generation(generation)["status"] == "running":
            most = max(most, resident_mib(product))
            time.sleep(0.1)
        events = person.follow(generation)
        assert sum(len(event.data.get("content", "")) for event in events) > 0
        assert text_of(events) == person.generation(generation)["content"]
        if SOAK:  # half a minute later they are gone
            assert all(is_closed(reader) for reader in readers)
        for reader in readers:
            reader.close()
    print(f"memory grew by {most - before:.0f} MiB")
    assert most - before < ALLOWED_MIB, (before, most)


def is_closed(reader: socket.socket) -> bool:
    """Return whether the other side ended the connection in the middle of the body: what was buffered, then no more."""
    reader.settimeout(5)
    last = b""
    try:
        while data := reader.recv(65536):
            last = (last + data)[-5:]
    except ConnectionResetError:
        return True
    return last != b"0\r\n\r\n"
