"""HTTP/1.1 to an upstream as an `httpx.AsyncBaseTransport`: a pool of connections that llhttp parses.

Requests of ours take `send`, which spares the objects of httpx. Without an `httpx.AsyncClient` no redirect is followed,
no cookie kept and no environment variable read. Errors are httpx's; `exchange` turns them into ours.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import httpx

from providers.wire.base import Endpoint
from providers.wire.net.dial import DEFAULT_PORTS, Dialer, Origin
from providers.wire.net.hosts import BadAddressError
from providers.wire.net.http1 import Connection
from providers.wire.net.negotiation import ProxyRefusedError

# Seconds for which an idle connection is kept.
KEEPALIVE_S = 30.0
USER_AGENT = b"Rivulet"

Headers = Sequence[tuple[bytes, bytes]]


class Address(NamedTuple):
    """Where a request goes.

    `netloc` is as the Host header has it; `target` is path and query.
    """

    origin: Origin
    netloc: bytes
    target: bytes


class Transport(httpx.AsyncBaseTransport):
    """The connections to one upstream, shared by all its keys.

    The connect clock bounds opening a connection, TLS and proxies included. Of a request's extensions `target` is
    known, which replaces path and query as it does in httpcore.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._dialer = Dialer(endpoint)
        self._connect_s = endpoint.clocks.connect
        self._idle: dict[Origin, list[Connection]] = {}
        self._connections: dict[Connection, Origin] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the response, of any status, when its head is there."""
        address = address_of(request.url)
        target: bytes = request.extensions.get("target", address.target)
        body = await request.aread()
        connection = await self.send(request.method, address, target, request.headers.raw, body)
        return httpx.Response(
            connection.status,
            headers=connection.headers,
            stream=Body(connection),
            request=request,
        )

    async def send(self, method: str, address: Address, target: bytes, headers: Headers, body: bytes) -> Connection:
        """Send a request; return its connection when the response's head is there.

        Path and query are those of `target`.
        """
        origin = address.origin
        names = {name.lower() for name, _value in headers}
        # A proxy would drop the headers of an upgrade, which are about one connection only. Servers that refuse an
        # upgrade often close the connection without saying so, and the next one must not meet that.
        upgrade = b"upgrade" in names
        forward = self._dialer.forwards(origin) and not upgrade
        if forward:
            target = b"http://" + address.netloc + target
            if self._dialer.proxy_authorization:
                headers = [*headers, (b"Proxy-Authorization", self._dialer.proxy_authorization.encode())]
        if b"user-agent" not in names:
            headers = [*headers, (b"User-Agent", USER_AGENT)]
        head = _head(method, target, headers)
        kept = None if upgrade else self._take(origin)
        connection = kept or await self._open(origin, tunnel=not forward)
        try:
            await connection.send(head, body)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def aclose(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()
        self._idle.clear()
        # Wait for one turn of the event loop, because it closes the sockets then.
        await asyncio.sleep(0)

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def _open(self, origin: Origin, *, tunnel: bool) -> Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await self._dialer.open(
                    origin, lambda: Connection(self._free, self._forget), tunnel=tunnel
                )
        except ProxyRefusedError as error:
            raise httpx.ProxyError(str(error)) from error
        except BadAddressError as error:
            raise httpx.UnsupportedProtocol(str(error)) from error
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except (OSError, ValueError) as error:
            raise httpx.ConnectError("no connection") from error
        if not connection.closed:
            self._connections[connection] = origin
        return connection

    def _free(self, connection: Connection) -> None:
        self._idle.setdefault(self._connections[connection], []).append(connection)
        connection.abort_after(KEEPALIVE_S)

    def _forget(self, connection: Connection) -> None:
        origin = self._connections.pop(connection, None)
        if origin is not None and connection in (idle := self._idle.get(origin, [])):
            idle.remove(connection)


class Body(httpx.AsyncByteStream):
    """The bytes of a response as they arrive."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        if self._connection is not None and (data := await self._connection.receive()):
            return data
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the connection, or free it if the whole body was read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()


def _head(method: str, target: bytes, headers: Headers) -> bytes:
    """Return the head of a request; raise LocalProtocolError for a line break in it."""
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), *(b"%b: %b" % header for header in headers)]
    head = b"\r\n".join([*lines, b"", b""])
    # One for each line and one more, and no single ones.
    if not head.count(b"\r") == head.count(b"\n") == len(lines) + 1 or b"\0" in head:
        raise httpx.LocalProtocolError("a header holds a line break")
    return head


def address_of(url: httpx.URL) -> Address:
    """Return where a request goes; raise UnsupportedProtocol for other addresses."""
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 1) < 2**16:
        raise httpx.UnsupportedProtocol("the address is not http:// or https://")
    origin = Origin(url.scheme, url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS[url.scheme])
    return Address(origin, url.netloc, url.raw_path)
