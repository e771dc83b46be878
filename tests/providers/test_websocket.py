"""WebSocket connections: stopping, clocks, TLS, proxies and addresses, on real sockets and on both event loops."""

import asyncio
import contextlib
import gc
import itertools
import re
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.utils import accept_key

from providers.wire.base import Clocks, Endpoint, Finished
from providers.wire.errors import ProviderError, UpstreamFailed, UpstreamTimeout
from providers.wire.net.deadline import Deadline
from providers.wire.net.websocket import WebSocket
from providers.wire.spark.adapter import Spark
from tests.providers import test_transport
from tests.providers.streams import PATIENCE_SECONDS, collect, request, text, until
from tests.providers.test_transport import Run, server_tls
from tests.proxies import FakeProxy
from tests.readers import until_below
from tests.scenarios import PLAIN
from tests.spark import KEY, FakeSpark

run, certificate = test_transport.run, test_transport.certificate


@contextlib.asynccontextmanager
async def providing(base_url: str, proxy: str | None = None, **options: Any) -> AsyncIterator[Spark]:
    """A provider that is closed in the end."""
    provider = Spark(Endpoint(base_url, proxy, options.pop("clocks", Clocks()), **options))
    try:
        yield provider
    finally:
        await provider.aclose()


async def failure_of(provider: Spark, key: str = KEY) -> ProviderError:
    """Return the failure of a request."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(request("lite"), key))
    return failure.value


def test_each_completion_has_its_own_connection(run: Run) -> None:
    """Completions arrive on either loop, each on a connection of its own, and closing twice is harmless."""

    async def main() -> None:
        async with FakeSpark() as upstream, providing(upstream.base_url) as provider:
            for _ in range(2):
                assert text(await collect(provider.stream(request("lite"), KEY))) == PLAIN
            await provider.aclose()
            assert upstream.connections == 2

    run(main())
    gc.collect()


@pytest.mark.parametrize(
    ("frame", "vendor_code"),
    [(b"\x88\x02\x03\xf5", "closed_1013"), (b"\x88\x02\x03\xe8", "truncated"), (b"\xff\x00", "bad_frame")],
)
def test_an_end_that_arrives_with_the_handshake_is_a_failure_of_the_upstream(
    run: Run, frame: bytes, vendor_code: str
) -> None:
    """A busy gateway accepts and closes in one segment; the failure allows another key or route."""
    ended = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = re.search(r"(?im)^sec-websocket-key: (\S+)", head)
        assert key
        accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{accepted}Sec-WebSocket-Accept: {accept_key(key[1])}\r\n\r\n".encode() + frame)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await reader.read()
        writer.transport.abort()
        ended.set()

    async def main() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, providing(f"ws://127.0.0.1:{port}") as provider:
            assert (await failure_of(provider)).vendor_code == vendor_code
            await ended.wait()

    run(main())


@pytest.mark.parametrize(
    ("model", "expected", "how"),
    [
        ("key/hang", 0, "cancel"),
        ("hang_after_connect", 0, "cancel"),
        ("pings", 0, "cancel"),
        ("no_close_reply", 0, "cancel"),
        ("hang_mid", 3, "cancel"),
        ("hang_mid", 3, "aclose"),
        ("no_close_reply:2", 2, "cancel"),
        ("no_close_reply:2", 2, "aclose"),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "tls", "http-proxy", "socks5-proxy"])
def test_stopping_closes_the_upstream(
    run: Run, certificate: Path, kind: str, model: str, expected: int, how: str
) -> None:
    """The upstream sees the end within 50 ms, before the handshake too, and whether or not it replies to a goodbye."""

    async def stopping(upstream: FakeSpark, provider: Spark) -> float:
        key = upstream.key("hang") if model == "key/hang" else KEY
        stream: Any = provider.stream(request(model.removeprefix("key/")), key)
        for _ in range(expected):
            await anext(stream)
        reading = asyncio.ensure_future(collect(stream)) if how == "cancel" else None
        # The handshake has ended on both sides when the prompt is there.
        await until(lambda: upstream.requests and (model == "key/hang" or upstream.requests[0].body))
        await asyncio.sleep(0.02)
        stopped_at = time.monotonic()
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        else:
            await stream.aclose()
        await until(lambda: upstream.requests[0].closed_by_peer_at)
        if model != "key/hang":
            assert upstream.requests[0].goodbye_at is not None  # type: ignore[attr-defined]
        return (upstream.requests[0].closed_by_peer_at or 0) - stopped_at

    async def main() -> float:
        tls = server_tls(certificate) if kind == "tls" else None
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with FakeSpark(tls=tls) as upstream, FakeProxy() as proxy:
            way = {"http-proxy": f"http://{proxy.address}", "socks5-proxy": f"socks5://{proxy.address}"}.get(kind)
            async with providing(upstream.base_url, way, tls=trusted) as provider:
                return await stopping(upstream, provider)

    delays: list[float] = []
    for _ in until_below(0.05, delays):
        delays.append(run(main()))
    assert min(delays) < 0.05


def test_tls_is_verified(run: Run, certificate: Path) -> None:
    """An unknown certificate is a network failure; with its authority given the completion arrives."""

    async def main() -> None:
        async with FakeSpark(tls=server_tls(certificate)) as upstream:
            async with providing(upstream.base_url) as provider:
                assert (await failure_of(provider)).vendor_code == "network"
            trusted = ssl.create_default_context(cafile=str(certificate))
            async with providing(upstream.base_url, tls=trusted) as provider:
                assert text(await collect(provider.stream(request("lite"), KEY))) == PLAIN

    run(main())


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_proxies(run: Run, certificate: Path, scheme: str, secure: bool) -> None:
    """Every kind of proxy carries plain and TLS upstreams, with credentials; wrong ones are our configuration."""

    async def main() -> None:
        tls = server_tls(certificate) if secure else None
        trusted = ssl.create_default_context(cafile=str(certificate))
        proxy_tls = server_tls(certificate) if scheme == "https" else None
        async with FakeSpark(tls=tls) as upstream, FakeProxy("user:pass", proxy_tls) as proxy:
            async with providing(upstream.base_url, f"{scheme}://user:pass@{proxy.address}", tls=trusted) as provider:
                events = await collect(provider.stream(request("lite"), KEY))
                assert (text(events), events[-1]) == (PLAIN, Finished("stop"))
            assert str(upstream.port) in proxy.targets[0]
            async with providing(upstream.base_url, f"{scheme}://user:wrong@{proxy.address}", tls=trusted) as provider:
                failure = await failure_of(provider)
            assert (failure.action, failure.vendor_code) == ("ops", "proxy_refused")
            assert "wrong" not in f"{failure} {failure.__cause__!r}"

    run(main())


def test_environment_is_ignored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment changes nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "WS_PROXY", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def main() -> None:
        async with FakeSpark() as upstream, providing(upstream.base_url) as provider:
            assert text(await collect(provider.stream(request("lite"), KEY))) == PLAIN

    run(main())


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_refused_connection(run: Run, proxy: str | None) -> None:
    """A refused connection is a network failure that rests the whole upstream after two more attempts."""

    async def main() -> ProviderError:
        async with providing("ws://127.0.0.1:1/v1.1/chat", proxy) as provider:
            return await failure_of(provider)

    failure = run(main())
    assert (type(failure), failure.action, failure.attempts) == (UpstreamFailed, "wait", 2)
    assert (failure.cooldown_s, failure.scope, failure.vendor_code) == (0, "all", "network")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_connect_clock(run: Run, scheme: str) -> None:
    """A host that takes the connection and does not finish the handshake runs into the connect clock."""
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    async def main() -> ProviderError:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        address = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1.1/chat"
        async with server, providing(address, clocks=Clocks(connect=0.2, first=5)) as provider:
            failure = await failure_of(provider)
            await asyncio.wait_for(gone.wait(), PATIENCE_SECONDS)
            return failure

    failure = run(main())
    assert isinstance(failure, UpstreamTimeout)
    assert failure.vendor_code == "connect_timeout"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("proxied", ["direct", "http", "socks5"])
def test_addresses_are_asked_about(run: Run, host: str, proxied: str) -> None:
    """An address that is not admitted is never connected to, written out or behind a name, the proxy's included."""
    asked: list[str] = []

    def admits(_host: str, address: str) -> bool:
        asked.append(address)
        return False

    async def main() -> tuple[ProviderError, int]:
        async with FakeSpark() as upstream:
            proxy = None if proxied == "direct" else f"{proxied}://{host}:{upstream.port}"
            async with providing(f"ws://{host}:{upstream.port}/v1.1/chat", proxy, admits=admits) as provider:
                return await failure_of(provider), upstream.connections

    failure, connections = run(main())
    assert (failure.action, failure.vendor_code, connections) == ("ops", "address_refused", 0)
    assert set(asked) <= {"127.0.0.1", "::1"}


def test_admitted_addresses_are_used(run: Run) -> None:
    """An admitted name works as ever, and is signed as the name."""

    async def main() -> str:
        async with FakeSpark() as upstream:
            base_url = f"ws://localhost:{upstream.port}/v1.1/chat"
            async with providing(base_url, admits=lambda _host, address: address == "127.0.0.1") as provider:
                await collect(provider.stream(request("lite"), KEY))
                return upstream.requests[0].query["host"]  # type: ignore[attr-defined]

    assert run(main()).startswith("localhost:")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_closing_the_provider_leaves_nothing(run: Run, certificate: Path, secure: bool) -> None:
    """A provider that is closed right after a stream was stopped leaves no socket behind."""

    async def main() -> None:
        tls = server_tls(certificate) if secure else None
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with FakeSpark(tls=tls) as upstream:
            async with providing(upstream.base_url, tls=trusted) as provider:
                stream: Any = provider.stream(request("no_close_reply:1"), KEY)
                await anext(stream)
                await stream.aclose()
            await until(lambda: not upstream.open_connections)

    run(main())
    gc.collect()


class Wire(asyncio.Transport):
    """A transport that goes nowhere; `written` is what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.paused = self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """Return a frame as a server sends it."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)
    return bytes([(0x80 if final else 0) | opcode]) + length + payload


async def messages_of(*reads: bytes) -> tuple[list[bytes], Wire]:
    """Return the messages of reads that end with a goodbye, and what was sent."""
    deadline, wire = Deadline(Clocks()), Wire()
    websocket = WebSocket(deadline, set())
    websocket.connection_made(wire)
    for read in reads:
        websocket.data_received(read)
    messages = []
    while (message := await websocket.receive()) is not None:
        messages.append(message)
    return messages, wire


texts = st.lists(st.text(max_size=200).map(str.encode), max_size=5)


@given(texts, st.lists(st.integers(1, 300), max_size=30), st.booleans())
async def test_messages_are_the_same_however_the_bytes_are_cut(
    texts: list[bytes], sizes: list[int], pings: bool
) -> None:
    """Whole frames, several at once and parts of one give the same messages, with pings and fragments between them."""
    data = b""
    for message in texts:
        data += frame(9, b"ping") if pings else b""
        data += frame(1, message) if len(message) % 2 else frame(1, message[:1], final=False) + frame(0, message[1:])
    data += frame(8, (1000).to_bytes(2))
    reads = []
    for size in sizes:
        reads.append(data[:size])
        data = data[size:]

    messages, wire = await messages_of(*filter(None, reads), data)

    assert messages == texts
    # A masked pong is ten bytes: two of the head, the mask of four, and the four of the ping.
    pongs = itertools.takewhile(lambda at: wire.written[at : at + 2] == b"\x8a\x84", itertools.count(step=10))
    assert len(list(pongs)) == len(texts) * pings


@pytest.mark.parametrize(
    ("data", "vendor_code"),
    [
        (frame(1, b"a") + frame(1, b"a", final=False) + frame(1, b"b"), "bad_frame"),
        (b"\x81\x85\0\0\0\0hello", "bad_frame"),
        (b"\xc1\x01a", "bad_frame"),
        (frame(0, b"a"), "bad_frame"),
        (frame(8, (999).to_bytes(2)), "bad_frame"),
        (frame(8, (1011).to_bytes(2)), "closed_1011"),
        (frame(2, b"a"), "binary_frame"),
    ],
    ids=["text within a message", "masked", "reserved bit", "no beginning", "close code", "closed", "binary"],
)
async def test_breaches_of_the_standard_end_the_stream(data: bytes, vendor_code: str) -> None:
    """Each breach of the standard is a broken response, after the messages before it."""
    with pytest.raises(UpstreamFailed) as failure:
        await messages_of(frame(1, b"before"), data)
    assert failure.value.vendor_code == vendor_code


async def test_slow_reader_slows_the_server_down() -> None:
    """Reading stops beyond a bound and goes on when the messages have been taken."""
    wire, websocket = Wire(), WebSocket(Deadline(Clocks()), set())
    websocket.connection_made(wire)
    websocket.data_received(frame(1, b"x" * 40_000) * 2)
    assert wire.paused

    assert len(await websocket.receive() or b"") == 40_000
    assert not wire.paused
