"""HTTP/1.1 to an upstream as an `httpx.AsyncBaseTransport`: a pool of connections that llhttp parses.

It is called with an `httpx.Request` and without an `httpx.AsyncClient`, so it never follows redirects, keeps no cookies
and reads no environment variables. Errors are httpx's; `exchange` turns them into ours.
"""

import asyncio

import httpx

from providers.wire.base import Endpoint
from providers.wire.net.dial import DEFAULT_PORTS, Dialer, Origin
from providers.wire.net.hosts import BadAddressError
from providers.wire.net.http1 import Connection
from providers.wire.net.negotiation import ProxyRefusedError

# Seconds for which an idle connection is kept.
KEEPALIVE_S = 30.0
USER_AGENT = "Rivulet"


class Transport(httpx.AsyncBaseTransport):
    """The connections to one upstream, shared by all its keys.

    The connect clock bounds opening a connection, TLS and proxies included. A response has three extensions.
    `flow(take)` hands the bytes of the body to `take` as they arrive, see `Connection.flow`. `linger()`, called instead
    of closing the stream, keeps the connection if the body ends within a moment. `switch(protocol)` hands it over to
    another protocol after status 101. Of a request's extensions `target` is known, which replaces path and query as it
    does in httpcore.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._dialer = Dialer(endpoint)
        self._connect_s = endpoint.clocks.connect
        self._idle: dict[Origin, list[Connection]] = {}
        self._connections: dict[Connection, Origin] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the response, of any status, when its head is there."""
        origin = _origin(request.url)
        # A proxy would drop the headers of an upgrade, which are about one connection only. Servers that refuse an
        # upgrade often close the connection without saying so, and the next one must not meet that.
        upgrade = "upgrade" in request.headers
        forward = self._dialer.forwards(origin) and not upgrade
        head = self._head(request, forward=forward)
        body = await request.aread()
        kept = None if upgrade else self._take(origin)
        connection = kept or await self._open(origin, tunnel=not forward)
        try:
            await connection.send(head, body)
        except BaseException:
            connection.abort()
            raise
        return httpx.Response(
            connection.status,
            headers=connection.headers,
            stream=Body(connection),
            extensions={"flow": connection.flow, "linger": connection.linger, "switch": connection.switch},
            request=request,
        )

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

    def _head(self, request: httpx.Request, *, forward: bool) -> bytes:
        url, headers = request.url, request.headers.raw
        target: bytes = request.extensions.get("target", url.raw_path)
        if forward:
            target = b"http://" + url.netloc + target
            if self._dialer.proxy_authorization:
                headers = [*headers, (b"Proxy-Authorization", self._dialer.proxy_authorization.encode())]
        lines = [b"%b %b HTTP/1.1" % (request.method.encode(), target)]
        lines += [b"%b: %b" % header for header in headers]
        if "user-agent" not in request.headers:
            lines.append(b"User-Agent: " + USER_AGENT.encode())
        if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines):
            raise httpx.LocalProtocolError("a header holds a line break")
        return b"\r\n".join([*lines, b"", b""])


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


def _origin(url: httpx.URL) -> Origin:
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 1) < 2**16:
        raise httpx.UnsupportedProtocol("the address is not http:// or https://")
    return Origin(url.scheme, url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS[url.scheme])
