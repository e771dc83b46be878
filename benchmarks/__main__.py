"""`make bench`: measure all relays and print one table with ratios."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import relays
from benchmarks.relays import Relay, pinned
from tests import servers

# Models of the fake upstream: `paced-<deltas>-<milliseconds between them>`.
PACED, BRIEF, FIRST, SHORT = "paced-400-50", "paced-60-50", "paced-3-1", "paced-3-0"
MODELS = [PACED, BRIEF, FIRST, SHORT]
Row = dict[str, Any]


def load(relay: Relay, model: str, **plan: Any) -> Row:
    """Run the load client on the second core and return what it measured."""
    request = json.dumps({"port": relay.port, "head": relay.head(), "body": relay.body(model), **plan})
    command = pinned([sys.executable, "-m", "benchmarks.load"], 1)
    done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: Row = json.loads(done.stdout)
    if measured["failures"]:
        print(f"{relay.name}: {measured['failures']} failures, such as {measured['example']!r}", file=sys.stderr)
    return measured


def measure(relay: Relay, streams: int, seconds: float) -> Row:
    """Measure one relay: first deltas, short completions, then many paced streams at once."""
    load(relay, SHORT, streams=4, seconds=0.5)  # warm up
    first = _sequential(relay, 40)
    at_once = load(relay, FIRST, streams=100)
    among = load(relay, BRIEF, streams=100, ramp_seconds=3, settle_seconds=3, seconds=9)
    before = relay.cpu_seconds()
    short = load(relay, SHORT, streams=32, seconds=seconds)
    short_cpu = relay.cpu_seconds() - before
    idle_kib = relay.memory_kib()
    paced = _paced(relay, streams, seconds)
    return {
        "name": relay.name,
        "first_ms": first,
        "first_among_100_p99": among["first_p99"],
        "100_at_once_p99": at_once["first_p99"],
        "short_per_s": round(short["completions"] / short["seconds"], 1),
        "short_cpu_ms": round(short_cpu * 1000 / max(1, short["completions"]), 2),
        "us_per_delta": paced["us_per_delta"],
        "deltas_per_cpu_s": round(1e6 / paced["us_per_delta"]) if paced["us_per_delta"] else 0,
        "kib_per_stream": round((paced["memory_kib"] - idle_kib) / streams, 1),
        "relay_p99_ms": paced["relay_p99"],
        "kept_up": paced["kept_up"],
        "failures": sum(row["failures"] for row in (at_once, among, short, paced)),
    }


def _sequential(relay: Relay, count: int) -> float:
    times = [load(relay, FIRST, streams=1, seconds=1.5)["first_p50"] for _turn in range(max(1, count // 20))]
    return sorted(times)[len(times) // 2]


def _paced(relay: Relay, streams: int, seconds: float) -> Row:
    """Keep many streams open, and measure CPU and memory while all of them run."""
    settle = 4.0 + streams / 200
    plan = {"port": relay.port, "head": relay.head(), "body": relay.body(PACED), "streams": streams}
    command = pinned([sys.executable, "-m", "benchmarks.load"], 1)
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdin
    client.stdin.write(json.dumps({**plan, "settle_seconds": settle, "window_seconds": seconds}))
    client.stdin.close()
    client.stdin = None
    time.sleep(settle)
    cpu, started = relay.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    spent, window = relay.cpu_seconds() - cpu, time.monotonic() - started
    memory = relay.memory_kib()
    measured: Row = json.loads(client.communicate(timeout=600)[0])
    # Divide by the deltas that arrived: a relay that cannot keep up would look cheap otherwise.
    per_delta = spent / window * seconds * 1e6 / max(1, measured["deltas"])
    expected = seconds * streams * 20  # deltas are 50 ms apart
    kept_up = round(measured["deltas"] / expected, 3)
    return {**measured, "us_per_delta": round(per_delta, 1), "memory_kib": memory, "kept_up": kept_up}


@contextmanager
def _relays(models: list[str]) -> Iterator[Iterator[Callable[[], Any]]]:
    with relays.upstream() as bare:
        yield iter(
            [
                lambda: relays.nginx(bare),
                lambda: serving(bare, models, "/api/chat/"),
                lambda: serving(bare, models, "/v1/chat/completions"),
                lambda: _with_redis(bare, models),
                *([lambda: relays.litellm(bare, models)] if relays.LITELLM.exists() else []),
            ]
        )


@contextmanager
def serving(bare: Relay, models: list[str], path: str, **variables: str) -> Iterator[Relay]:
    with relays.product(bare, models, variables) as (running, token):
        port = int(running.url.rpartition(":")[2])
        name = "Rivulet " + ("/v1" if path.startswith("/v1") else "Redis" if variables else path)
        yield Relay(name, port, path, (running.pid,), token, prompt=path == "/api/chat/")


@contextmanager
def _with_redis(bare: Relay, models: list[str]) -> Iterator[Relay]:
    with servers.Redis() as redis, serving(bare, models, "/api/chat/", REDIS_URL=redis.url) as relay:
        yield relay


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000, help="how many paced streams at once")
    parser.add_argument("--quick", action="store_true", help="100 streams, short windows")
    parser.add_argument("--only", default="", help="measure only relays with this text in their name")
    options = parser.parse_args()
    streams, seconds = (100, 2.0) if options.quick else (options.streams, 5.0)
    rows = []
    with _relays(MODELS) as starts:
        for start in starts:
            with start() as relay:
                if options.only.lower() in relay.name.lower():
                    rows.append(measure(relay, streams, seconds))
                    print_table(rows, streams)


def print_table(rows: list[Row], streams: int) -> None:
    print(f"\n{streams} paced streams of 20 deltas/s; one relay on one core, upstream and load on the other")
    names = [name for name in rows[0] if name != "name"]
    print(" | ".join([f"{'':<20}", *(f"{row['name']:>20}" for row in rows)]))
    for name in names:
        cells = [f"{row[name]:>12} {_ratio(row[name], rows[0][name])}" for row in rows]
        print(" | ".join([f"{name:<20}", *(f"{cell:>20}" for cell in cells)]), flush=True)


def _ratio(value: float, base: float) -> str:
    return f"({value / base:.2f}×)" if base else ""


if __name__ == "__main__":
    main()
