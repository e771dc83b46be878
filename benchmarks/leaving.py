"""How soon an upstream's connection is closed after its caller has left, or has stopped the generation."""

import json
import re
import socket
import time
from collections.abc import Callable
from statistics import median

import httpx

from benchmarks.relays import Relay

# Measurements of which the median is taken, and seconds to wait for each.
TIMES, PATIENCE_SECONDS = 9, 5.0
_GENERATION = re.compile(rb'"generation":\s*"([0-9a-f]+)"')


def left(relay: Relay, bare: Relay, model: str) -> float:
    """Return the milliseconds until the upstream is closed after the caller has closed its connection."""
    return _median(relay, bare, model, lambda connection, _received: connection.close())


def stopped(relay: Relay, bare: Relay, model: str) -> float:
    """Return the same after a request to stop the generation."""
    address, headers = f"http://127.0.0.1:{relay.port}", {"Authorization": f"Bearer {relay.token}"}
    # Made before, because a client reads certificates for 20 ms.
    with httpx.Client(base_url=address, headers=headers, verify=False, timeout=10) as client:

        def stop(_connection: socket.socket, received: bytes) -> None:
            found = _GENERATION.search(received)
            assert found, received
            client.post(f"/api/generations/{found[1].decode()}/stop/").raise_for_status()

        return _median(relay, bare, model, stop)


def _median(relay: Relay, bare: Relay, model: str, leave: Callable[[socket.socket, bytes], None]) -> float:
    return round(median(_once(relay, bare, model, leave) for _turn in range(TIMES)), 2)


def _once(relay: Relay, bare: Relay, model: str, leave: Callable[[socket.socket, bytes], None]) -> float:
    body = relay.body(model).encode()
    with socket.create_connection(("127.0.0.1", relay.port), PATIENCE_SECONDS) as connection:
        connection.sendall(f"{relay.head()}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while not re.search(rb"t\d{9,} ", received):
            piece = connection.recv(65536)
            assert piece, received
            received += piece
        at = time.monotonic_ns()
        leave(connection, received)
        until = time.monotonic() + PATIENCE_SECONDS
        while (closed := _closed_at(bare)) < at:
            if time.monotonic() > until:
                raise SystemExit(f"{relay.name}: the upstream's connection stayed open")
            time.sleep(0.002)
        return (closed - at) / 1e6


def _closed_at(bare: Relay) -> int:
    """Return when a stream of the upstream was last cut off, in nanoseconds of the system's monotonic clock."""
    return int(json.loads(httpx.get(f"http://127.0.0.1:{bare.port}/closed", timeout=5).content))
