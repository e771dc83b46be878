"""Connections to an upstream: name lookup, address check, proxy and TLS, for any asyncio protocol.

HTTP and WebSocket connections are both opened here, so the address check and the proxies hold for both.
"""

import asyncio
import base64
import contextlib
import functools
import re
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs
import certifi

from providers.wire.base import Endpoint
from providers.wire.net import hosts, socks
from providers.wire.net.hosts import BadAddressError
from providers.wire.net.negotiation import Negotiation, ProxyRefusedError

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)

DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": socks.DEFAULT_PORT, "socks5h": socks.DEFAULT_PORT}

# Seconds for which a looked up (and checked) address is used again.
_LOOKUP_TTL_S = 10.0
# Seconds before the next address of a name is tried beside one that has not replied (RFC 8305).
_NEXT_ADDRESS_S = 0.25
_CONNECT_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?!\d)")


class AddressRefusedError(OSError):
    """The upstream's name leads to addresses that it may not lead to."""


class Origin(NamedTuple):
    """One end of a connection."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("https", "wss")


class Dialer:
    """Opens connections through the endpoint's proxy, or directly, to an address that `admits` has checked.

    The host is in its canonical form when it is checked and when it is looked up.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._proxy_url = endpoint.proxy
        self._admits = endpoint.admits
        self._tls = endpoint.tls
        self._lookup_lock = asyncio.Lock()
        self._lookups: dict[tuple[str, int], tuple[float, list[aiohappyeyeballs.AddrInfoType]]] = {}

    def forwards(self, origin: Origin) -> bool:
        """Return whether the proxy forwards plain requests to `origin` without a tunnel."""
        return not origin.secure and self._proxy is not None and self._proxy.scheme in ("http", "https")

    @functools.cached_property
    def proxy_authorization(self) -> str:
        """The value of `Proxy-Authorization`, empty without credentials."""
        username, password = self._credentials
        return "Basic " + base64.b64encode(username + b":" + password).decode() if username else ""

    async def open(
        self, origin: Origin, protocol: Callable[[], ProtocolT], *, tunnel: bool = True
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Open a connection to `origin`; without `tunnel` only to the proxy. Raises OSError or BadAddressError."""
        proxy, origin = self._proxy, origin._replace(host=hosts.canonical(origin.host))
        if proxy is None:
            return await self._connect(origin, protocol)
        # The proxy looks names up, but an address stays what it is.
        if self._admits and hosts.is_address(origin.host) and not self._admits(origin.host, origin.host):
            raise AddressRefusedError
        transport, negotiation = await self._connect(proxy, Negotiation)
        try:
            if proxy.scheme.startswith("socks"):
                await socks.open_tunnel(negotiation, origin.host, origin.port, *self._credentials)
            elif tunnel:
                await self._open_http_tunnel(negotiation, origin)
            return await self._hand_over(transport, protocol(), origin)
        except BaseException:
            transport.abort()
            raise

    @functools.cached_property
    def _proxy(self) -> Origin | None:
        if self._proxy_url is None:
            return None
        parts = urlsplit(self._proxy_url)
        default = DEFAULT_PORTS.get(parts.scheme)
        if default is None or not parts.hostname:
            raise BadAddressError("the proxy's address is not valid")
        return Origin(parts.scheme, hosts.canonical(parts.hostname), parts.port or default)

    @functools.cached_property
    def _credentials(self) -> tuple[bytes, bytes]:
        parts = urlsplit(self._proxy_url or "")
        return unquote(parts.username or "").encode(), unquote(parts.password or "").encode()

    @property
    def _context(self) -> ssl.SSLContext:
        return self._tls or _verified_tls()

    async def _connect(self, end: Origin, protocol: Callable[[], ProtocolT]) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect to an upstream or a proxy, TLS included."""
        addresses = await self._look_up(end.host, end.port)
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        tls, name = (self._context, _name(end)) if end.secure else (None, None)
        return await asyncio.get_running_loop().create_connection(protocol, sock=sock, ssl=tls, server_hostname=name)

    async def _look_up(self, host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
        # One lookup at a time: a burst of connections would fill the executor's threads with the same question.
        async with self._lookup_lock:
            expires, addresses = self._lookups.get((host, port), (0.0, []))
            now = asyncio.get_running_loop().time()
            if now >= expires:
                addresses = await self._resolve(host, port)
                self._lookups = {(host, port): (now + _LOOKUP_TTL_S, addresses)}
            return addresses

    async def _resolve(self, host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        admitted: list[aiohappyeyeballs.AddrInfoType] = [
            address for address in found if self._admits is None or self._admits(host, str(address[4][0]))
        ]
        if not admitted:
            raise AddressRefusedError
        return admitted

    async def _hand_over(
        self, transport: asyncio.Transport, protocol: ProtocolT, origin: Origin
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Give a connection through a proxy to the protocol that will use it, TLS included."""
        transport.set_protocol(protocol)
        if origin.secure:
            loop = asyncio.get_running_loop()
            secured = await loop.start_tls(transport, protocol, self._context, server_hostname=_name(origin))
            transport = cast("asyncio.Transport", secured)
        protocol.connection_made(transport)
        return transport, protocol

    async def _open_http_tunnel(self, proxy: Negotiation, origin: Origin) -> None:
        authority = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if self.proxy_authorization:
            lines.append(f"Proxy-Authorization: {self.proxy_authorization}")
        proxy.write("\r\n".join([*lines, "", ""]).encode())
        status = _CONNECT_STATUS.match(await proxy.read_head())
        if status is not None and status[1] == b"407":
            raise ProxyRefusedError("the proxy refused our credentials")
        if status is None or not status[1].startswith(b"2"):
            raise OSError("the proxy could not connect")


def _name(origin: Origin) -> str:
    """Return the name that the certificate must bear, which has no trailing dot."""
    return origin.host.rstrip(".")


@functools.cache
def _verified_tls() -> ssl.SSLContext:
    # All dialers of a process share it, because loading the authorities takes 20 ms and a megabyte. They are certifi's,
    # because a slim system has none of its own.
    return ssl.create_default_context(cafile=certifi.where())
