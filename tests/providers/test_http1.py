"""The HTTP transport against a server that writes prepared bytes: framing, bounds, and reuse of connections."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from providers.wire.base import Clocks, Endpoint, Finished
from providers.wire.errors import UpstreamFailed
from providers.wire.net.deadline import Deadline
from providers.wire.net.exchange import send
from providers.wire.net.http1 import MAX_BUFFERED_BYTES, MAX_HEAD_BYTES
from providers.wire.net.transport import Transport
from providers.wire.openai.adapter import OpenAICompatible
from tests.providers.streams import PATIENCE_SECONDS, PATIENT, collect, request, text
from tests.scenarios import delta_bytes

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


class PreparedServer:
    """Writes the next prepared reply for every request; `heads` are the requests."""

    def __init__(self, *replies: bytes | Write) -> None:
        self.replies = list(replies)
        self.heads: list[str] = []
        self.connections = 0
        self.gone = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve, and yield the address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/path"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.replies:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                reply = self.replies.pop(0)
                if isinstance(reply, bytes):
                    writer.write(reply)
                else:
                    await reply(writer)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self.gone.set()


async def exchange(*replies: bytes | Write, count: int = 1) -> tuple[list[tuple[int, bytes]], PreparedServer]:
    """Return status and body of `count` requests, one after another, and the server."""
    server, transport, found = PreparedServer(*replies), Transport(Endpoint("")), []
    async with server.running() as url:
        for _ in range(count):
            one = await send(transport, "GET", url, {}, Deadline(PATIENT))
            found.append((one.status, await one.read_up_to(2**24)))
            await one.close()
        await transport.aclose()
        await server.gone.wait()
    return found, server


async def cut(writer: asyncio.StreamWriter) -> None:
    """Send a body that ends with the connection."""
    writer.write(OK + b"\r\nwhole")
    writer.close()


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"content-length: 5\r\n\r\nwhole",
        CHUNKED + b"2;x=y\r\nwh\r\n3  \r\nole\r\n0\r\ntrailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nwhole",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        + OK
        + b"content-length: 5\r\n\r\nwhole",
        OK.replace(b"\r\n", b"\n") + b"content-length: 5\n\nwhole",
        cut,
    ],
    ids=["length", "chunked", "old", "informational", "line feeds", "until the end"],
)
async def test_body_is_read_in_every_framing(reply: bytes | Write) -> None:
    """The body arrives whole, however its end is marked."""
    found, _ = await exchange(reply)

    assert found == [(200, b"whole")]


async def test_connection_is_reused_after_a_whole_body() -> None:
    """The second request goes over the same connection."""
    reply = OK + b"content-length: 5\r\n\r\nwhole"

    found, server = await exchange(reply, reply, count=2)

    assert found == [(200, b"whole")] * 2
    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"connection: close\r\ncontent-length: 5\r\n\r\nwhole",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nwhole",
        OK + b"content-length: 5\r\n\r\nwhole" + OK + b"content-length: 0\r\n\r\n",
        OK + b"content-length: 5\r\n\r\nwhole and more",
    ],
    ids=["close", "old", "second response", "bytes left over"],
)
async def test_connection_is_not_reused(reply: bytes) -> None:
    """A connection that the server closes, or that carries more than was asked for, is given up."""
    found, server = await exchange(reply, OK + b"content-length: 0\r\n\r\n", count=2)

    assert found == [(200, b"whole"), (200, b"")]
    assert server.connections == 2


async def test_bytes_on_an_idle_connection_close_it() -> None:
    """No response to a later request can be smuggled in beforehand."""
    server, transport = PreparedServer(), Transport(Endpoint(""))

    async def twice(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: 0\r\n\r\n")
        await writer.drain()
        await freed.wait()
        writer.write(OK + b"content-length: 3\r\n\r\nbad")

    freed = asyncio.Event()
    server.replies = [twice]
    async with server.running() as url:
        one = await send(transport, "GET", url, {}, Deadline(Clocks()))
        assert await one.read() == b""
        freed.set()
        await asyncio.wait_for(server.gone.wait(), PATIENCE_SECONDS)
        await transport.aclose()


async def flood(writer: asyncio.StreamWriter, piece: bytes) -> None:
    for _ in range(2**21 // len(piece)):
        writer.write(piece)
        await writer.drain()


@pytest.mark.parametrize(
    ("start", "piece", "vendor_code"),
    [
        (OK + b"x: ", b"y" * 4096, "bad_http"),
        (OK, b"x: " + b"y" * 100 + b"\r\n", "bad_http"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "bad_http"),
        (OK[:-2], b"x" * 4096, "bad_http"),
        (CHUNKED + b"0\r\n", b"x: " + b"y" * 100 + b"\r\n", "connection_lost"),
        (CHUNKED + b"1;", b"x" * 4096, "connection_lost"),
    ],
    ids=["header", "headers", "informational", "reason", "trailers", "chunk extension"],
)
async def test_heads_and_trailers_are_bounded(start: bytes, piece: bytes, vendor_code: str) -> None:
    """A part of the response that is no body fails at the bound, whichever part it is."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await flood(writer, piece)

    with pytest.raises(UpstreamFailed) as failure:
        await asyncio.wait_for(exchange(reply), PATIENCE_SECONDS)
    assert failure.value.vendor_code == vendor_code


async def test_large_head_is_taken() -> None:
    """A head below the bound is read, its headers included."""
    found, _ = await exchange(OK + b"x: " + b"y" * (MAX_HEAD_BYTES - 1000) + b"\r\ncontent-length: 0\r\n\r\n")

    assert found == [(200, b"")]


async def test_slow_reader_slows_the_server_down() -> None:
    """The transport stops reading until the reader takes the body, which then arrives whole."""
    sent, size = 0, 2**25

    async def reply(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 2**16)
            await writer.drain()
            sent += 2**16

    server, transport = PreparedServer(reply), Transport(Endpoint(""))
    async with server.running() as url:
        one = await send(transport, "GET", url, {}, Deadline(Clocks()))
        before = -1
        while sent != before:
            before = sent
            for _turn in range(50):  # of the loop, however slow the machine is
                await asyncio.sleep(0.002)
        assert MAX_BUFFERED_BYTES < before < size
        read = 0
        while data := await one.read():
            read += len(data)
        assert read == size
        await transport.aclose()


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip"])
async def test_compressed_bodies_are_read(encoding: bytes) -> None:
    """A gateway that compresses unasked is understood."""
    body = gzip.compress(b"whole")

    found, _ = await exchange(OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (encoding, len(body)) + body)

    assert found == [(200, b"whole")]


@pytest.mark.parametrize("encoding", [b"none", b"utf-8", b"identity", b""])
async def test_names_that_are_no_compression_are_ignored(encoding: bytes) -> None:
    """Some gateways name a charset or `none` as the coding of a plain body."""
    found, _ = await exchange(OK + b"content-encoding: %b\r\ncontent-length: 5\r\n\r\nplain" % encoding)

    assert found == [(200, b"plain")]


@pytest.mark.parametrize(
    ("body", "vendor_code"), [(gzip.compress(b"x" * 2**26), "event_too_large"), (b"not gzip", "bad_encoding")]
)
async def test_compressed_bodies_are_bounded(body: bytes, vendor_code: str) -> None:
    """A small body that inflates without measure is a broken response."""
    with pytest.raises(UpstreamFailed) as failure:
        await exchange(OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    assert failure.value.vendor_code == vendor_code


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\0b"])
async def test_no_header_is_smuggled(value: str) -> None:
    """A header value with a line break is refused before anything is sent."""
    server, transport = PreparedServer(), Transport(Endpoint(""))
    async with server.running() as url:
        with pytest.raises(UpstreamFailed) as failure:
            await send(transport, "GET", url, {"x": value}, Deadline(Clocks()))
    assert (failure.value.action, server.connections) == ("ops", 0)


async def test_request_names_host_and_product() -> None:
    """The head has the target, the host with its port, and our name."""
    _, server = await exchange(OK + b"content-length: 0\r\n\r\n")

    lines = server.heads[0].lower().split("\r\n")
    assert lines[0] == "get /path http/1.1"
    assert any(line.startswith("host: 127.0.0.1:") for line in lines)
    assert "user-agent: rivulet" in lines


async def test_adapters_take_any_transport_of_httpx() -> None:
    """An adapter streams from `httpx.MockTransport`, and its failures become ours."""
    replies: list[httpx.Response | Exception] = [
        httpx.Response(200, content=delta_bytes(content="hi") + b"data: [DONE]\n\n"),
        httpx.ConnectError("no"),
    ]

    def reply(asked: httpx.Request) -> httpx.Response:
        assert asked.url == "http://upstream.invalid/v1/chat/completions"
        following = replies.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    provider = OpenAICompatible(Endpoint("http://upstream.invalid/v1"), transport=httpx.MockTransport(reply))
    events = await collect(provider.stream(request(), "sk-1"))
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(request(), "sk-1"))

    assert (text(events), events[-1]) == ("hi", Finished("stop"))
    assert failure.value.vendor_code == "network"


async def flowing(*pieces: bytes, take: Callable[[bytes], bool]) -> bytes:
    """Read the first of these chunks, let `take` have the next ones, and return what is read then.

    Each is sent once the one before was read or taken.
    """
    taken = asyncio.Event()

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if piece is not pieces[-1]:
                await taken.wait()
                taken.clear()
        writer.write(b"0\r\n\r\n")

    def note(data: bytes) -> bool:
        taken.set()
        return take(data)

    server, transport = PreparedServer(write), Transport(Endpoint(""))
    async with server.running() as url:
        one = await send(transport, "GET", url, {}, Deadline(PATIENT))
        try:
            assert await one.read() == pieces[0]
            taken.set()
            await one.flow(note)
            return await one.read_up_to(2**24)
        finally:
            await one.close()
            await transport.aclose()
            await server.gone.wait()


async def test_a_flow_wakes_no_task_for_a_read() -> None:
    """The bytes of a flow go to its reader from the connection's callback, outside of any task, to the end."""
    tasks, pieces = list[object](), list[bytes]()

    def take(data: bytes) -> bool:
        tasks.append(asyncio.current_task())
        pieces.append(data)
        return True

    assert await flowing(b"first", b"one", b"two", b"three", take=take) == b""
    assert pieces == [b"one", b"two", b"three"]
    assert tasks == [None] * 3


async def test_a_flow_ends_where_its_reader_wants() -> None:
    """A reader that returns False gets no more; the rest is read as before."""
    pieces: list[bytes] = []

    def take(data: bytes) -> bool:
        pieces.append(data)
        return len(pieces) < 2

    assert await flowing(b"first", b"one", b"two", b"three", take=take) == b"three"
    assert pieces == [b"one", b"two"]


async def test_a_flow_leaves_what_came_before_a_failure() -> None:
    """Bytes that come in one read with bytes that are no part of a body can still be read."""
    begun = asyncio.Event()

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"5\r\nfirst\r\n")
        await begun.wait()
        writer.write(b"3\r\none\r\n\x00\xff SSH-2.0-what\r\n")

    server, transport = PreparedServer(write), Transport(Endpoint(""))
    async with server.running() as url:
        one = await send(transport, "GET", url, {}, Deadline(PATIENT))
        try:
            assert await one.read() == b"first"
            begun.set()
            await one.flow(lambda _data: True)
            assert await one.read() == b"one"
            with pytest.raises(UpstreamFailed):
                await one.read()
        finally:
            await one.close()
            await transport.aclose()


async def test_a_flow_raises_the_errors_of_its_reader() -> None:
    """An exception of the reader is raised in the task that waits for the flow."""

    def take(data: bytes) -> bool:
        raise ValueError(data)

    with pytest.raises(ValueError, match="one"):
        await flowing(b"first", b"one", take=take)
