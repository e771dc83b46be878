"""The way to an upstream over HTTP: clients, answers, and the mapping of network failures to our errors.

The only module that knows the HTTP libraries. Direct connections and `http://` proxies use aiohttp, which costs a third
of httpx for a request and for a delta; `https://` and `socks5://` proxies use httpx, which speaks both. What bytes mean
is decided elsewhere.
"""

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from providers.wire.base import Clocks
from providers.wire.deadline import Deadline
from providers.wire.errors import ProviderError, UpstreamFailed, UpstreamTimeout, broken_answer

NETWORK_ERRORS = (aiohttp.ClientError, httpx.HTTPError, httpx.InvalidURL, OSError)

KEEPALIVE_S = 30.0
# How long a finished answer may take to end its body before its connection is given up instead of reused. Through a
# tunnel someone has to wait for that, so it is short there.
_LINGER_S = 1.0
_TUNNEL_LINGER_S = 0.05
_USER_AGENT = "Rivulet"

_NO_REQUEST = aiohttp.RequestInfo(URL(), "", CIMultiDictProxy(CIMultiDict()), URL())

AddressCheck = Callable[[str], bool]


class Answer(Protocol):
    """An upstream's response, its body still to be read."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Return the next bytes as soon as there are some, `b""` at the end of the body."""
        ...

    async def close(self, *, finished: bool = False) -> None:
        """Close the connection at once; with `finished`, keep it for reuse if the body ends within a moment."""
        ...


class HTTPClient:
    """The connections to one base address through one proxy, shared by all keys; made with the first request.

    `admits` is asked about every address before it is connected to, and the address it saw is the one used; through a
    proxy it sees the proxy's. `tls` replaces the usual verification, for private certificate authorities.
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
        self._connect_s = connect_s
        self._admits = admits
        self._tls = tls
        self._direct: aiohttp.ClientSession | None = None
        self._tunnel: httpx.AsyncClient | None = None
        self._lingering: set[_DirectAnswer] = set()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> Answer:
        """Send `body` and return the response as soon as its head is there, whatever its status."""
        with _mapped(), deadline:
            if self._proxy is None or self._proxy.lower().startswith("http://"):
                return await self._post_directly(url, headers, body, deadline)
            return await self._post_through_tunnel(url, headers, body, deadline)

    async def aclose(self) -> None:
        """Close all connections; the next request would open new ones."""
        direct, self._direct = self._direct, None
        tunnel, self._tunnel = self._tunnel, None
        for answer in tuple(self._lingering):
            answer.abort()
        if direct is not None:
            await direct.close()
        if tunnel is not None:
            await tunnel.aclose()

    async def _post_directly(self, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> Answer:
        if self._direct is None:
            self._direct = self._new_session()
        if self._admits is not None:
            _check_literal(self._proxy or url, self._admits)
        response = await self._direct.post(url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False)
        return _DirectAnswer(response, deadline, self._lingering)

    async def _post_through_tunnel(
        self, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline
    ) -> Answer:
        if self._tunnel is None:
            self._tunnel = self._new_tunnel()
        if self._admits is not None:
            await _check_host(self._proxy or "", self._admits)
        request = self._tunnel.build_request("POST", url, content=body, headers=headers)
        return _TunnelAnswer(await self._tunnel.send(request, stream=True), deadline)

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEPALIVE_S,
            ssl=self._tls or _verified_tls(),
            resolver=_CheckedResolver(self._admits) if self._admits else None,
        )
        return aiohttp.ClientSession(
            connector=connector,
            # Keys share the session; cookies would carry one key's affinity or login over to another's.
            cookie_jar=aiohttp.DummyCookieJar(),
            # `connect` covers looking up the name too, `sock_connect` alone would not.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_s, sock_connect=self._connect_s),
            headers={"User-Agent": _USER_AGENT},
            trust_env=False,
        )

    def _new_tunnel(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            proxy=self._proxy,
            verify=self._tls or _verified_tls(),
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": _USER_AGENT},
            timeout=httpx.Timeout(None, connect=self._connect_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S),
        )


class _DirectAnswer:
    def __init__(self, response: aiohttp.ClientResponse, deadline: Deadline, lingering: "set[_DirectAnswer]") -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._content = response.content
        self._deadline = deadline
        self._lingering = lingering
        self._give_up: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        try:
            with self._deadline:
                return await self._content.readany()
        except NETWORK_ERRORS as error:
            if rest := self._rest():
                return rest
            raise broken_answer("connection_lost") from error

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

    async def close(self, *, finished: bool = False) -> None:
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

    def _linger_no_more(self) -> None:
        self._lingering.discard(self)
        if self._give_up is not None:
            self._give_up.cancel()


class _TunnelAnswer:
    def __init__(self, response: httpx.Response, deadline: Deadline) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()
        self._deadline = deadline

    async def read(self) -> bytes:
        try:
            with self._deadline:
                return await anext(self._chunks, b"")
        except NETWORK_ERRORS as error:
            raise broken_answer("connection_lost") from error

    async def close(self, *, finished: bool = False) -> None:
        if finished:
            # The answer is complete, so it no longer matters how its connection ends.
            with contextlib.suppress(ProviderError):
                self._deadline.shorten(_TUNNEL_LINGER_S)
                while await self.read():
                    continue
        await self._response.aclose()


class AddressRefusedError(OSError):
    """The upstream's name leads to addresses that it may not lead to."""


class _CheckedResolver(AbstractResolver):
    """Resolves like the usual resolver and drops addresses that are not admitted; those left are connected to as is."""

    def __init__(self, admits: AddressCheck) -> None:
        self._resolver = DefaultResolver()
        self._admits = admits

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        admitted = [result for result in found if self._admits(result["host"])]
        if not admitted:
            raise AddressRefusedError
        return admitted

    async def close(self) -> None:
        await self._resolver.close()


def _check_literal(url: str, admits: AddressCheck) -> None:
    """Check an address written into the URL itself: aiohttp asks no resolver about those."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    if not admits(host):
        raise AddressRefusedError


async def _check_host(url: str, admits: AddressCheck) -> None:
    parts = urlsplit(url)
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    if not all(admits(str(address[0])) for *_, address in found):
        raise AddressRefusedError


@functools.cache
def _verified_tls() -> ssl.SSLContext:
    # Loading the authorities takes 20 ms and a megabyte, so all clients of a process share them.
    return httpx.create_ssl_context(trust_env=False)


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except NETWORK_ERRORS as error:
        if isinstance(error, aiohttp.ClientResponseError):
            # Its repr would show the request's headers, and with them the key, to whoever logs the cause.
            error.request_info = _NO_REQUEST
            error.args = ()
        raise unreachable(error) from error


def unreachable(error: Exception) -> ProviderError:
    """Return our failure for one of `NETWORK_ERRORS` that came before the response's head."""
    reason = getattr(error, "os_error", error)
    if isinstance(reason, AddressRefusedError):
        return _misconfigured("The upstream's address is not allowed.", "address_refused")
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return UpstreamTimeout(
            "The upstream did not accept a connection in time.",
            action="wait",
            attempts=2,
            cooldown_s=60.0,
            scope="all",
            vendor_code="connect_timeout",
        )
    if _is_proxy_refusal(error):
        return _misconfigured("The proxy refused our credentials.", "proxy_refused")
    if isinstance(
        error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, httpx.InvalidURL, httpx.UnsupportedProtocol)
    ):
        return _misconfigured("The upstream's address is not valid.", "bad_address")
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return broken_answer("bad_http", status=None)
    return UpstreamFailed(
        "The upstream could not be reached.",
        action="wait",
        attempts=2,
        cooldown_s=60.0,
        scope="all",
        vendor_code="network",
    )


def _is_proxy_refusal(error: Exception) -> bool:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status == 407
    # httpx has no type for it: HTTP proxies give "407 ...", SOCKS proxies the second text.
    return isinstance(error, httpx.ProxyError) and str(error).startswith(("407", "Invalid username"))


def _misconfigured(message: str, vendor_code: str) -> UpstreamFailed:
    return UpstreamFailed(message, action="ops", scope="all", vendor_code=vendor_code)
