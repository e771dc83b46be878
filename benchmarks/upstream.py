"""A fast fake upstream: streamed OpenAI chat completions, each delta with the time of its writing.

`python -m benchmarks.upstream PORT`. The model's name describes the stream: `paced-<deltas>-<milliseconds between>`;
with 0 milliseconds all deltas come at once. `GET /closed` returns when a stream was last cut off, in nanoseconds of the
system's monotonic clock.
"""

import asyncio
import re
import sys
import time
from typing import ClassVar

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DELTA = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1704164645,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"t%d "},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1704164645,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}}\n\ndata: [DONE]\n\n'
)
MODEL = re.compile(rb'"model"\s*:\s*"[^"]*?paced-(\d+)-(\d+)"')


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class UpstreamProtocol(asyncio.Protocol):
    """One connection that serves requests one after the other."""

    # When a stream was last cut off.
    closed_at: ClassVar[int] = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self._received, self._left = transport, b"", 0
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        if self._received.startswith(b"GET /closed "):
            found = b"%d" % UpstreamProtocol.closed_at
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(found), found))
            self._received = b""
            return
        length = re.search(rb"content-length:\s*(\d+)", self._received[:end], re.IGNORECASE)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < whole:
            return
        body, self._received = self._received[end + 4 : whole], self._received[whole:]
        wanted = MODEL.search(body)
        self._left, milliseconds = (int(wanted[1]), int(wanted[2])) if wanted else (3, 0)
        self._seconds = milliseconds / 1000
        self._transport.write(HEAD)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left:
            UpstreamProtocol.closed_at = time.monotonic_ns()

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        while self._left:
            self._left -= 1
            self._transport.write(_chunk(DELTA % time.monotonic_ns()))
            if self._seconds:
                self._loop.call_later(self._seconds, self._next)
                return
        self._transport.write(_chunk(LAST) + b"0\r\n\r\n")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(UpstreamProtocol, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
