"""`make bench`: measure all relays in rounds, and print tables with ratios and goals."""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from statistics import median
from typing import Any

from benchmarks import goals, leaving, relays
from benchmarks.relays import Relay, pinned
from tests import servers

# Models of the fake upstream: `paced-<deltas>-<milliseconds between them>`.
PACED, WHOLE, BRIEF, FIRST, SHORT = "paced-400-50", "paced-120-50", "paced-60-50", "paced-3-1", "paced-3-0"
MODELS = [PACED, WHOLE, BRIEF, FIRST, SHORT]
# Deltas of the second.
WHOLE_DELTAS = 120
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


def measure(relay: Relay, bare: Relay, streams: int, seconds: float) -> Row:
    """Measure one relay: first deltas, short completions, then what only fast relays can bear."""
    load(relay, SHORT, streams=4, seconds=0.5)  # warm up
    first = median(load(relay, FIRST, streams=1, seconds=1.5)["first_p50"] for _turn in range(2))
    before = relay.cpu_seconds()
    short = load(relay, SHORT, streams=32, seconds=seconds)
    short_cpu = relay.cpu_seconds() - before
    row = {
        "first_ms": round(first, 3),
        "short_per_s": round(short["completions"] / short["seconds"], 1),
        "short_cpu_ms": round(short_cpu * 1000 / max(1, short["completions"]), 2),
        "failures": short["failures"],
    }
    return row if relay.name == "LiteLLM" else {**row, **_heavy(relay, bare, streams, seconds)}


def _heavy(relay: Relay, bare: Relay, streams: int, seconds: float) -> Row:
    idle_kib = relay.memory_kib()
    paced = _paced(relay, streams, seconds)
    row = {
        "us_per_delta": paced["us_per_delta"],
        "kib_per_stream": round((paced["memory_kib"] - idle_kib) / streams, 1),
        "relay_p99_ms": paced["relay_p99"],
        "kept_up": paced["kept_up"],
    }
    among = load(relay, BRIEF, streams=100, ramp_seconds=3, settle_seconds=3, seconds=9)
    before = relay.cpu_seconds()
    whole = load(relay, WHOLE, streams=streams, ramp_seconds=2)
    spent = relay.cpu_seconds() - before
    row["first_among_100_p99"], row["burst_first_p99"] = among["first_p99"], whole["first_p99"]
    row["whole_us"] = round(spent * 1e6 / max(1, whole["completions"] * WHOLE_DELTAS), 1)
    if relay.name == goals.CHAT:
        few, many = _paced(relay, streams // 10, seconds), _paced(relay, streams * 2, seconds)
        row["relay_2000_p99"], row["growth"] = many["relay_p99"], round(many["us_per_delta"] / few["us_per_delta"], 2)
        row["stopped_ms"] = leaving.stopped(relay, bare, PACED)
    if relay.name == goals.V1:
        row["left_ms"] = leaving.left(relay, bare, PACED)
    failures = sum(load["failures"] for load in (paced, among, whole))
    return {**row, "failures": failures}


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
def serving(bare: Relay, models: list[str], path: str, **variables: str) -> Iterator[Relay]:
    with relays.product(bare, models, variables) as (running, token):
        port = int(running.url.rpartition(":")[2])
        name = goals.V1 if path.startswith("/v1") else goals.REDIS if variables else goals.CHAT
        yield Relay(name, port, path, (running.pid,), token, prompt=path == "/api/chat/")


@contextmanager
def _with_redis(bare: Relay, models: list[str]) -> Iterator[Relay]:
    with servers.Redis() as redis, serving(bare, models, "/api/chat/", REDIS_URL=redis.url) as relay:
        yield relay


def _relays(bare: Relay, only: str) -> list[Callable[[], Any]]:
    listed: dict[str, Callable[[], Any]] = {
        "nginx": lambda: relays.nginx(bare),
        # How much the load client and the upstream bear without a relay.
        bare.name: lambda: nullcontext(bare),
        goals.CHAT: lambda: serving(bare, MODELS, "/api/chat/"),
        goals.V1: lambda: serving(bare, MODELS, "/v1/chat/completions"),
        goals.REDIS: lambda: _with_redis(bare, MODELS),
    }
    if relays.LITELLM.exists():
        listed["LiteLLM"] = lambda: relays.litellm(bare, MODELS)
    return [start for name, start in listed.items() if only.lower() in name.lower() or name == "nginx"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000, help="how many paced streams at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each relay is measured, in turns")
    parser.add_argument("--quick", action="store_true", help="one round of 100 streams with short windows")
    parser.add_argument("--only", default="", help="measure only relays with this text in their name, and nginx")
    options = parser.parse_args()
    streams, seconds, turns = (100, 2.0, 1) if options.quick else (options.streams, 5.0, options.rounds)
    rounds: list[dict[str, Row]] = []
    with relays.upstream() as bare:
        for _turn in range(turns):
            rounds.append({})
            # One after the other, because relays that only wait take time of the same core.
            for start in _relays(bare, options.only):
                with start() as relay:
                    rounds[-1][relay.name] = measure(relay, bare, streams, seconds)
            print_table(rounds, streams)
    print("", *goals.table(rounds), sep="\n")


def print_table(rounds: list[dict[str, Row]], streams: int) -> None:
    """Print the medians of the rounds so far, each with its ratio to the first relay's."""
    machine = platform.processor() or platform.machine()
    print(f"\n{datetime.now(UTC).date()}, Python {platform.python_version()}, {machine}")
    print(f"{streams} paced streams of 20 deltas/s; one relay on one core, upstream and load on the other")
    names = list(rounds[0])
    print(" | ".join([f"{'':<20}", *(f"{name:>20}" for name in names)]))
    for measured in dict.fromkeys(key for row in rounds[0].values() for key in row):
        values = [median(rows[name].get(measured, 0) for rows in rounds) for name in names]
        cells = [f"{value:>12.6g} {_ratio(value, values[0])}" if value else "" for value in values]
        print(" | ".join([f"{measured:<20}", *(f"{cell:>20}" for cell in cells)]), flush=True)


def _ratio(value: float, base: float) -> str:
    return f"({value / base:.2f}×)" if base else ""


if __name__ == "__main__":
    main()
