"""Heads and bodies that drip are closed within 60 s, slow honest ones are read."""

import asyncio
from collections.abc import AsyncGenerator
from itertools import chain, repeat
from typing import Any

import pytest

from runtime import http
from tests.asgi import overlook_stalls, serving

Address = tuple[str, int]

# Seconds of the clocks in these tests, and between two pieces that a client sends.
CLOCK, PAUSE = 0.4, 0.05
# Bytes that a body must bring in each window of these tests.
WINDOW_BYTES = round(http.BODY_BYTES_A_SECOND * CLOCK)
# Seconds until such a connection must be closed: two windows, and some time for a busy machine.
CLOSED_SECONDS = 60.0

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
RESPONSE_BYTES = b"received:"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, then send its length; the path `/slow` waits for three clocks before."""
    received, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        received, more = received + len(message["body"]), message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * CLOCK)
    body = RESPONSE_BYTES + b"%d" % received
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def address(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Address, None]:
    """The address of a server with short clocks."""
    monkeypatch.setattr(http, "HEAD_SECONDS", CLOCK)
    monkeypatch.setattr(http, "BODY_WINDOW_SECONDS", CLOCK)
    async with serving(application) as address:
        yield address


async def drip(address: Address, *pieces: bytes, forever: bytes = b"") -> bytes:
    """Send the pieces with pauses, then `forever` again and again; return what was received until the end."""
    reader, writer = await asyncio.open_connection(*address)
    received = bytearray()

    async def send() -> None:
        for piece in chain(pieces, repeat(forever) if forever else ()):
            writer.write(piece)
            await asyncio.sleep(PAUSE)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(CLOSED_SECONDS):
            while data := await reader.read(65536):
                received += data
                if not forever and RESPONSE_BYTES in received:
                    break
    except ConnectionResetError:
        pass
    finally:
        sending.cancel()
        writer.close()
    return bytes(received)


# What is sent at first, the piece that follows for ever, and the responses that may come before the end.
DRIPS: dict[str, tuple[bytes, bytes, int]] = {
    "first head": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y", 0),
    "empty lines before the first head": (b"", b"\r\n", 0),
    "second head": (GET + b"GET / HTTP/1.1\r\nX: ", b"y", 1),
    "later head": (GET * 3 + b"GET / HTTP/1.1\r\nX: ", b"y", 3),
    "empty lines after a response": (GET, b"\r\n", 1),
    "body": (HEAD, b"y", 0),
    "body after a burst": (HEAD + b"y" * 90_000, b"y", 0),
    "body of a later request": (GET + HEAD, b"y", 1),
    "chunked body": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n", 0),
    "size of a chunk": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", 0),
}


@pytest.mark.parametrize("name", DRIPS)
async def test_what_drips_is_closed(address: Address, name: str) -> None:
    """A part of a request that comes byte by byte ends with its connection, wherever it stands."""
    first, forever, responses = DRIPS[name]
    received = await drip(address, first, forever=forever)
    assert received.count(RESPONSE_BYTES) == responses


async def test_a_silent_body_is_closed(address: Address) -> None:
    """A body of which nothing more comes ends with its connection."""
    assert await drip(address, HEAD) == b""


async def test_a_slow_body_above_the_rate_is_read(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that takes many windows, each with enough bytes, is read to its end."""
    overlook_stalls(monkeypatch, 2 * PAUSE)
    pieces = [b"y" * (WINDOW_BYTES // 2)] * 40
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % sum(map(len, pieces))
    assert RESPONSE_BYTES + b"%d" % sum(map(len, pieces)) in await drip(address, head, *pieces)


async def test_a_body_has_an_end(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that comes fast enough but never ends is closed too."""
    monkeypatch.setattr(http, "BODY_SECONDS", 2 * CLOCK)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (WINDOW_BYTES, b"y" * WINDOW_BYTES)
    assert await drip(address, head, forever=chunk) == b""


async def test_empty_lines_do_not_cut_a_response(address: Address) -> None:
    """Empty lines that some clients send after a body do not end a response that takes longer than a head may."""
    slow = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ny"
    assert RESPONSE_BYTES + b"1" in await drip(address, slow, b"\r\n")


async def test_an_idle_connection_may_be_used_again(address: Address) -> None:
    """A connection that is silent between two requests for longer than a head may take stays open."""
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(2):
        writer.write(GET)
        assert (await reader.readuntil(RESPONSE_BYTES + b"0")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(2 * CLOCK)
    writer.close()


def test_all_is_closed_within_60_seconds() -> None:
    """A head has its clock from the connection or its first byte on; a body is judged within two windows."""
    assert 2 * http.HEAD_SECONDS <= 60
    assert 2 * http.BODY_WINDOW_SECONDS <= 60
