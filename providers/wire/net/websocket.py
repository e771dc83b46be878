"""WebSockets to an upstream, opened through the clients of `transport`: proxies, TLS and address checks are theirs.

Standard: https://www.rfc-editor.org/rfc/rfc6455. What frames mean is decided elsewhere. The address may be a credential
(some vendors sign it), so no error leaves this module that could show it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import cast

import aiohttp
from yarl import URL

from providers.wire.base import Clocks
from providers.wire.errors import ProviderError, broken_answer
from providers.wire.net.deadline import Deadline
from providers.wire.net.transport import NETWORK_ERRORS, AddressCheck, HTTPClient, check_literal, unreachable

MAX_FRAME_BYTES = 2**22

# How long the goodbye may take before the connection is cut: a peer that does not answer it is not waited for.
_GOODBYE_S = 0.02
# A masked close frame with code 1000; the mask is zero, which any peer accepts, and there is nothing to hide.
_GOODBYE = b"\x88\x82\0\0\0\0\x03\xe8"
_MAX_ERROR_BODY_BYTES = 64 * 1024
_ERROR_BODY_S = 2.0
_CLOSED_WELL = (0, 1000)


class HandshakeRefusedError(Exception):
    """The server answered the handshake with something else than a WebSocket; `body` is for deciding only."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class WebSocketClient(HTTPClient):
    """WebSocket connections through one proxy; each is used once. Options are those of `HTTPClient`."""

    def __init__(
        self,
        proxy: str | None = None,
        *,
        connect_s: float = Clocks.connect,
        admits: AddressCheck | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(proxy, connect_s=connect_s, admits=admits, tls=tls)
        self._leaving: set[WebSocket] = set()

    async def open(self, url: str, deadline: Deadline) -> "WebSocket":
        """Open a connection to `url` (`http` or `https`), handshake included, within the connect clock.

        Raises `HandshakeRefusedError` when a server answered and did not want to.
        """
        try:
            with deadline:
                async with asyncio.timeout(deadline.clocks.connect):
                    return WebSocket(await self._connect(url), deadline, self._leaving)
        except (*NETWORK_ERRORS, ValueError) as error:
            # Many of aiohttp's errors name the whole address; what the system said does not.
            failure, cause = unreachable(error), getattr(error, "os_error", None)
        raise failure from cause

    async def aclose(self) -> None:
        """Close all connections; the next request would open new ones."""
        for socket in tuple(self._leaving):
            socket.abort()
        await super().aclose()

    async def _connect(self, url: str) -> "_Socket":
        if self._session is None:
            self._session = self._new_session()
        proxy = None if self._through_socks else self._proxy
        if self._admits is not None:
            check_literal(proxy or url, self._admits)
        socket = await self._session.ws_connect(
            URL(url, encoded=True), proxy=proxy, max_msg_size=MAX_FRAME_BYTES, decode_text=False
        )
        return cast("_Socket", socket)

    def _new_session(self) -> aiohttp.ClientSession:
        plain = super()._new_session()
        session = aiohttp.ClientSession(
            connector=plain.connector,
            cookie_jar=plain.cookie_jar,
            timeout=plain.timeout,
            headers=plain.headers,
            trust_env=False,
            middlewares=(_only_websockets,),
            ws_response_class=_Socket,  # type: ignore[arg-type]
        )
        plain.detach()
        return session


class WebSocket:
    """An open connection; the clocks of its `deadline` run while it waits, and answering pings is no progress."""

    def __init__(self, socket: "_Socket", deadline: Deadline, leaving: "set[WebSocket]") -> None:
        self._socket = socket
        self._transport = socket.transport
        self._deadline = deadline
        self._leaving = leaving
        self._give_up: asyncio.TimerHandle | None = None

    async def send(self, text: bytes) -> None:
        """Send one text frame."""
        try:
            with self._deadline:
                await self._socket.send_frame(text, aiohttp.WSMsgType.TEXT)
        except NETWORK_ERRORS as error:
            raise broken("connection_lost") from error

    async def receive(self) -> bytes | None:
        """Return the text of the next frame, None when the peer said goodbye properly."""
        try:
            with self._deadline:
                message = await self._socket.receive()
        except NETWORK_ERRORS as error:
            raise broken("connection_lost") from error
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                return bytes(message.data)
            case aiohttp.WSMsgType.CLOSE if message.data in _CLOSED_WELL:
                return None
            case aiohttp.WSMsgType.CLOSE:
                raise broken(f"closed_{message.data}")
            case aiohttp.WSMsgType.BINARY:
                raise broken("binary_frame")
            case aiohttp.WSMsgType.ERROR:
                too_big = getattr(message.data, "code", None) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
                raise broken("frame_too_large" if too_big else "bad_frame")
            case _:
                raise broken("connection_lost")

    def close(self) -> None:
        """Say goodbye and close at once, by force a moment later; nobody waits for the peer. Safe to repeat."""
        transport = self._transport
        if self._give_up is not None:
            return
        if not transport.is_closing():
            transport.write(_GOODBYE)
        self._leaving.add(self)
        self._give_up = asyncio.get_running_loop().call_later(_GOODBYE_S, self.abort)
        self._socket.response.close()

    def abort(self) -> None:
        """Close the connection without a goodbye, without sending what is still buffered."""
        self._leaving.discard(self)
        if self._give_up is not None:
            self._give_up.cancel()
        self._transport.abort()
        self._socket.response.close()


def broken(vendor_code: str) -> ProviderError:
    """Return the failure for a conversation that went wrong after a good handshake."""
    return broken_answer(vendor_code, status=101)


class _Socket(aiohttp.ClientWebSocketResponse[bool]):
    @property
    def response(self) -> aiohttp.ClientResponse:
        return self._response

    @property
    def transport(self) -> asyncio.Transport:
        connection = self._response.connection
        if connection is None or connection.transport is None:
            raise ConnectionResetError
        return connection.transport


async def _only_websockets(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Stop at any other answer than 101: redirects are not followed, and the reason is in the body."""
    try:
        response = await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        # As it is, aiohttp would quietly try again; that is for the caller to decide.
        raise ConnectionResetError from None
    if response.status == 101:
        return response
    try:
        raise HandshakeRefusedError(response.status, response.headers, await _body(response))
    finally:
        response.close()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    with contextlib.suppress(*NETWORK_ERRORS):
        async with asyncio.timeout(_ERROR_BODY_S):
            while len(body) <= _MAX_ERROR_BODY_BYTES and (chunk := await response.content.readany()):
                body += chunk
    return body
