"""The way to an upstream over HTTP: clients, answers, and the mapping of network failures to our errors.

The only module that knows an HTTP library. It is aiohttp, which costs a third of httpx for a request and for a delta;
SOCKS5, which aiohttp lacks, is in `socks`. What bytes mean is decided elsewhere.
"""

import asyncio
import contextlib
import errno
import functools
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.resolver import DefaultResolver
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from providers.wire.base import Clocks
from providers.wire.errors import ProviderError, UpstreamFailed, UpstreamTimeout, broken_answer
from providers.wire.net.deadline import Deadline
from providers.wire.net.socks import ProxyRefusedError, SocksConnector

NETWORK_ERRORS = (aiohttp.ClientError, OSError)

KEEPALIVE_S = 30.0
# How long a finished answer may take to end its body before its connection is given up instead of reused.
_LINGER_S = 1.0
_USER_AGENT = "Rivulet"
_NO_REQUEST = aiohttp.RequestInfo(URL(), "", CIMultiDictProxy(CIMultiDict()), URL())

AddressCheck = Callable[[str], bool]
_Factory = functools.partial[ResponseHandler]


class HTTPClient:
    """The connections to one base address through one proxy, shared by all keys; made with the first request.

    `proxy` is an `http://`, `https://` or `socks5://` address. `admits` is asked about every address before it is
    connected to, and the address it saw is the one used; through a proxy it sees the proxy's. `tls` replaces the usual
    verification, for private certificate authorities.
    """

    def __init__(
        self,
        proxy: str | None = None,
        *,
        connect_s: float = Clocks.connect,
        admits: AddressCheck | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._proxy = proxy
        self._through_socks = proxy is not None and proxy.lower().startswith("socks5")
        self._connect_s = connect_s
        self._admits = admits
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._lingering: set[Answer] = set()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> "Answer":
        """Send `body` and return the response as soon as its head is there, whatever its status."""
        return await self._send("POST", url, headers, body, deadline)

    async def get(self, url: str, headers: Mapping[str, str], deadline: Deadline) -> "Answer":
        """Ask for what is at `url`; likewise."""
        return await self._send("GET", url, headers, None, deadline)

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: Deadline
    ) -> "Answer":
        with _mapped(), deadline:
            if self._session is None:
                self._session = self._new_session()
            proxy = None if self._through_socks else self._proxy
            if self._admits is not None:
                check_literal(proxy or url, self._admits)
            response = await self._session.request(
                method, url, data=body, headers=headers, proxy=proxy, allow_redirects=False
            )
        return Answer(response, deadline, self._lingering)

    async def aclose(self) -> None:
        """Close all connections; the next request would open new ones."""
        for answer in tuple(self._lingering):
            answer.abort()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        resolver = _Resolver(self._admits)
        options: dict[str, Any] = {
            "limit": 0,
            "keepalive_timeout": KEEPALIVE_S,
            "ssl": self._tls or _verified_tls(),
        }
        connector = (
            SocksConnector(self._proxy, resolver, **options)
            if self._proxy is not None and self._through_socks
            else aiohttp.TCPConnector(resolver=resolver, **options)
        )
        connector._factory = cast("_Factory", functools.partial(_Protocol, loop=asyncio.get_running_loop()))
        return aiohttp.ClientSession(
            connector=connector,
            # Keys share the session; cookies would carry one key's affinity or login over to another's.
            cookie_jar=aiohttp.DummyCookieJar(),
            # `connect` covers looking up the name too, `sock_connect` alone would not.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_s, sock_connect=self._connect_s),
            headers={"User-Agent": _USER_AGENT},
            trust_env=False,
        )


class Answer:
    """An upstream's response: its head is there, its body is still to be read."""

    def __init__(self, response: aiohttp.ClientResponse, deadline: Deadline, lingering: "set[Answer]") -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._content = response.content
        self._deadline = deadline
        self._lingering = lingering
        self._give_up: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """Return the next bytes as soon as there are some, `b""` at the end of the body."""
        try:
            with self._deadline:
                return await self._content.readany()
        except NETWORK_ERRORS as error:
            if rest := self._rest():
                return rest
            raise broken_answer("connection_lost") from error

    def close(self, *, finished: bool = False) -> None:
        """Close the connection at once; with `finished`, keep it for reuse if the body ends within a moment."""
        if finished and not self._response.closed:
            # aiohttp takes the connection back by itself once the body has ended; nobody needs to wait for that.
            self._lingering.add(self)
            self._give_up = asyncio.get_running_loop().call_later(_LINGER_S, self.abort)
            self._content.on_eof(self._linger_no_more)
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection without sending what is still buffered and without waiting for a TLS goodbye."""
        self._linger_no_more()
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._response.close()

    def _rest(self) -> bytes:
        # aiohttp forgets bytes that came together with the end of the connection and before anyone waited for them;
        # they may well be the end of a complete answer whose server only omitted the closing chunk.
        error = self._content.exception()
        if error is None:
            return b""
        self._content.set_exception(None)  # type: ignore[arg-type]
        rest = self._content.read_nowait()
        self._content.set_exception(error)
        return rest

    def _linger_no_more(self) -> None:
        self._lingering.discard(self)
        if self._give_up is not None:
            self._give_up.cancel()


class _Protocol(ResponseHandler):
    """Ends a body whose connection is gone: aiohttp does not when it gave up on the body for what was no part of it."""

    def connection_lost(self, exc: BaseException | None) -> None:
        body = self._payload
        super().connection_lost(exc)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError())


class AddressRefusedError(OSError):
    """The upstream's name leads to addresses that it may not lead to."""


class _Resolver(AbstractResolver):
    """Resolves as usual and drops addresses that are not admitted; those left are connected to as they are."""

    def __init__(self, admits: AddressCheck | None) -> None:
        self._resolver = DefaultResolver()
        self._admits = admits

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if self._admits is None:
            return found
        admitted = [result for result in found if self._admits(result["host"])]
        if not admitted:
            raise AddressRefusedError
        return admitted

    async def close(self) -> None:
        await self._resolver.close()


def check_literal(url: str, admits: AddressCheck) -> None:
    """Check an address written into the URL itself: aiohttp asks no resolver about those."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    if not admits(host):
        raise AddressRefusedError


@functools.cache
def _verified_tls() -> ssl.SSLContext:
    # Loading the authorities takes 20 ms and a megabyte, so all clients of a process share them; certifi's, because
    # a slim system has none of its own.
    return ssl.create_default_context(cafile=certifi.where())


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
        return
    except (*NETWORK_ERRORS, ValueError) as error:
        # Many of aiohttp's errors show the address to whoever logs the cause; what the system said does not.
        failure, cause = unreachable(error), getattr(error, "os_error", None)
        if isinstance(error, aiohttp.ClientResponseError):
            # Its repr shows the request's headers too, and with them the key.
            error.request_info = _NO_REQUEST
            error.args = ()
    raise failure from cause


def unreachable(error: Exception) -> ProviderError:
    """Return our failure for an error that came before the response's head."""
    reason = getattr(error, "os_error", error)
    if isinstance(reason, AddressRefusedError):
        return _misconfigured("The upstream's address is not allowed.", "address_refused")
    if isinstance(reason, ProxyRefusedError) or getattr(error, "status", None) == 407:
        return _misconfigured("The proxy refused our credentials.", "proxy_refused")
    # A bad certificate is a ValueError too, but one of the network's.
    if isinstance(error, (ValueError, aiohttp.NonHttpUrlClientError)) and not isinstance(error, OSError):
        return _misconfigured("The upstream's address is not valid.", "bad_address")
    if isinstance(error, TimeoutError):
        return _network(UpstreamTimeout, "The upstream did not accept a connection in time.", "connect_timeout")
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return broken_answer("bad_http", status=None)
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
        return UpstreamFailed("This machine is out of connections.", action="wait", attempts=2, vendor_code="local")
    return _network(UpstreamFailed, "The upstream could not be reached.", "network")


def _network(kind: type[ProviderError], message: str, vendor_code: str) -> ProviderError:
    return kind(message, action="wait", attempts=2, cooldown_s=60.0, scope="all", vendor_code=vendor_code)


def _misconfigured(message: str, vendor_code: str) -> UpstreamFailed:
    return UpstreamFailed(message, action="ops", scope="all", vendor_code=vendor_code)
