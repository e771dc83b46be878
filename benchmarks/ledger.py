"""Benchmark of the ledger: charges and refusals per second, and whether old rows slow it down.

    python -m benchmarks.ledger

Each line is measured in its own process and on its own servers. Only ratios within one run can be compared.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests import servers

# Lines of the table, and the functions of `benchmarks.charging` that measure them.
RATES = {"completions charged per second": "charges_per_second", "refusals per second": "refusals_per_second"}


def main() -> None:
    """Measure all combinations and print one table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(servers.Redis())
        postgres = stack.enter_context(servers.Postgres())
        print(f"{'':12}{'':38}{'without Redis':>15}{'with Redis':>15}")
        for name, url in (
            ("SQLite", lambda: servers.migrated_sqlite(Path(tempfile.mkdtemp(dir=folder)))),
            ("PostgreSQL", postgres.migrated_database),
        ):
            for line in table_of(name, url, folder, redis.url):
                print(line, flush=True)


def table_of(name: str, url: Callable[[], str], folder: Path, redis_url: str) -> Iterator[str]:
    for label, function in RATES.items():
        rates = [measured(function, url(), folder, counted) for counted in ("", redis_url)]
        yield f"{name:12}{label:38}{rates[0]:>15,.0f}{rates[1]:>15,.0f}"
    few, many = measured("costs_by_size", url(), folder, "")
    label = "cost of a charge, 1,000,000 rows : 1,000"
    yield f"{name:12}{label:38}{many / few:>14.2f}x"


def measured(function: str, url: str, folder: Path, redis_url: str) -> Any:
    """Return the result of a function of `benchmarks.charging` that runs in its own process."""
    variables = servers.environment(url, folder / "var", REDIS_URL=redis_url)
    command = [sys.executable, "-m", "tests.worker", "benchmarks.charging", function]
    done = subprocess.run(command, env=variables, cwd=servers.ROOT, input="[]\n", capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
