"""SOCKS5 proxies for aiohttp: RFC 1928 with the username and password of RFC 1929.

Names go to the proxy as they are, so that it resolves them where it stands. HTTP proxies need nothing of this.
"""

import asyncio
import ipaddress
import socket
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

DEFAULT_PORT = 1080

_NO_AUTHENTICATION, _PASSWORD = 0, 2
_BOUND_ADDRESS_BYTES = {1: 4, 4: 16}


class ProxyRefusedError(OSError):
    """The proxy wants other credentials."""


class SocksConnector(aiohttp.TCPConnector):
    """A connector whose connections all go through one SOCKS5 proxy; `resolver` is asked for the proxy's own name."""

    def __init__(self, proxy: str, resolver: AbstractResolver, **options: Any) -> None:
        super().__init__(resolver=_Unresolved(), use_dns_cache=False, **options)
        parts = urlsplit(proxy)
        self._proxy_resolver = resolver
        self._proxy_host = parts.hostname or ""
        self._proxy_port = parts.port or DEFAULT_PORT
        self._username = unquote(parts.username or "").encode()
        self._password = unquote(parts.password or "").encode()

    async def _wrap_create_connection(
        self, *args: Any, addr_infos: Any, req: Any, timeout: Any, client_error: Any = None, **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        # The one place where aiohttp opens sockets; it has no public hook for connecting a socket differently.
        host, port = addr_infos[0][4][:2]
        try:
            sock = await self._tunnel(host, port)
        except OSError as error:
            raise aiohttp.ClientProxyConnectionError(req.connection_key, error) from error
        return await self._wrap_existing_connection(*args, req=req, timeout=timeout, sock=sock, **kwargs)

    async def _tunnel(self, host: str, port: int) -> socket.socket:
        sock = await self._connect()
        try:
            await self._authenticate(sock)
            await _ask(sock, host, port)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        found = await self._proxy_resolver.resolve(self._proxy_host, self._proxy_port, socket.AF_UNSPEC)
        failures: list[OSError] = []
        for address in found:
            sock = socket.socket(address["family"], socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, (address["host"], address["port"]))
            except OSError as error:
                failures.append(error)
                sock.close()
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failures[0] if failures else OSError("the proxy's name has no address")

    async def _authenticate(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        offered = [_NO_AUTHENTICATION, _PASSWORD] if self._username else [_NO_AUTHENTICATION]
        await loop.sock_sendall(sock, bytes([5, len(offered), *offered]))
        _, chosen = await _receive(sock, 2)
        if chosen not in offered:
            raise ProxyRefusedError("the proxy refused our ways to authenticate")
        if chosen == _PASSWORD:
            await loop.sock_sendall(sock, b"\1" + _counted(self._username) + _counted(self._password))
            _, status = await _receive(sock, 2)
            if status != 0:
                raise ProxyRefusedError("the proxy refused our credentials")


class _Unresolved(AbstractResolver):
    """Leaves names as they are."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


async def _ask(sock: socket.socket, host: str, port: int) -> None:
    """Ask for a connection to `host` and read the answer to its end."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"\5\1\0" + _address(host) + port.to_bytes(2))
    _, reply, _, kind = await _receive(sock, 4)
    if reply != 0:
        raise OSError(f"the proxy could not connect (reply {reply})")
    size = _BOUND_ADDRESS_BYTES.get(kind) or (await _receive(sock, 1))[0]
    await _receive(sock, size + 2)


def _address(host: str) -> bytes:
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return b"\3" + _counted(host.encode("idna"))
    return (b"\1" if literal.version == 4 else b"\4") + literal.packed


def _counted(value: bytes) -> bytes:
    return bytes([len(value)]) + value


async def _receive(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise ConnectionResetError("the proxy closed the connection")
        data += piece
    return data
