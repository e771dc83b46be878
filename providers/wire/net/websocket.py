"""WebSockets to an upstream: the handshake goes over `transport`, frames through websockets' sans-I/O protocol.

Standard: https://www.rfc-editor.org/rfc/rfc6455. Adapters decide the meaning of messages. The address may be a
credential (some vendors sign it), so no error and no log record of this module shows it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import cast

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from providers.wire.base import Endpoint
from providers.wire.errors import broken_stream
from providers.wire.net.deadline import Deadline
from providers.wire.net.exchange import Exchange, not_connected, send
from providers.wire.net.transport import Transport
from providers.wire.net.waiting import WaitingProtocol

MAX_MESSAGE_BYTES = 2**22
# Bytes of messages that may wait for a slow reader; with more the connection is not read from.
MAX_BUFFERED_BYTES = 64 * 1024
# Bytes of the prompt and of pongs that the peer may leave unread while it sends; with more it is given up.
_MAX_UNSENT_BYTES = 2**25
# Seconds after our close frame at which the connection is cut, whether or not the peer has replied.
_GOODBYE_S = 0.02
# A close frame without a code, and one with the code for a normal end.
_CLOSED_WELL = (1000, 1005)
# The first byte of a text frame that is a whole message, and the size that announces a two-byte size (RFC 6455, 5.2).
_FINAL_TEXT, _TWO_BYTE_SIZE = 0x81, 126
# A placeholder, because websockets requires an address. The real one contains a credential.
_ANY_URI = parse_uri("ws://upstream.invalid/")
# Never emits, because websockets logs every frame and address at its debug level.
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)


class HandshakeRefusedError(Exception):
    """The server refused the handshake; `body` is for deciding only, and is never shown."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class WebSocketClient:
    """The WebSocket connections to one upstream; each is used once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._transport = Transport(endpoint)
        self._endpoint = endpoint
        self._open: set[WebSocket] = set()

    async def open(self, url: str, deadline: Deadline) -> "WebSocket":
        """Open a connection within the connect clock; raise `HandshakeRefusedError` when refused."""
        handshake = ClientProtocol(_ANY_URI, logger=_SILENT)
        headers = dict(handshake.connect().headers.raw_items())
        # httpx sets the right host for the real address.
        del headers["Host"]
        address, _, query = url.partition("?")
        try:
            async with asyncio.timeout(deadline.clocks.connect):
                sent = self._endpoint.with_headers(headers)
                exchange = await send(self._transport, "GET", address, sent, deadline, query=query)
        except TimeoutError:
            raise not_connected("connect_timeout") from None
        await _check(exchange, handshake)
        socket = WebSocket(deadline, self._open)
        exchange.switch(socket)
        return socket

    async def aclose(self) -> None:
        for socket in tuple(self._open):
            socket.abort()
        await self._transport.aclose()


class WebSocket(WaitingProtocol):
    """An open connection; `deadline` runs while it waits, and replying to pings is no progress."""

    def __init__(self, deadline: Deadline, open_sockets: "set[WebSocket]") -> None:
        super().__init__()
        self._frames = ClientProtocol(_ANY_URI, state=State.OPEN, max_size=MAX_MESSAGE_BYTES, logger=_SILENT)
        # Whether every read so far was a series of whole text frames, so that `_frames` holds no part of one.
        self._regular = True
        self._deadline = deadline
        self._open_sockets = open_sockets
        self._messages: deque[bytes] = deque()
        self._fragments = bytearray()
        self._buffered = 0
        self._paused = False
        # Set when no further message comes: empty after a proper close, else the code of the failure.
        self._end: str | None = None
        self._give_up: asyncio.TimerHandle | None = None

    def send(self, text: bytes) -> None:
        """Send one text message, unless the peer has ended the connection: `receive` then says why."""
        if self._frames.state is State.OPEN:
            self._frames.send_text(text)
            self._flush()

    async def receive(self) -> bytes | None:
        """Return the next message, None after a proper goodbye of the peer."""
        while not self._messages:
            if self._end is not None:
                if self._end:
                    raise broken_stream(self._end, status=101)
                return None
            with self._deadline:
                await self._wait()
        message = self._messages.popleft()
        self._buffered -= len(message)
        if self._paused and self._buffered <= MAX_BUFFERED_BYTES:
            self._paused = False
            self._transport.resume_reading()
        return message

    def close(self) -> None:
        """Send a close frame; cut the connection 20 ms later. Repeating is safe."""
        if self._give_up is None and not self._transport.is_closing():
            if self._frames.state is State.OPEN:
                self._frames.send_close(1000)
                self._flush()
            self._give_up = asyncio.get_running_loop().call_later(_GOODBYE_S, self.abort)

    def abort(self) -> None:
        """Cut the connection without a close frame, and drop all buffered data."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_sockets.add(self)

    def data_received(self, data: bytes) -> None:
        if self._regular and (texts := _whole_texts(data)) is not None:
            for text in texts:
                self._queue(text)
        else:
            self._regular = False
            self._receive(data)
        if self._buffered > MAX_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is None:
            self._end = "connection_lost"
        self._open_sockets.discard(self)
        if self._give_up is not None:
            self._give_up.cancel()
        self._wake()

    def _receive(self, data: bytes) -> None:
        self._frames.receive_data(data)
        for frame in self._frames.events_received():
            self._take(cast("Frame", frame))
        if self._end is None and (error := self._frames.parser_exc) is not None:
            self._end = "frame_too_large" if isinstance(error, PayloadTooBig) else "bad_frame"
        self._flush()
        if self._transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self.abort()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case _ if self._end is not None:
                return
            case Opcode.TEXT if frame.fin:
                self._queue(bytes(frame.data))
            case Opcode.TEXT | Opcode.CONT:
                self._fragments += frame.data
                if frame.fin:
                    self._queue(bytes(self._fragments))
                    self._fragments.clear()
            case Opcode.BINARY:
                self._end = "binary_frame"
            case Opcode.CLOSE:
                received = self._frames.close_rcvd
                code = received.code if received is not None else 1005
                self._end = "" if code in _CLOSED_WELL else f"closed_{int(code)}"

    def _queue(self, message: bytes) -> None:
        self._messages.append(message)
        self._buffered += len(message)

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            # Empty data marks the end of the stream. Closing the transport ends it anyway.
            if data and not self._transport.is_closing():
                self._transport.write(data)


def _whole_texts(data: bytes) -> list[bytes] | None:
    """Return the payloads of a series of whole text frames, None for anything else.

    Nearly every read of a live stream is exactly one, and need not cost what the general case does.
    """
    texts = []
    start, end = 0, len(data)
    while start < end:
        if data[start] != _FINAL_TEXT or end - start < 4:
            return None
        size, start = data[start + 1], start + 2
        if size == _TWO_BYTE_SIZE:
            size, start = data[start] << 8 | data[start + 1], start + 2
        # The general decoder handles larger frames, and masked ones, which no server may send.
        elif size > _TWO_BYTE_SIZE:
            return None
        if start + size > end:
            return None
        texts.append(data[start : start + size])
        start += size
    return texts


async def _check(exchange: Exchange, handshake: ClientProtocol) -> None:
    """Raise unless the server agreed to the handshake. Redirects are not followed."""
    try:
        if exchange.status == 101:
            handshake.process_response(Response(101, "", Headers(exchange.headers)))
            return
        refusal = HandshakeRefusedError(exchange.status, exchange.headers, await exchange.read_error())
    except InvalidHandshake:
        await exchange.close()
        raise broken_stream("bad_http", status=None) from None
    except BaseException:
        await exchange.close()
        raise
    await exchange.close()
    raise refusal
