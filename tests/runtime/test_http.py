"""HTTP with limits: a client that stops reading is disconnected, a slow one is not."""

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from runtime import http
from tests.asgi import overlook_stalls, serving

BODY = b"x" * 8_000_000
# Seconds between two reads of a slow client.
PAUSE = 0.02


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Respond with more bytes than the sockets buffer; end when they were read or the client is gone."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": BODY, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STALLED_SECONDS", 0.3)


@contextlib.asynccontextmanager
async def requested(address: tuple[str, int]) -> AsyncGenerator[socket.socket, None]:
    """Send a request from a client with a small receive buffer that reads nothing yet."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.setblocking(False)
        await loop.sock_connect(client, address)
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        yield client


async def read_to_end(client: socket.socket, pause: float) -> int:
    """Read to the end; return the number of bytes."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := await asyncio.get_running_loop().sock_recv(client, 32_768):
            count += len(data)
            if count >= len(BODY):
                break
            await asyncio.sleep(pause)
    return count


@pytest.mark.usefixtures("hurried")
async def test_a_client_that_reads_nothing_is_disconnected() -> None:
    """A client that reads nothing while bytes wait is disconnected and gets no more."""
    ended = asyncio.Event()

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        await application(scope, receive, send)
        ended.set()

    async with serving(noted) as address, requested(address) as client:
        await asyncio.wait_for(ended.wait(), 60)
        assert await read_to_end(client, 0) < len(BODY)


@pytest.mark.usefixtures("hurried")
async def test_a_slow_client_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads a little again and again gets all bytes, however long that takes."""
    overlook_stalls(monkeypatch, 2 * PAUSE)
    async with serving(application) as address, requested(address) as client:
        assert await read_to_end(client, PAUSE) >= len(BODY)


async def test_direct_writes_stop_where_the_client_is_behind() -> None:
    """Pieces go out past the application's task, in order with its own, until the client reads no more."""
    ready: list[bool] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        writer = scope["extensions"][http.DIRECT]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begin ", "more_body": True})
        writer.write(b"direct ")
        await asyncio.sleep(0)  # they are sent at the end of the loop's turn
        await send({"type": "http.response.body", "body": b"end ", "more_body": True})
        while writer.ready:  # within one turn of the loop
            writer.write(b"y" * 65_536)
        ready.append(writer.ready)
        await send({"type": "http.response.body", "body": b"last"})

    async with serving(stream) as address, requested(address) as client:
        while not ready:
            await asyncio.sleep(0.01)
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += await asyncio.get_running_loop().sock_recv(client, 2**20)
    body = received.partition(b"\r\n\r\n")[2]
    assert body.startswith(b"6\r\nbegin \r\n7\r\ndirect \r\n4\r\nend \r\n10000\r\ny")
    assert body.endswith(b"4\r\nlast\r\n0\r\n\r\n")


async def test_a_head_comes_with_the_beginning_of_its_body() -> None:
    """It waits for the body and is sent in one piece with it; the head that asks for the rest of a request does not."""
    goes_on, begun = asyncio.Event(), asyncio.Event()

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        if scope["path"] == "/slow":
            begun.set()
            await goes_on.wait()
        await send({"type": "http.response.body", "body": b"body"})

    async with serving(respond) as (host, port):
        slow, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        first = asyncio.create_task(slow.read(65_536))
        await begun.wait()
        other, other_writer = await asyncio.open_connection(host, port)
        other_writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await other.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        other_writer.write(b"{}")
        assert (await other.readuntil(b"body")).startswith(b"HTTP/1.1 200 ")
        assert not first.done()
        goes_on.set()
        assert (await first).endswith(b"\r\n\r\nbody")
        writer.close()
        other_writer.close()


async def test_a_connection_that_was_reset_keeps_nothing() -> None:
    """A client that resets its connection after a response leaves nothing of it in memory."""
    loop, behind = asyncio.get_running_loop(), []

    def connections() -> int:
        # Of its type and not by isinstance, which would ask the lazy objects of other tests for what they stand for.
        return sum(issubclass(type(each), http.BoundedProtocol) for each in gc.get_objects())

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        behind.append(connections())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    before = connections()
    async with serving(respond, timeout_keep_alive=600) as address:
        for _client in range(3):
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, address)
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                while not (await loop.sock_recv(client, 1024)).endswith(b"ok"):
                    pass
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with asyncio.timeout(60):
            while connections() > before:
                await asyncio.sleep(0.01)
    assert max(behind) > before
