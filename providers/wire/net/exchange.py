"""One request to an upstream and its response, with clocks and our errors.

Works on any `httpx.AsyncBaseTransport`: `transport.Transport` in production, `httpx.MockTransport` in tests. Adapters
decide the meaning of the bytes.
"""

import asyncio
import contextlib
import errno
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import httpx

from providers.wire.base import gettext_noop as _
from providers.wire.errors import ProviderError, Row, UpstreamFailed, UpstreamTimeout, broken_stream
from providers.wire.net.coding import Decoded
from providers.wire.net.deadline import Deadline
from providers.wire.net.dial import AddressRefusedError
from providers.wire.net.http1 import Connection
from providers.wire.net.transport import Address, Body, Transport, address_of

# Bytes to read of an error's body, and seconds for it.
_MAX_ERROR_BODY_BYTES = 64 * 1024
_ERROR_BODY_S = 5.0
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Exchange:
    """A response whose head is there and whose body is still to be read."""

    __slots__ = ("_chunks", "_connection", "_deadline", "_decoded", "_raw", "_stream", "status")

    def __init__(self, response: httpx.Response | Connection, deadline: Deadline) -> None:
        self._deadline = deadline
        self._connection = response if isinstance(response, Connection) else None
        if isinstance(response, Connection):
            self.status, self._raw = response.status, response.headers
            self._stream: httpx.AsyncByteStream = Body(response)
        else:
            self.status, self._raw = response.status_code, response.headers.raw
            self._stream = cast("httpx.AsyncByteStream", response.stream)
        self._chunks = aiter(self._stream)
        coded = any(name.lower() == b"content-encoding" for name, _value in self._raw)
        coding = self.headers["content-encoding"] if coded else ""
        self._decoded = Decoded(coding) if coding else None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response, made when they are asked for: few responses need them."""
        return httpx.Headers(self._raw)

    async def read(self) -> bytes:
        """Return the next bytes as soon as they arrive, `b""` after the last."""
        while not (self._decoded and (data := self._decoded.take())):
            try:
                with self._deadline:
                    data = await anext(self._chunks)
            except StopAsyncIteration:
                return self._decoded.take(at_end=True) if self._decoded else b""
            except httpx.HTTPError:
                raise broken_stream("connection_lost") from None
            if self._decoded is None:
                return data
            self._decoded.feed(data)
        return data

    async def flow(self, take: Callable[[bytes], bool]) -> None:
        """Let `take` have the body's bytes as they arrive, until it returns False.

        It is called between the turns of all tasks, and a delta wakes none. Where that is not possible, as with
        compressed bodies, nothing happens: `read` goes on.
        """
        if self._connection is None or self._decoded is not None:
            return
        try:
            with self._deadline:
                await self._connection.flow(take)
        except httpx.HTTPError:
            raise broken_stream("connection_lost") from None

    async def read_up_to(self, max_bytes: int) -> bytes:
        """Return the body; one that is longer than `max_bytes` is cut somewhere beyond."""
        body = bytearray()
        while len(body) <= max_bytes and (chunk := await self.read()):
            body += chunk
        return bytes(body)

    async def read_error(self) -> bytes:
        """Return what comes of an error's body within five seconds; the status decides much."""
        self._deadline.shorten(_ERROR_BODY_S)
        body = b""
        with contextlib.suppress(ProviderError):
            while len(body) <= _MAX_ERROR_BODY_BYTES and (chunk := await self.read()):
                body += chunk
        return body

    def switch(self, protocol: asyncio.Protocol) -> None:
        if self._connection is None:
            raise RuntimeError("this transport has no connection to hand over")
        self._connection.switch(protocol)

    async def close(self, *, finished: bool = False) -> None:
        """Close the connection; when `finished`, keep it if the body ends within a second."""
        if finished and self._connection is not None:
            self._connection.linger()
        else:
            await self._stream.aclose()


async def send(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: str,
    headers: Mapping[str, str],
    deadline: Deadline,
    body: bytes | None = None,
    query: str = "",
) -> Exchange:
    """Send a request; return its exchange when the head, of any status, is there.

    A `query` is sent with the address and appears in no URL object, because some vendors sign it.
    """
    try:
        address = _parsed(url)
        target = address.target + b"?" + query.encode() if query else address.target
        with deadline:
            if isinstance(transport, Transport):
                own = _with_own(address, headers, body)
                return Exchange(await transport.send(method, address, target, own, body or b""), deadline)
            request = httpx.Request(method, url, headers=headers, content=body, extensions={"target": target})
            return Exchange(await transport.handle_async_request(request), deadline)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # The error may hold the request, and with it the key; the system's own error does not.
        failure, cause = unreachable(error), error.__cause__
    raise failure from (cause if isinstance(cause, OSError) else None)


def _with_own(address: Address, headers: Mapping[str, str], body: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request, with those that it lacks."""
    given = {name.lower() for name in headers}
    added = {"Host": address.netloc.decode("ascii"), **({} if body is None else {"Content-Length": str(len(body))})}
    own = {**{name: value for name, value in added.items() if name.lower() not in given}, **headers}
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in own.items()]


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> Address:
    return address_of(httpx.URL(url))


def unreachable(error: Exception) -> ProviderError:
    """Return our failure for an error that came before the response's head."""
    reason = error.__cause__ or error
    if isinstance(reason, AddressRefusedError):
        return not_connected("address_refused")
    if isinstance(reason, OSError) and reason.errno in _NO_RESOURCES:
        return UpstreamFailed(
            _("This machine is out of connections."), action="wait", attempts=2, vendor_code="local", blame="request"
        )
    match error:
        case httpx.ProxyError():
            return not_connected("proxy_refused")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | httpx.LocalProtocolError() | ValueError():
            return not_connected("bad_address")
        case httpx.TimeoutException():
            return not_connected("connect_timeout")
        case httpx.RemoteProtocolError():
            return broken_stream("bad_http", status=None)
    return not_connected("network")


def not_connected(vendor_code: str) -> ProviderError:
    """Return the failure of that name: no connection, or a wrong configuration of it."""
    return _FAILURES[vendor_code].error(vendor_code=vendor_code)


_NETWORK = Row(_("The upstream could not be reached."), "wait", attempts=2, scope="all")
_FAILURES: Mapping[str, Row] = {
    "address_refused": Row(_("The upstream's address is not allowed."), "ops", scope="all"),
    "proxy_refused": Row(_("The proxy refused our credentials."), "ops", scope="all"),
    "bad_address": Row(_("The upstream's address is not valid."), "ops", scope="all"),
    "connect_timeout": replace(
        _NETWORK, message=_("The upstream did not accept a connection in time."), kind=UpstreamTimeout
    ),
    "network": _NETWORK,
}
