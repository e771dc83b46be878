"""CPU of a streamed upstream request and of a delta, over HTTP and WebSocket.

`python -m benchmarks.wire [--baseline PATH]` runs the adapters against a fake upstream in another process. The delta
cost is the slope between long and short streams, so that it contains no part of the request. With `--baseline`, rounds
of both checkouts alternate. The best round counts, because other processes only ever add to it.
"""

import argparse
import asyncio
import base64
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

HERE = Path(__file__).resolve()
# Deltas in a short and in a long stream, and seconds between two deltas.
SHORT, LONG, PAUSE_S = 2, 202, 0.002
# Streams at once, and how often each group of streams repeats in one round.
AT_ONCE, REPEATS = 20, 20
ROUNDS = 9

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_DELTA = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1704164645,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"some text "},"finish_reason":null}]}\n\n'
)
_END = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1704164645,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FakeUpstream(asyncio.Protocol):
    """Serve both protocols on one port; the model's name is the number of deltas."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport, self.received, self.websocket = transport, b"", False
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.websocket:
            self._read_frame()
        elif b"\r\n\r\n" in self.received:
            head, _, body = self.received.partition(b"\r\n\r\n")
            if key := re.search(rb"sec-websocket-key: *(\S+)", head, re.IGNORECASE):
                accept = base64.b64encode(hashlib.sha1(key[1] + _ACCEPT_GUID).digest())
                upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                self.transport.write(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                self.websocket, self.received = True, body
                return
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            if length and len(body) >= int(length[1]):
                self.received = b""
                self.transport.write(_HEAD)
                self._stream(int(json.loads(body)["model"]))

    def _read_frame(self) -> None:
        if len(self.received) < 8:
            return
        if self.received[0] & 0x0F == 8:
            self.transport.close()
            return
        size = self.received[1] & 0x7F
        start, length = (8, int.from_bytes(self.received[2:4])) if size == 126 else (6, size)
        if len(self.received) >= start + length:
            mask, masked = self.received[start - 4 : start], self.received[start : start + length]
            self.received = self.received[start + length :]
            frame = json.loads(bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked)))
            self._stream(int(frame["parameter"]["chat"]["domain"]))

    def _stream(self, left: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(self._piece(_DELTA if left else _END, last=not left))
        if left:
            self.loop.call_later(PAUSE_S, self._stream, left - 1)

    def _piece(self, event: bytes, *, last: bool) -> bytes:
        if not self.websocket:
            return b"%x\r\n%b\r\n" % (len(event), event) + (b"0\r\n\r\n" if last else b"")
        status = 2 if last else 1
        text = [{"content": "some text ", "role": "assistant", "index": 0}]
        header = {"code": 0, "message": "Success", "sid": "cht000b0001@dx18", "status": status}
        choices = {"status": status, "seq": 1, "text": text}
        frame = json.dumps({"header": header, "payload": {"choices": choices}}).encode()
        return b"\x81\x7e" + len(frame).to_bytes(2) + frame + (b"\x88\x02\x03\xe8" if last else b"")


async def serve() -> None:
    """Serve on a free port and print it."""
    server = await asyncio.get_running_loop().create_server(FakeUpstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def measure(port: int) -> dict[str, tuple[float, float]]:
    """Return seconds of CPU for one stream of SHORT deltas and for one of LONG, by protocol."""
    from providers.wire import base
    from providers.wire.openai.adapter import OpenAICompatible
    from providers.wire.spark.adapter import Spark

    adapters: dict[str, tuple[Any, str, str]] = {
        "http": (OpenAICompatible, f"http://127.0.0.1:{port}/v1", "sk-bench"),
        "websocket": (Spark, f"ws://127.0.0.1:{port}/v1.1/chat", "appid:key:secret"),
    }
    costs = {}
    for name, (kind, address, key) in adapters.items():
        # Adapters of older checkouts take the address itself.
        adapter = kind(address if "base_url" in inspect.signature(kind).parameters else base.Endpoint(address))
        await _cpu_of_one(adapter, key, SHORT, 1)
        short = await _cpu_of_one(adapter, key, SHORT, REPEATS)
        long = await _cpu_of_one(adapter, key, LONG, 2)
        costs[name] = (short, long)
        await adapter.aclose()
    return costs


async def _cpu_of_one(adapter: Any, key: str, deltas: int, repeats: int) -> float:
    from providers.wire.base import ChatRequest, PromptMessage

    request = ChatRequest(str(deltas), (PromptMessage("user", "hello"),), {}, "0123abcd")

    async def read() -> None:
        async for _event in adapter.stream(request, key):
            pass

    started = time.process_time()
    for _ in range(repeats):
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(read())
    return (time.process_time() - started) / (repeats * AT_ONCE)


def _run(checkout: Path, port: int) -> dict[str, tuple[float, float]]:
    command = ["taskset", "-c", "1", sys.executable, str(HERE), "--measure", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, text=True)
    costs: dict[str, tuple[float, float]] = json.loads(done.stdout)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire", description=__doc__)
    parser.add_argument("--baseline", type=Path, help="another checkout to compare with")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    if options.measure:
        print(json.dumps(uvloop.run(measure(options.measure))))
        return
    checkouts = {"this": HERE.parent.parent, **({"baseline": options.baseline} if options.baseline else {})}
    server = subprocess.Popen(
        ["taskset", "-c", "0", sys.executable, str(HERE), "--serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        port = int(server.stdout.readline())
        rounds = [{name: _run(path, port) for name, path in checkouts.items()} for _ in range(ROUNDS)]
    finally:
        server.terminate()
        server.wait()
    print_table(rounds)


def print_table(rounds: list[dict[str, dict[str, tuple[float, float]]]]) -> None:
    """Print microseconds for each checkout, from the best of all rounds, and the difference."""
    print(f"{'':<10} | {'protocol':<9} | us/request | us/delta")
    for protocol in ("http", "websocket"):
        costs = {}
        for name in rounds[0]:
            short, long = (min(one[name][protocol][place] for one in rounds) for place in (0, 1))
            costs[name] = (short * 1e6, (long - short) * 1e6 / (LONG - SHORT))
            print(f"{name:<10} | {protocol:<9} | {costs[name][0]:>10.0f} | {costs[name][1]:>8.2f}")
        if "baseline" in costs:
            request, delta = (costs["this"][place] - costs["baseline"][place] for place in (0, 1))
            print(f"{'difference':<10} | {protocol:<9} | {request:>+10.0f} | {delta:>+8.2f}")


if __name__ == "__main__":
    main()
