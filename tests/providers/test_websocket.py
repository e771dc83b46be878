"""WebSocket connections: stopping, clocks, TLS, proxies and addresses, on real sockets and on both event loops."""

import asyncio
import contextlib
import gc
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from providers.wire.base import Clocks, Finished
from providers.wire.errors import ProviderError, UpstreamFailed, UpstreamTimeout
from providers.wire.spark.adapter import Spark
from tests.providers import test_transport
from tests.providers.streams import collect, request, text
from tests.providers.test_transport import Run, server_tls
from tests.proxies import FakeProxy
from tests.scenarios import PLAIN
from tests.spark import KEY, FakeSpark

run, certificate = test_transport.run, test_transport.certificate


@contextlib.asynccontextmanager
async def providing(base_url: str, proxy: str | None = None, **options: Any) -> AsyncIterator[Spark]:
    """A provider that is closed in the end."""
    provider = Spark(base_url, proxy, options.pop("clocks", Clocks()), **options)
    try:
        yield provider
    finally:
        await provider.aclose()


async def failure_of(provider: Spark, key: str = KEY) -> ProviderError:
    """Return the failure of a request."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(request("lite"), key))
    return failure.value


def test_it_works(run: Run) -> None:
    """Answers arrive on either loop, each on a connection of its own, and closing twice is harmless."""

    async def main() -> None:
        async with FakeSpark() as upstream, providing(upstream.base_url) as provider:
            for _ in range(2):
                assert text(await collect(provider.stream(request("lite"), KEY))) == PLAIN
            await provider.aclose()
            assert upstream.connections == 2

    run(main())
    gc.collect()


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
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["plain", "tls", "http-proxy", "socks5-proxy"])
def test_stopping_closes_the_upstream(
    run: Run, certificate: Path, kind: str, model: str, expected: int, how: str
) -> None:
    """The upstream sees the end within 50 ms, before the handshake too, and whether or not it answers a goodbye."""

    async def stopping(upstream: FakeSpark, provider: Spark) -> float:
        key = upstream.key("hang") if model == "key/hang" else KEY
        stream: Any = provider.stream(request(model.removeprefix("key/")), key)
        for _ in range(expected):
            await anext(stream)
        reading = asyncio.ensure_future(collect(stream)) if how == "cancel" else None
        while not upstream.requests:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        stopped_at = time.monotonic()
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        else:
            await stream.aclose()
        while upstream.requests[0].closed_by_peer_at is None:
            await asyncio.sleep(0.001)
        if model != "key/hang":
            assert upstream.requests[0].goodbye_at is not None  # type: ignore[attr-defined]
        return upstream.requests[0].closed_by_peer_at - stopped_at

    async def main() -> float:
        tls = server_tls(certificate) if kind == "tls" else None
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with FakeSpark(tls=tls) as upstream, FakeProxy() as proxy:
            way = {"http-proxy": f"http://{proxy.address}", "socks5-proxy": f"socks5://{proxy.address}"}.get(kind)
            async with providing(upstream.base_url, way, tls=trusted) as provider:
                return await stopping(upstream, provider)

    # The best of several: what a loaded machine adds is not ours.
    assert _best(run, main) < 0.05


def _best(run: Run, main: Any) -> float:
    best = 1.0
    for _ in range(5):
        best = min(best, run(main()))
        if best < 0.05:
            break
    return best


def test_tls_is_verified(run: Run, certificate: Path) -> None:
    """An unknown certificate is a network failure; with its authority given the answer arrives."""

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
            assert str(upstream.port) in proxy.seen[0]
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
def test_nobody_listens(run: Run, proxy: str | None) -> None:
    """A refused connection is a network failure that rests the whole upstream after two more attempts."""

    async def main() -> ProviderError:
        async with providing("ws://127.0.0.1:1/v1.1/chat", proxy) as provider:
            return await failure_of(provider)

    failure = run(main())
    assert (type(failure), failure.action, failure.attempts) == (UpstreamFailed, "wait", 2)
    assert (failure.cooldown_s, failure.scope, failure.vendor_code) == (60, "all", "network")


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
            await asyncio.wait_for(gone.wait(), 1)
            return failure

    failure = run(main())
    assert isinstance(failure, UpstreamTimeout)
    assert failure.vendor_code == "connect_timeout"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("proxied", ["direct", "http", "socks5"])
def test_addresses_are_asked_about(run: Run, host: str, proxied: str) -> None:
    """An address that is not admitted is never connected to, written out or behind a name, the proxy's included."""
    asked: list[str] = []

    def admits(address: str) -> bool:
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
            async with providing(base_url, admits=lambda address: address == "127.0.0.1") as provider:
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
            while upstream.open_connections:
                await asyncio.sleep(0.005)

    run(main())
    gc.collect()
