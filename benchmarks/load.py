"""The load client: many streams at once over plain sockets.

It is cheap, so that it does not distort the measurement. `python -m benchmarks.load` reads one JSON object from
standard input (see `Plan`) and prints one: times in milliseconds, of all deltas that arrived while the load was steady.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import uvloop

STAMP = re.compile(rb"t(\d{9,}) ")
ENDS = (b"[DONE]", b"event: done")
FAILURES = (b"event: error", b'"error"')


@dataclass
class Plan:
    """The load: `streams` at once, each repeated for `seconds`, or sent once if that is 0.

    The streams begin within `ramp_seconds`. Requests and deltas count from `settle_seconds` on; deltas count for
    `window_seconds`, or to the end if that is 0.
    """

    port: int
    head: str
    body: str
    streams: int
    seconds: float = 0
    ramp_seconds: float = 0
    settle_seconds: float = 0
    window_seconds: float = 0

    def request(self) -> bytes:
        body = self.body.encode()
        return f"{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Measurement:
    completions: int = 0
    failures: int = 0
    deltas: int = 0
    first: list[float] = field(default_factory=list)
    relay: list[float] = field(default_factory=list)
    example: str = ""

    def as_json(self, seconds: float) -> dict[str, Any]:
        return {
            "completions": self.completions,
            "failures": self.failures,
            "deltas": self.deltas,
            "seconds": seconds,
            "first_p50": percentile(self.first, 0.5),
            "first_p99": percentile(self.first, 0.99),
            "relay_p50": percentile(self.relay, 0.5),
            "relay_p99": percentile(self.relay, 0.99),
            "example": self.example,
        }


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3) if ordered else 0.0


async def send(plan: Plan, request: bytes, steady: tuple[float, float], measured: Measurement) -> None:
    """Send one request and read its stream to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    try:
        sent_at = time.monotonic()
        writer.write(request)
        tail, started = b"", False
        while data := await reader.read(65536):
            now = time.monotonic()
            stamps = STAMP.findall(data)
            if stamps and not started:
                started = True
                if sent_at >= steady[0]:
                    measured.first.append((now - sent_at) * 1000)
            if steady[0] <= now < steady[1]:
                measured.deltas += len(stamps)
                measured.relay.extend((now - int(stamp) / 1e9) * 1000 for stamp in stamps)
            tail = tail[-40:] + data
            if any(end in tail for end in ENDS):
                measured.completions += 1
                return
            if any(failure in tail for failure in FAILURES):
                break
        measured.failures += 1
        measured.example = measured.example or tail[-300:].decode("utf-8", "replace")
    except OSError as error:
        measured.failures += 1
        measured.example = measured.example or str(error)
    finally:
        writer.close()


async def run(plan: Plan) -> dict[str, Any]:
    measured, request, started = Measurement(), plan.request(), time.monotonic()
    steady_from, until = started + plan.settle_seconds, started + plan.seconds
    steady = steady_from, steady_from + plan.window_seconds if plan.window_seconds else float("inf")

    async def send_repeatedly(number: int) -> None:
        await asyncio.sleep(plan.ramp_seconds * number / plan.streams)
        while True:
            await send(plan, request, steady, measured)
            if time.monotonic() >= until:
                return

    await asyncio.gather(*map(send_repeatedly, range(plan.streams)))
    return measured.as_json(round(time.monotonic() - started, 3))


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(Plan(**json.load(sys.stdin))))))
