"""`make profile`: sample the product while it serves, and draw a flame graph of both its threads.

    python -m benchmarks.sampling [--path /v1/chat/completions] [--model paced-400-50] [--callers 32] [--seconds 15]

Where the system restricts tracing of processes (`kernel.yama.ptrace_scope`), this needs root.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import __main__ as bench
from benchmarks import relays

PY_SPY = Path(sys.executable).with_name("py-spy")
# Samples in a second, enough for functions that take a hundredth of the time.
RATE = 250


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    parser.add_argument("--path", default="/api/chat/", help="the entry point")
    parser.add_argument("--model", default=bench.SHORT, choices=bench.MODELS, help="the stream of the fake upstream")
    parser.add_argument("--callers", type=int, default=32, help="how many requests at once")
    parser.add_argument("--seconds", type=int, default=15, help="how long")
    parser.add_argument("--output", type=Path, default=Path("var/profile.svg"), help="the flame graph")
    options = parser.parse_args()
    options.output.parent.mkdir(exist_ok=True)
    with relays.upstream() as bare, bench.serving(bare, bench.MODELS, options.path) as relay:
        bench.load(relay, options.model, streams=4, seconds=0.5)  # warm up
        command = [str(PY_SPY), "record", "--pid", str(relay.pids[0]), "--rate", str(RATE), "--threads"]
        command += ["--duration", str(options.seconds), "--output", str(options.output)]
        sampling = subprocess.Popen(command)
        measured = bench.load(relay, options.model, streams=options.callers, seconds=options.seconds)
        if sampling.wait(60):
            raise SystemExit("py-spy could not sample the process")
    print(f"{measured['completions']} completions in {measured['seconds']} s; {options.output}")


if __name__ == "__main__":
    main()
