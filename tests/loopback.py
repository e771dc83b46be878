"""An HTTP/1.1 server on a loopback socket that records requests and can misbehave on purpose.

Subclasses in `tests.upstreams` define the responses. This module imports nothing of the product.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl


@dataclass
class Recorded:
    """One request as it arrived; times are `time.monotonic()`. `user` is the owner of a signed key."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    scenario: str = ""
    ended_at: float | None = None
    closed_by_peer_at: float | None = None
    user: str = ""

    def came_with(self, secret: str) -> bool:
        """Return whether this secret sent or signed the request."""
        return (self.user or self.key or "\n") in secret

    @property
    def key(self) -> str | None:
        """The bearer token, None without one."""
        value = self.headers.get("authorization")
        return value.removeprefix("Bearer ") if value is not None else None


@dataclass
class Exchange:
    """A scenario's request and connection, and how many calls its model name has had."""

    request: Recorded
    writer: asyncio.StreamWriter
    calls: int
    keep_alive: bool = True
    chunked: bool = field(default=False, init=False)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def respond(self, status: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        head = {"content-type": content_type, "content-length": str(len(body)), "x-request-id": "req-1", **headers}
        await self.raw(_head(status, head) + body)

    async def start(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        """Begin a chunked body; it is ended when the scenario returns."""
        self.chunked = True
        headers = {"content-type": content_type, "transfer-encoding": "chunked", "x-request-id": "req-1"}
        await self.raw(_head(200, headers))

    async def send(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    def reset(self) -> None:
        """Cut the connection with a RST."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.keep_alive = self.chunked = False

    def cut(self) -> None:
        """Close the connection without ending the body."""
        self.writer.close()
        self.keep_alive = self.chunked = False


class FakeServer:
    """An HTTP/1.1 server that passes requests to `handle` and records them in `requests`."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.requests: list[Recorded] = []
        self.probes: list[Recorded] = []
        self.connections = 0
        self.open_connections = 0
        self.open_streams = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def exchange(self, request: Recorded, writer: asyncio.StreamWriter, calls: int) -> Exchange:
        """Return the argument of `handle`; subclasses may extend it."""
        return Exchange(request, writer, calls)

    def is_probe(self, request: Recorded) -> bool:
        """Return whether a request is recorded in `probes` instead of `requests`."""
        return False

    async def handle(self, exchange: Exchange) -> None:
        """Respond to one request."""
        raise NotImplementedError

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            self._connected, "127.0.0.1", self.port, ssl=self._tls, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @classmethod
    @contextlib.contextmanager
    def in_thread(cls, port: int = 0) -> Iterator[Self]:
        """Serve from a thread with its own event loop, for tests that start the product as a process."""
        server, ready, loop = cls(port), threading.Event(), asyncio.new_event_loop()
        stopping = asyncio.Event()

        async def serve() -> None:
            async with server:
                ready.set()
                await stopping.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        if not ready.wait(60):
            raise RuntimeError("the fake upstream did not start")
        try:
            yield server
        finally:
            loop.call_soon_threadsafe(stopping.set)
            thread.join(60)
            loop.close()

    def _connected(self) -> asyncio.Protocol:
        return _Connection(self._accept, asyncio.StreamReader(limit=2**24))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function, because a coroutine's task would be asyncio's, which complains when it is cancelled.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            while await self._exchange(reader, writer):
                continue
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client is gone, which is for the test to judge by the record.
            return
        finally:
            self.open_connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        (self.probes if self.is_probe(request) else self.requests).append(request)
        model = request.body.get("model")
        calls = sum(other.body.get("model") == model for other in [*self.requests, *self.probes])
        exchange = self.exchange(request, writer, calls)
        running = asyncio.ensure_future(self.handle(exchange))
        connection = writer.transport.get_protocol()
        assert isinstance(connection, _Connection)
        connection.on_gone = running.cancel
        self.open_streams += 1
        try:
            await asyncio.wait({running})
            if running.cancelled():
                return False
            running.result()
            if exchange.chunked:
                await exchange.raw(b"0\r\n\r\n")
            request.ended_at = time.monotonic()
        finally:
            running.cancel()
            connection.on_gone = None
            self.open_streams -= 1
            if request.ended_at is None:
                request.closed_by_peer_at = connection.gone_at
        return exchange.keep_alive


class _Connection(asyncio.StreamReaderProtocol):
    """Notes the moment in which the other side closes, also while no task reads."""

    def __init__(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], reader: Any) -> None:
        super().__init__(reader, serve)
        self.gone_at: float | None = None
        self.on_gone: Callable[[], object] | None = None

    def eof_received(self) -> bool | None:
        self._gone()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        super().connection_lost(exc)

    def _gone(self) -> None:
        if self.gone_at is None:
            self.gone_at = time.monotonic()
            if self.on_gone is not None:
                self.on_gone()


async def _read_request(reader: asyncio.StreamReader) -> Recorded:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    is_form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    fields = dict(parse_qsl(body.decode())) if is_form else json.loads(body or b"{}")
    return Recorded(method, path, headers, fields, time.monotonic())


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()
