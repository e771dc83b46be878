"""One HTTP/1.1 connection: sends a request and parses the response with llhttp, in bounded memory.

Standard: https://www.rfc-editor.org/rfc/rfc9112. Opening and pooling connections is done elsewhere.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
import httpx

from providers.wire.net.waiting import WaitingProtocol

# Bytes of a head, of trailers, and of chunk headers without a chunk.
MAX_HEAD_BYTES = 64 * 1024
# Bytes of a body that may wait for a slow reader; with more the connection is not read from.
MAX_BUFFERED_BYTES = 64 * 1024
# Seconds that a finished response may take to end its body before its connection is given up instead of reused.
LINGER_S = 1.0


class Connection(WaitingProtocol):
    """Carries one request at a time; calls `freed` before the next, `lost` at its end."""

    __slots__ = (
        *("_buffered", "_busy", "_chunks", "_complete", "_error", "_framed", "_freed", "_head_complete"),
        *("_header_bytes", "_lingering", "_lost", "_overhead", "_parser", "_paused", "_reusable", "_take"),
        *("_take_error", "_timer"),
        *("closed", "headers", "status", "transport"),
    )

    def __init__(self, freed: Callable[["Connection"], None], lost: Callable[["Connection"], None]) -> None:
        super().__init__()
        self._freed = freed
        self._lost = lost
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self.closed = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._header_bytes = 0
        self._overhead = 0
        self._paused = False
        self._framed = False
        self._head_complete = False
        self._complete = False
        self._reusable = False
        self._lingering = False
        self._error: httpx.TransportError | None = None
        # Takes the bytes of the body as they arrive, instead of `receive`; `_take_error` is what it has raised.
        self._take: Callable[[bytes], bool] | None = None
        self._take_error: Exception | None = None

    async def send(self, request: bytes, body: bytes) -> None:
        """Send a request; wait for the head of its response (`status` and `headers`)."""
        self._cancel_timer()
        if self.closed:
            raise httpx.ReadError("the connection was lost")
        self._busy = True
        if body:
            self.transport.writelines((request, body))
        else:
            self.transport.write(request)
        while not self._head_complete:
            await self._progress()

    async def receive(self) -> bytes:
        """Return the next bytes of the body when they arrive, `b""` after the last."""
        while not self._chunks:
            if self._complete:
                return b""
            await self._progress()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._drop_chunks()
        return data

    async def flow(self, take: Callable[[bytes], bool]) -> None:
        """Let `take` have the body's bytes as they arrive, until it returns False.

        They go to it from the connection's own callback, so that a read wakes no task. Its exceptions are raised
        here. Bytes that wait already are left to `receive`.
        """
        if self._chunks or self._complete:
            return
        self._take = take
        try:
            # Bytes before what ended the connection are left to `receive` too.
            while self._take is not None and not self._complete and not self._chunks:
                await self._progress()
        finally:
            self._take, error, self._take_error = None, self._take_error, None
        if error is not None:
            raise error

    def release(self) -> None:
        """Free the connection for the next request if the body has ended; else close it."""
        if not self._busy:
            return
        if self._complete and self._reusable and not self.closed:
            self._busy = False
            self._drop_chunks()
            self._reset()
            self._cancel_timer()
            self._freed(self)
        else:
            self.abort()

    def linger(self) -> None:
        """Free the connection as soon as the body has ended; close it after `LINGER_S`."""
        if self._complete or self.closed or not self._busy:
            self.release()
            return
        self._lingering = True
        self._drop_chunks()
        self.abort_after(LINGER_S)

    def abort_after(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def abort(self) -> None:
        """Close the connection at once, without sending the rest and without a TLS goodbye."""
        self._cancel_timer()
        self.transport.abort()

    def switch(self, protocol: asyncio.Protocol) -> None:
        """Hand connection and received bytes over to another protocol, after status 101."""
        self._busy = False
        self._lost(self)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._chunks:
            protocol.data_received(b"".join(self._chunks))
        if self.closed:
            protocol.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        # Some gateways send such responses, and browsers accept them too.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # These bytes belong to no request.
            self.abort()
            return
        self._parse(data)
        if self._take is not None and self._chunks and self._error is None:
            self._hand_over(self._take)
        if self._take is None or self._complete or self._error is not None:
            self._wake()
        if self._lingering and (self._complete or self._error is not None):
            self.release()

    def _parse(self, data: bytes) -> None:
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._complete, self._reusable = True, False
            if rest := data[upgrade.args[0] :]:
                self._chunks.append(rest)
        except httptools.HttpParserError:
            self._reusable = False
            if not self._complete:
                self._fail(httpx.RemoteProtocolError("the response is not HTTP"))
        if self._overhead > MAX_HEAD_BYTES and not self._complete:
            self._fail(httpx.RemoteProtocolError("the response's head is too large"))
        if self._buffered > MAX_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        del self._parser  # it refers to this object
        self._cancel_timer()
        self._lost(self)
        if self._busy and not self._complete and self._error is None:
            if self._head_complete and not self._framed and exc is None:
                self._complete = True
            else:
                self._error = httpx.ReadError("the connection was lost")
        self._wake()

    def on_message_begin(self) -> None:
        if self._complete:
            # A second response, which belongs to no request.
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEAD_BYTES:
            raise ValueError("the response's head is too large")
        if not self._head_complete:
            self.headers.append((name, value))
            if name.lower() in (b"content-length", b"transfer-encoding"):
                self._framed = True

    def on_headers_complete(self) -> None:
        if not self._head_complete:
            self.status = self._parser.get_status_code()
            if self.status >= 200 or self.status == 101:
                self._head_complete = True
                self._overhead = 0

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._overhead = 0
            if not self._lingering:
                self._chunks.append(body)
                self._buffered += len(body)

    def on_message_complete(self) -> None:
        if not self._head_complete:
            # An informational response: the one that counts follows.
            self.headers = []
            self._framed = False
        elif not self._complete:
            self._complete = True
            self._reusable = bool(self._parser.should_keep_alive())

    def _hand_over(self, take: Callable[[bytes], bool]) -> None:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._drop_chunks()
        try:
            if not take(data):
                self._take = None
        except Exception as error:  # noqa: BLE001  (`flow` raises it, in the task of the request)
            self._take, self._take_error = None, error

    def _drop_chunks(self) -> None:
        self._chunks.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def _fail(self, error: httpx.TransportError) -> None:
        self._error = self._error or error
        self._reusable = False

    async def _progress(self) -> None:
        """Wait for the connection to bring something; raise what ended it."""
        if self._error is not None:
            raise self._error
        await self._wait()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
