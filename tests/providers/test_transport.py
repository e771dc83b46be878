"""Clients, proxies, addresses and clocks, on real sockets and on both event loops."""

import asyncio
import contextlib
import datetime
import gc
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from providers.wire.base import Clocks, Endpoint, Finished
from providers.wire.errors import ProviderError, UpstreamFailed, UpstreamTimeout
from providers.wire.net.deadline import Deadline
from providers.wire.openai.adapter import OpenAICompatible
from tests.providers.streams import PATIENCE_SECONDS, collect, request, text, until
from tests.proxies import FakeProxy
from tests.readers import until_below
from tests.scenarios import PLAIN
from tests.upstreams import FakeOpenAI

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine on the standard library's loop and on the one used in production."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run  # type: ignore[misc]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


def server_tls(certificate: Path) -> ssl.SSLContext:
    """Return the server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextlib.asynccontextmanager
async def providing(base_url: str, proxy: str | None = None, **options: Any) -> AsyncIterator[OpenAICompatible]:
    """A provider that is closed in the end."""
    provider = OpenAICompatible(Endpoint(base_url, proxy, options.pop("clocks", Clocks()), **options))
    try:
        yield provider
    finally:
        await provider.aclose()


async def failure_of(provider: OpenAICompatible, model: str = "plain") -> ProviderError:
    """Return the failure of a request."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(request(model), "sk-1"))
    return failure.value


def test_completion_arrives_on_either_loop(run: Run) -> None:
    """A completion arrives on either loop, and closing twice is harmless."""

    async def main() -> None:
        async with FakeOpenAI() as upstream, providing(upstream.base_url) as provider:
            assert text(await collect(provider.stream(request(), "sk-1"))) == PLAIN
            await provider.aclose()

    run(main())


def test_tls_is_verified(run: Run, certificate: Path) -> None:
    """An unknown certificate is a network failure; with its authority given the completion arrives."""

    async def main() -> None:
        async with FakeOpenAI(tls=server_tls(certificate)) as upstream:
            async with providing(upstream.base_url) as provider:
                assert (await failure_of(provider)).vendor_code == "network"
            trusted = ssl.create_default_context(cafile=str(certificate))
            async with providing(upstream.base_url, tls=trusted) as provider:
                assert text(await collect(provider.stream(request(), "sk-1"))) == PLAIN

    run(main())


@pytest.mark.parametrize("model", ["hang", "hang_mid_stream"])
@pytest.mark.parametrize("kind", ["tls", "http-proxy", "socks5-proxy"])
def test_cancelling_closes_every_kind_of_connection(run: Run, certificate: Path, kind: str, model: str) -> None:
    """The upstream sees the end within 50 ms through TLS and proxies too."""

    async def main() -> float:
        tls = server_tls(certificate) if kind == "tls" else None
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with FakeOpenAI(tls=tls) as upstream, FakeProxy() as proxy:
            way = {"tls": None, "http-proxy": f"http://{proxy.address}", "socks5-proxy": f"socks5://{proxy.address}"}
            async with providing(upstream.base_url, way[kind], tls=trusted) as provider:
                reading = asyncio.ensure_future(collect(provider.stream(request(model), "sk-1")))
                await until(lambda: upstream.open_streams)
                await asyncio.sleep(0.05)
                cancelled_at = time.monotonic()
                reading.cancel()
                await asyncio.wait({reading})
                await until(lambda: upstream.requests[0].closed_by_peer_at)
                return (upstream.requests[0].closed_by_peer_at or 0) - cancelled_at

    delays: list[float] = []
    for _ in until_below(0.05, delays):
        delays.append(run(main()))
    assert min(delays) < 0.05


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_proxies(run: Run, certificate: Path, scheme: str, secure: bool) -> None:
    """Every kind of proxy carries plain and TLS upstreams, with credentials; wrong ones are our configuration."""

    async def main() -> None:
        tls = server_tls(certificate) if secure else None
        trusted = ssl.create_default_context(cafile=str(certificate))
        proxy_tls = server_tls(certificate) if scheme == "https" else None
        async with FakeOpenAI(tls=tls) as upstream, FakeProxy("user:pass", proxy_tls) as proxy:
            async with providing(upstream.base_url, f"{scheme}://user:pass@{proxy.address}", tls=trusted) as provider:
                for _ in range(2):
                    events = await collect(provider.stream(request(), "sk-1"))
                    assert (text(events), events[-1]) == (PLAIN, Finished("stop"))
            assert str(upstream.port) in proxy.targets[0]
            async with providing(upstream.base_url, f"{scheme}://user:wrong@{proxy.address}", tls=trusted) as provider:
                failure = await failure_of(provider)
            assert failure.action == "ops"
            assert "wrong" not in f"{failure} {failure.__cause__!r}"

    run(main())


def test_environment_is_ignored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment changes nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def main() -> None:
        async with FakeOpenAI() as upstream, providing(upstream.base_url) as provider:
            assert text(await collect(provider.stream(request(), "sk-1"))) == PLAIN

    run(main())


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_refused_connection(run: Run, proxy: str | None) -> None:
    """A refused connection is a network failure that rests the whole upstream after two more attempts."""

    async def main() -> ProviderError:
        async with providing("http://127.0.0.1:1/v1", proxy) as provider:
            return await failure_of(provider)

    failure = run(main())
    assert (type(failure), failure.action, failure.attempts) == (UpstreamFailed, "wait", 2)
    assert (failure.cooldown_s, failure.scope, failure.vendor_code) == (0, "all", "network")


@pytest.mark.parametrize("scheme", ["https", "socks5-proxy"])
def test_connect_clock(run: Run, scheme: str) -> None:
    """A host that takes the connection and says nothing runs into the connect clock."""

    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    async def main() -> ProviderError:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        proxy = None if scheme == "https" else f"socks5://{address}"
        clocks = Clocks(connect=0.2, first=1)
        async with server, providing(f"https://{address}/v1", proxy, clocks=clocks) as provider:
            failure = await failure_of(provider)
            await asyncio.wait_for(gone.wait(), PATIENCE_SECONDS)
            return failure

    failure = run(main())
    assert isinstance(failure, UpstreamTimeout)
    assert failure.vendor_code == "connect_timeout"


@pytest.mark.parametrize("base_url", ["", "nonsense", "ftp://h/v1", "http://", "http://2130706433/v1"])
def test_bad_addresses(run: Run, base_url: str) -> None:
    """An address that is none is our configuration."""

    async def main() -> ProviderError:
        async with providing(base_url) as provider:
            return await failure_of(provider)

    assert run(main()).action == "ops"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("proxied", ["direct", "http", "socks5"])
def test_addresses_are_asked_about(run: Run, host: str, proxied: str) -> None:
    """An address that is not admitted is never connected to, written out or behind a name, the proxy's included."""
    asked: list[str] = []

    def admits(_host: str, address: str) -> bool:
        asked.append(address)
        return False

    async def main() -> tuple[ProviderError, int]:
        async with FakeOpenAI() as upstream:
            address = f"{host}:{upstream.port}"
            proxy = None if proxied == "direct" else f"{proxied}://{address}"
            async with providing(f"http://{address}/v1", proxy, admits=admits) as provider:
                return await failure_of(provider), upstream.connections

    failure, connections = run(main())
    assert (failure.action, failure.vendor_code, connections) == ("ops", "address_refused", 0)
    assert set(asked) <= {"127.0.0.1", "::1"}


def test_admitted_addresses_are_used(run: Run) -> None:
    """An admitted name works as ever."""

    async def main() -> str:
        async with FakeOpenAI() as upstream:
            base_url = f"http://localhost:{upstream.port}/v1"
            async with providing(base_url, admits=lambda _host, address: address == "127.0.0.1") as provider:
                return text(await collect(provider.stream(request(), "sk-1")))

    assert run(main()) == PLAIN


def test_cookies_are_not_kept(run: Run) -> None:
    """A cookie of one response does not come back with the next request."""

    async def main() -> list[dict[str, str]]:
        async with FakeOpenAI() as upstream, providing(upstream.base_url) as provider:
            await failure_of(provider, "cookie")
            await failure_of(provider, "cookie")
            return [recorded.headers for recorded in upstream.requests]

    assert all("cookie" not in headers for headers in run(main()))


def test_closing_while_connections_linger(run: Run) -> None:
    """Nothing is left open when the provider is closed right after a completion whose body has not ended."""

    async def main() -> None:
        async with FakeOpenAI() as upstream:
            async with providing(upstream.base_url) as provider:
                assert (await collect(provider.stream(request("done_open"), "sk-1")))[-1] == Finished("stop")
            await until(lambda: not upstream.open_connections)
        gc.collect()

    run(main())


def test_deadline_lets_a_cancellation_win(run: Run) -> None:
    """A cancellation from outside stays one, also when a clock runs out in the same moment."""

    async def main() -> bool:
        deadline = Deadline(Clocks(first=0.02))

        async def wait() -> None:
            with deadline:
                await asyncio.sleep(1)

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        time.sleep(0.03)
        waiting.cancel()
        await asyncio.wait({waiting})
        deadline.close()
        return waiting.cancelled()

    assert run(main())


def test_deadline_counts_waiting_only(run: Run) -> None:
    """The idle clock starts with the wait after progress, and runs out in it."""

    async def main() -> tuple[float, str]:
        deadline = Deadline(Clocks(first=90, idle=0.1, total=90))
        with deadline:
            await asyncio.sleep(0.01)
        deadline.payload()
        await asyncio.sleep(0.15)
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout) as failure, deadline:
            await asyncio.sleep(PATIENCE_SECONDS)
        return time.monotonic() - started, failure.value.vendor_code

    waited, code = run(main())
    assert waited >= 0.09
    assert code == "idle_timeout"
