"""HTTP with bounds: who takes nothing is let go, who takes slowly is not."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import uvicorn

from runtime import http
from runtime.serve import Server

BODY = b"x" * 8_000_000


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer with more than any socket buffers."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": BODY, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def address(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[str, int], None]:
    """Where the answer is served, with little patience."""
    monkeypatch.setattr(http, "STALLED_SECONDS", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(answer, http=http.BoundedProtocol, ws="none", lifespan="off", log_config=None)
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()
    server.should_exit = server.force_exit = True
    await serving


@contextlib.asynccontextmanager
async def asked(address: tuple[str, int]) -> AsyncGenerator[socket.socket, None]:
    """Ask with a small window, and read nothing yet."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.setblocking(False)
        await loop.sock_connect(client, address)
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        yield client


async def take(client: socket.socket, pause: float) -> int:
    """Read to the end, and return how much it was."""
    taken = 0
    with contextlib.suppress(ConnectionResetError):
        while data := await asyncio.get_running_loop().sock_recv(client, 32_768):
            taken += len(data)
            if taken >= len(BODY):
                break
            await asyncio.sleep(pause)
    return taken


async def test_a_reader_that_takes_nothing_is_let_go(address: tuple[str, int]) -> None:
    """Who takes nothing while something waits is let go, and does not get the rest."""
    async with asked(address) as client:
        await asyncio.sleep(1.5)
        assert await take(client, 0) < len(BODY)


async def test_slow_is_not_silent(address: tuple[str, int]) -> None:
    """Who takes a little again and again gets all of it, however long that takes."""
    async with asked(address) as client:
        assert await take(client, 0.02) >= len(BODY)
