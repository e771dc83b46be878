"""The load client: many streams at once over plain sockets, cheap enough not to be what is measured.

`python -m benchmarks.load` reads one JSON object from standard input (see `Plan`) and prints one: times in
milliseconds, of all deltas that came while the load was steady.
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
    """What to ask: `streams` at once, each again and again until `seconds` are over; once each where that is 0.

    The streams begin within `ramp_seconds`. What was asked and what came counts from `settle_seconds` on, deltas for
    `window_seconds`; to the end where that is 0.
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
class Measured:
    answers: int = 0
    failures: int = 0
    deltas: int = 0
    first: list[float] = field(default_factory=list)
    relay: list[float] = field(default_factory=list)
    example: str = ""

    def as_json(self, seconds: float) -> dict[str, Any]:
        return {
            "answers": self.answers,
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
    found = sorted(values)
    return round(found[min(len(found) - 1, int(len(found) * share))], 3) if found else 0.0


async def answer(plan: Plan, request: bytes, steady: tuple[float, float], found: Measured) -> None:
    """Ask once and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    try:
        asked = time.monotonic()
        writer.write(request)
        tail, spoken = b"", False
        while data := await reader.read(65536):
            now = time.monotonic()
            stamps = STAMP.findall(data)
            if stamps and not spoken:
                spoken = True
                if asked >= steady[0]:
                    found.first.append((now - asked) * 1000)
            if steady[0] <= now < steady[1]:
                found.deltas += len(stamps)
                found.relay.extend((now - int(stamp) / 1e9) * 1000 for stamp in stamps)
            tail = tail[-40:] + data
            if any(end in tail for end in ENDS):
                found.answers += 1
                return
            if any(failure in tail for failure in FAILURES):
                break
        found.failures += 1
        found.example = found.example or tail[-300:].decode("utf-8", "replace")
    except OSError as error:
        found.failures += 1
        found.example = found.example or str(error)
    finally:
        writer.close()


async def run(plan: Plan) -> dict[str, Any]:
    found, request, started = Measured(), plan.request(), time.monotonic()
    steady_from, until = started + plan.settle_seconds, started + plan.seconds
    steady = steady_from, steady_from + plan.window_seconds if plan.window_seconds else float("inf")

    async def ask_again_and_again(number: int) -> None:
        await asyncio.sleep(plan.ramp_seconds * number / plan.streams)
        while True:
            await answer(plan, request, steady, found)
            if time.monotonic() >= until:
                return

    await asyncio.gather(*map(ask_again_and_again, range(plan.streams)))
    return found.as_json(round(time.monotonic() - started, 3))


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(Plan(**json.load(sys.stdin))))))
