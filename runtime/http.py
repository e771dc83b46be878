"""uvicorn's HTTP/1.1 protocol with limits for slow requests and readers."""

import asyncio
import fcntl
import sys
import termios
from functools import lru_cache
from typing import Any, Literal

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import is_ssl

from runtime.tasks import Flag

Part = Literal["head", "body"]

# The name in a scope's extensions under which event streams find their `DirectWriter`.
DIRECT = "rivulet.direct"
# The name in a scope's extensions that a trusted proxy is the sender.
PROXIED = "rivulet.proxied"
# The header with which nginx asks another process; sent only to a trusted proxy that sent the other one.
ANOTHER_PROCESS, MAY_ASK_ANOTHER = "X-Accel-Redirect", b"x-rivulet-another"
# Addresses of senders for which it is remembered whether they are trusted proxies.
MOST_SENDERS = 1_000
# Bytes of a request's head; a longer head is refused with 431.
MAX_HEAD_BYTES = 64 * 1024
# Seconds for a request's head, for the first one from the connection on; then the connection is closed.
HEAD_SECONDS = 30.0
# Bytes a second that a body must bring in each window of this many seconds; else the connection is closed. A burst
# counts for its own window only, so a body that stops is closed within two windows.
BODY_BYTES_A_SECOND, BODY_WINDOW_SECONDS = 8 * 1024, 25.0
# Seconds for a whole body, however fast it comes.
BODY_SECONDS = 600.0
# Writes of one turn of the loop that wait for each other, and the bytes of one that waits for no other.
MOST_WRITES, LARGE_WRITE_BYTES = 64, 16 * 1024
# Seconds in which a client must read some of the bytes that wait for it; else it is disconnected, and may resume.
STALLED_SECONDS = 30.0


class UnsizedCycle(RequestResponseCycle):
    """Responds to a client of HTTP/1.0, which knows no chunks.

    Where no length is known, the end of the connection is that of the body.
    """

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.chunked_encoding = False
        elif message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class Writes:
    """Sends what one turn of the event loop writes to clients at its end.

    A client that sleeps on the same machine, such as nginx, is woken by the first of them, which costs half as much as
    a write; the others find it awake.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def add(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send this before anything that a task wakes up for now."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append((transport, data))
        if len(self._waiting) >= MOST_WRITES or len(data) > LARGE_WRITE_BYTES:
            self._send()  # so that a client who reads slowly is noticed within the turn

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)


class DirectWriter:
    """Writes pieces of one response's body without the application's task.

    They are sent at the end of the loop's turn, so that task must have waited before it sends more.
    """

    __slots__ = ("_chunked", "_cycle", "_flow", "_transport", "_writes", "used")

    def __init__(self, cycle: RequestResponseCycle, writes: Writes) -> None:
        self._writes = writes
        self._cycle, self._flow, self._transport = cycle, cycle.flow, cycle.transport
        # Whether each piece is a chunk; None before the first one.
        self._chunked: bool | None = None
        # Whether something was written; for the caller to reset.
        self.used = False

    @property
    def ready(self) -> bool:
        """Whether the client reads as fast as it is written to."""
        return not (self._flow.write_paused or self._transport.is_closing())

    def write(self, data: bytes) -> bool:
        """Send a piece between start and end of the response; return whether it was sent."""
        transport = self._transport
        if self._flow.write_paused or transport.is_closing():
            return False
        self.used = True
        if self._chunked is None:
            self._chunked = bool(self._cycle.chunked_encoding)
        self._writes.add(transport, b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        return True


class HeadWithBody:
    """Sends the head of one response together with the beginning of its body."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = b""

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._transport.write(data)
        elif self._head:
            self._transport.write(self._head + data)
            self._head = None
        else:
            self._head = data

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()


class Flow:
    """Pauses reading and writing as uvicorn's `FlowControl` does, in a tenth of its memory."""

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._writable = transport, Flag()
        self.read_paused = self.write_paused = False

    async def drain(self) -> None:
        """Return when the client has read enough of what waits."""
        if self.write_paused:
            await self._writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._writable.set()


class Pipelined(list[Any]):
    """Requests that wait for an earlier response.

    There are nearly always none, for which a deque takes 600 bytes.
    """

    __slots__ = ()

    def appendleft(self, request: Any) -> None:
        self.insert(0, request)


def _address(transport: asyncio.Transport, name: str) -> tuple[str, int] | None:
    """Return host and port of one end of a connection, None for a Unix socket."""
    address = transport.get_extra_info(name)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None


class TrustedProxies(ProxyHeadersMiddleware):
    """Takes the client's address from the headers of trusted proxies, and marks their requests."""

    def __init__(self, app: Any, trusted_hosts: Any) -> None:
        super().__init__(app, trusted_hosts)
        # Remembered, because each look takes the address apart.
        self._trusts = lru_cache(MOST_SENDERS)(self.trusted_hosts.__contains__)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sender, _port = scope.get("client") or (None, 0)
        if self._trusts(sender):
            scope.setdefault("extensions", {})[PROXIED] = {}
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. uvicorn bounds the bytes that wait here for the client."""

    __slots__ = ("_message_began", "_part", "_part_began", "_part_bytes", "_part_timer", "_progress_timer")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Do what uvicorn does, but without asking for the socket.

        uvloop makes an object of it, which takes 50 µs.
        """
        self.connections.add(self)
        self.transport = transport
        self.server, self.client = _address(transport, "sockname"), _address(transport, "peername")
        self.scheme = "https" if is_ssl(transport) else "http"
        self.flow, self.pipeline = Flow(transport), Pipelined()  # type: ignore[assignment]
        # The part of a request that is being read; None between requests.
        self._part: Part | None = "head"
        # Bytes of that part so far, and when it began; its timer runs while data is awaited.
        self._part_bytes, self._part_began = 0, self.loop.time()
        self._progress_timer = self._part_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        between_requests = self._part is None and (self.cycle is None or self.cycle.response_complete)
        self._message_began = False
        super().data_received(data)
        if between_requests and not self._message_began:
            self._begin("head")  # empty lines, which the parser skips; they must not keep the connection open for ever
        if self._part == "head":
            self._part_bytes += len(data)
            if self._part_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
                self.transport.close()
        # Most requests come in one piece and need no timer.
        if self._part and self._part_timer.cancelled():
            self._start_timer()

    def _begin(self, part: Part | None) -> None:
        self._part, self._part_bytes, self._part_began = part, 0, self.loop.time()
        self._part_timer.cancel()

    def _start_timer(self) -> None:
        if self._part == "head":
            self._part_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        else:
            self._part_timer = self.loop.call_later(BODY_WINDOW_SECONDS, self._check_body, self._part_bytes)

    def _check_body(self, bytes_before: int) -> None:
        """Close the connection if the body came too slowly in this window.

        A body that the application does not read may wait.
        """
        slow = self._part_bytes - bytes_before < BODY_BYTES_A_SECOND * BODY_WINDOW_SECONDS
        if (slow and not self.flow.read_paused) or self.loop.time() - self._part_began > BODY_SECONDS:
            self.transport.close()
        else:
            self._start_timer()

    def on_message_begin(self) -> None:
        self._message_began = True
        self._begin("head")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._begin("body")
        super().on_headers_complete()
        self.headers = []  # the scope has them, and frees them while a stream is sent
        if self.cycle:
            self.cycle.message_event = Flag()  # type: ignore[assignment]
        if self.cycle and getattr(self.server_state, "retires", False):
            self.cycle.keep_alive = False  # the response says so, and the client's next connection is not ours
        if self.cycle and self.cycle.scope["http_version"] == "1.0" and not self.cycle.response_started:
            self.cycle.__class__ = UnsizedCycle
        if self.cycle and self.cycle.scope["method"] != "HEAD":
            extensions: dict[str, Any] = {DIRECT: DirectWriter(self.cycle, self._writes())}
            self.cycle.scope["extensions"] = extensions
            if not self.cycle.waiting_for_100_continue:
                self.cycle.transport = HeadWithBody(self.transport)  # type: ignore[assignment]

    def _writes(self) -> Writes:
        """Return the writes of all connections of this server."""
        writes: Writes | None = getattr(self.server_state, "writes", None)
        if writes is None:
            writes = Writes(self.loop)
            setattr(self.server_state, "writes", writes)  # noqa: B010  (uvicorn's class does not know it)
        return writes

    def awaits_request(self) -> bool:
        """Return whether a request may come, is being read, or has no response yet."""
        return self.cycle is None or self.cycle.response_complete or not self.cycle.response_started

    def on_body(self, body: bytes) -> None:
        self._part_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._begin(None)
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_progress(sys.maxsize)

    def resume_writing(self) -> None:
        self._progress_timer.cancel()
        super().resume_writing()

    def _check_progress(self, unread_before: int) -> None:
        """Disconnect a client that read nothing since the last check."""
        unread = self._unread_bytes()
        if unread < unread_before:
            self._progress_timer = self.loop.call_later(STALLED_SECONDS, self._check_progress, unread)
        else:
            self.transport.abort()

    def _unread_bytes(self) -> int:
        """Return how many bytes wait for the client, in our buffer and in the kernel's."""
        buffered = self.transport.get_write_buffer_size()
        try:
            in_kernel = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:  # not every system knows
            return buffered
        return buffered + int.from_bytes(in_kernel, sys.byteorder)

    def connection_lost(self, exc: Exception | None) -> None:
        self._part_timer.cancel()
        self._progress_timer.cancel()
        super().connection_lost(exc)
        # uvicorn leaves this timer of a connection that the client has reset, and it keeps all that the response had.
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
