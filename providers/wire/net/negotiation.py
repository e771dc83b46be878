"""Reading the replies of a proxy before a connection through it stands."""

import asyncio

from providers.wire.net.waiting import WaitingProtocol

# Bytes that a proxy may send before the connection stands.
_MAX_REPLY_BYTES = 64 * 1024


class ProxyRefusedError(OSError):
    """The proxy wants other credentials."""


class Negotiation(WaitingProtocol):
    """Reads a proxy's replies; afterwards the transport gets its real protocol."""

    def __init__(self) -> None:
        super().__init__()
        self._received = bytearray()
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._wake()

    def write(self, data: bytes) -> None:
        self._transport.write(data)  # type: ignore[attr-defined]

    async def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        while len(self._received) < size:
            await self._more()
        return self._take(size)

    async def read_head(self) -> bytes:
        """Return an HTTP head, its blank line included."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            await self._more()
        return self._take(end + 4)

    def _take(self, size: int) -> bytes:
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def _more(self) -> None:
        if self._ended or len(self._received) > _MAX_REPLY_BYTES:
            raise ConnectionResetError("the proxy closed the connection")
        await self._wait()
