"""What a number of running streams needs, and which part of the design gives way first.

Arithmetic with measured costs, and a seeded placement of streams on workers. `python -m benchmarks.simulate` prints the
tables of docs/scaling.md, which a test keeps equal. Sources of the figures stand beside them; those without one are
assumptions about the use, to be replaced by your own.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# --- the use ---

SIZES = (10_000, 100_000, 1_000_000)
# Running streams of a cell, a whole installation for a part of the users.
CELLS = (5_000, 20_000, 50_000)
# Deltas a second of one stream, and of one completion: 25 seconds.
DELTAS_PER_S, DELTAS_PER_COMPLETION = 20, 500
# The share of streams that have a reader at another process, because it connected again or reads on another device.
READ_ELSEWHERE = 0.1
# The mean load of a day, as a share of its peak, for what is stored.
MEAN_OF_PEAK = 0.2
# Days that generations and ledger are kept.
KEPT_DAYS = 365

# --- costs of a serving process ---

# CPU: docs/performance.md, Goals (17 µs of nginx, 0.29 of its deltas), with the kernel's part.
DELTA_US = 59
# More for a delta that the process also writes to Redis: "about a fifth", docs/performance.md, The way of a delta.
WRITTEN_US = 12
# CPU of a delta at the process that reads it from Redis, and of the reader there: measured for docs/scaling.md.
REPLICA_US, READER_US = 45, 30
# CPU of a whole completion beside its deltas: docs/performance.md, Short completions, PostgreSQL.
COMPLETION_MS = 6.79
# Memory: docs/performance.md and benchmarks/load.py.
PROCESS_MIB, STREAM_KIB, REPLICA_KIB, READER_KIB = 130, 40, 40, 32
# Bytes of an event in the log, seconds that it is kept (CHANNEL_RETENTION_SECONDS), MiB of all logs of a process.
EVENT_BYTES, RETENTION_S, LOGS_MIB = 180, 600, 64
# The share of a core that workers use at the peak. The rest absorbs uneven placement and the loss of a host.
MOST_LOAD = 0.6
HOST_CORES = 16

# --- costs in front and between ---

# CPU and memory of a stream in nginx: shared/quality.md's table, measured with benchmarks/relays.py.
NGINX_US, NGINX_KIB = 18, 16
# Bytes of a delta on the way to a browser, from the vendor, and in Redis.
BROWSER_BYTES, VENDOR_BYTES, REDIS_BYTES = 115, 250, 120
# Redis: commands of a process a second for replicas (chat/generations/replica.py), entries of a stream a second
# (chat/events/redis.py), commands of a generation (quotas/hints.py), and what one core executes.
REPLICA_READS_PER_S, ENTRIES_PER_S, HINTS = 20, 10, 3
REDIS_PER_S = 100_000

# --- PostgreSQL ---

# CPU of the server and bytes of its log (WAL): of a generation from start to end, of one draft of a running one, and of
# a row that is read. Measured on 2026-11-30, PostgreSQL 15, 300 completions of 2,000 characters, 4,000 streams.
COMPLETION_PG_MS, COMPLETION_WAL = 3.5, 5_800
DRAFT_PG_US, DRAFT_WAL = 39, 530
READ_ROW_US = 0.29
# Transactions of a generation; seconds between two drafts of a stream, which a process stores in one transaction
# (chat/generations/drafts.py).
TRANSACTIONS, DRAFT_S = 2, 0.8
# Statements of an idle process a second: heartbeat, reaper, replicas, open streams, models and quotas. Their CPU is an
# assumption.
IDLE_STATEMENTS_PER_S, STATEMENT_US = 6, 100
# Seconds between two looks of each process for dead ones, which read all running generations (chat/apps.py).
REAP_S = 10
# Connections of a process (runtime/database_url.py). Milliseconds that a transaction holds one, an assumption.
CONNECTIONS, TRANSACTION_MS = 21, 10
# Bytes that a generation leaves in all tables and their indexes, measured as above, and bytes of a delta's text.
ROW_BYTES, TEXT_BYTES = 2_500, 4

# --- what the largest machine carries, assumptions ---

PRIMARY_CORES = 32
PRIMARY_WAL_MB_PER_S = 200
PRIMARY_CONNECTIONS = 500

MIB = 1024 * 1024


@dataclass(frozen=True)
class Needs:
    """What so many running streams need, without anything to spare."""

    streams: int

    @property
    def deltas(self) -> float:
        """Deltas a second."""
        return self.streams * DELTAS_PER_S

    @property
    def completions(self) -> float:
        """Generations that start, and end, each second."""
        return self.deltas / DELTAS_PER_COMPLETION

    @property
    def elsewhere(self) -> float:
        """Streams with a reader at another process."""
        return self.streams * READ_ELSEWHERE

    @property
    def cores(self) -> float:
        """Cores that are busy in serving processes."""
        generating = self.deltas * (DELTA_US + READ_ELSEWHERE * WRITTEN_US)
        reading = self.elsewhere * DELTAS_PER_S * (REPLICA_US + READER_US)
        return (generating + reading + self.completions * COMPLETION_MS * 1000) / 1e6

    @property
    def workers(self) -> int:
        return math.ceil(self.cores / MOST_LOAD)

    @property
    def hosts(self) -> int:
        """Hosts, and one more, which may fail."""
        return math.ceil(self.workers / HOST_CORES) + 1

    @property
    def memory_gib(self) -> float:
        """Memory of all serving processes."""
        streams = self.streams * STREAM_KIB + self.elsewhere * (REPLICA_KIB + READER_KIB)
        kept = self.completions * RETENTION_S * DELTAS_PER_COMPLETION * EVENT_BYTES / MIB
        logs = min(self.workers * LOGS_MIB, kept)
        return (self.workers * PROCESS_MIB + streams / 1024 + logs) / 1024

    @property
    def files_of_a_worker(self) -> float:
        return (2 * self.streams + self.elsewhere) / self.workers

    @property
    def nginx_cores(self) -> float:
        return self.deltas * NGINX_US / 1e6

    @property
    def redis_commands(self) -> float:
        """Commands a second: entries of logs, reads of replicas, counters of quotas."""
        reads = self.workers * REPLICA_READS_PER_S * math.ceil(self.elsewhere / self.workers / 64)
        return self.elsewhere * ENTRIES_PER_S + reads + self.completions * HINTS

    @property
    def redis_gb(self) -> float:
        """Memory of the logs that were read at another process."""
        return self.completions * READ_ELSEWHERE * DELTAS_PER_COMPLETION * REDIS_BYTES * RETENTION_S / 1e9

    @property
    def transactions(self) -> float:
        return self.completions * TRANSACTIONS + self.workers * (1 / DRAFT_S + IDLE_STATEMENTS_PER_S)

    @property
    def primary_cores(self) -> float:
        """Cores that are busy in the primary."""
        drafts = self.streams / DRAFT_S * DRAFT_PG_US
        idle = self.workers * IDLE_STATEMENTS_PER_S * STATEMENT_US
        return (drafts + self.completions * COMPLETION_PG_MS * 1000 + idle) / 1e6 + self.reaping_cores

    @property
    def reaping_cores(self) -> float:
        """Cores of the primary that look for dead processes: they grow with the square."""
        return self.workers * (self.streams + self.workers) / REAP_S * READ_ROW_US / 1e6

    @property
    def wal_mb(self) -> float:
        """Megabytes a second that the primary logs, and each standby receives."""
        return (self.streams / DRAFT_S * DRAFT_WAL + self.completions * COMPLETION_WAL) / 1e6

    @property
    def connections(self) -> int:
        """Connections to PostgreSQL without a pooler."""
        return self.workers * CONNECTIONS

    @property
    def busy_connections(self) -> float:
        """Connections in a transaction at a time, which a pooler needs: Little's law."""
        return self.transactions * TRANSACTION_MS / 1000

    @property
    def generations_a_day(self) -> float:
        return self.completions * MEAN_OF_PEAK * 86_400

    @property
    def gb_a_day(self) -> float:
        return self.generations_a_day * (ROW_BYTES + DELTAS_PER_COMPLETION * TEXT_BYTES) / 1e9


def fullest(streams: int, workers: int, seed: int = 18) -> float:
    """Return the load of the fullest worker, where the mean is 1.

    The load balancer spreads streams evenly over hosts, and the kernel spreads those of a host by chance.
    """
    chance = random.Random(seed)
    worst = 0
    for host in range(math.ceil(workers / HOST_CORES)):
        here = min(HOST_CORES, workers - host * HOST_CORES)
        counts = [0] * here
        for _ in range(round(streams * here / workers)):
            counts[int(chance.random() * here)] += 1
        worst = max(worst, *counts)
    return worst * workers / streams


# --- tables ---

Row = tuple[str, Callable[[Needs], str]]


def _figure(value: float, unit: str = "") -> str:
    """Return two significant digits, or whole hundreds and more."""
    if value < 10:
        text = f"{value:.2g}"
    else:
        digits = max(0, math.floor(math.log10(value)) - 1)
        text = f"{round(value, -digits):,.0f}"
    return f"{text} {unit}".strip()


ROWS: Sequence[Row] = (
    ("deltas a second", lambda n: _figure(n.deltas)),
    ("completions that end a second", lambda n: _figure(n.completions)),
    ("cores busy in workers", lambda n: _figure(n.cores)),
    ("workers, 60 % of a core each", lambda n: f"{n.workers:,}"),
    ("load of the fullest worker", lambda n: f"{MOST_LOAD * fullest(n.streams, n.workers):.0%}"),
    ("hosts of 16 cores, one to spare", lambda n: f"{n.hosts:,}"),
    ("memory of the workers", lambda n: _figure(n.memory_gib, "GiB")),
    ("open files of a worker", lambda n: _figure(n.files_of_a_worker)),
    ("cores of nginx", lambda n: _figure(n.nginx_cores)),
    ("memory of nginx", lambda n: _figure(n.streams * NGINX_KIB / MIB, "GiB")),
    ("network to browsers", lambda n: _figure(n.deltas * BROWSER_BYTES * 8 / 1e9, "Gbit/s")),
    ("network from vendors", lambda n: _figure(n.deltas * VENDOR_BYTES * 8 / 1e9, "Gbit/s")),
    ("Redis, commands a second", lambda n: _figure(n.redis_commands)),
    ("Redis, primaries at 60 %", lambda n: f"{math.ceil(n.redis_commands / REDIS_PER_S / MOST_LOAD):,}"),
    ("Redis, memory", lambda n: _figure(n.redis_gb, "GB")),
    ("PostgreSQL, transactions a second", lambda n: _figure(n.transactions)),
    ("PostgreSQL, cores busy in the primary", lambda n: _figure(n.primary_cores)),
    ("of these to find dead processes", lambda n: f"{n.reaping_cores / n.primary_cores:.1%}"),
    ("PostgreSQL, write-ahead log", lambda n: _figure(n.wal_mb, "MB/s")),
    ("PostgreSQL, connections without a pooler", lambda n: f"{n.connections:,}"),
    ("PostgreSQL, busy connections behind PgBouncer", lambda n: _figure(n.busy_connections)),
    ("generations a day", lambda n: _figure(n.generations_a_day / 1e6, "million")),
    ("new data a day", lambda n: _figure(n.gb_a_day, "GB")),
)

LIMITS: Sequence[tuple[str, str, Callable[[Needs], float], float]] = (
    ("a core of one worker", "a second worker", lambda n: n.cores, MOST_LOAD),
    ("a host of 16 cores", "a second host", lambda n: n.workers, HOST_CORES),
    ("500 connections of PostgreSQL", "PgBouncer", lambda n: n.connections, PRIMARY_CONNECTIONS),
    ("one Redis core at 60 %", "Redis Cluster", lambda n: n.redis_commands, REDIS_PER_S * MOST_LOAD),
    ("32 cores of the primary at 60 %", "cells", lambda n: n.primary_cores, PRIMARY_CORES * MOST_LOAD),
    ("200 MB/s of the primary's disk", "cells", lambda n: n.wal_mb, PRIMARY_WAL_MB_PER_S),
)


def breaks_at(need: Callable[[Needs], float], capacity: float) -> int | None:
    """Return the number of streams at which a need exceeds a capacity; None up to ten million."""
    low, high = 1, 10_000_000
    if need(Needs(high)) <= capacity:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if need(Needs(middle)) > capacity else (middle, high)
    return high


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def needs_table(sizes: Sequence[int] = SIZES) -> list[str]:
    """Return what each number of streams needs."""
    of_sizes = [Needs(size) for size in sizes]
    rows = [(name, *(show(needs) for needs in of_sizes)) for name, show in ROWS]
    return _lines(("running streams", *(f"{size:,}" for size in sizes)), rows)


def limits_table() -> list[str]:
    """Return what gives way, in the order in which it does."""
    found = [(breaks_at(need, capacity), name, remedy) for name, remedy, need, capacity in LIMITS]
    reached = sorted((streams, name, remedy) for streams, name, remedy in found if streams is not None)
    rows = [(_figure(streams), name, remedy) for streams, name, remedy in reached]
    return _lines(("running streams", "what is used up", "what helps"), rows)


def cells_table() -> list[str]:
    """Return how many cells of a size the larger numbers of streams need."""
    most = SIZES[-1]
    rows: Sequence[Row] = (
        (f"cells for {SIZES[1]:,} streams", lambda n: f"{math.ceil(SIZES[1] / n.streams)}"),
        (f"cells for {most:,} streams", lambda n: f"{math.ceil(most / n.streams)}"),
        ("workers of a cell", lambda n: f"{n.workers}"),
        ("hosts of a cell, one to spare", lambda n: f"{n.hosts}"),
        (f"hosts of all cells for {most:,}", lambda n: f"{n.hosts * math.ceil(most / n.streams):,}"),
        ("cores busy in its primary", lambda n: _figure(n.primary_cores)),
        ("commands of its Redis, of one core", lambda n: f"{n.redis_commands / REDIS_PER_S:.0%}"),
        ("new data of a cell a day", lambda n: _figure(n.gb_a_day, "GB")),
    )
    of_cells = [Needs(size) for size in CELLS]
    found = [(name, *(show(needs) for needs in of_cells)) for name, show in rows]
    return _lines(("streams of a cell", *(f"{size:,}" for size in CELLS)), found)


def partitions_table() -> list[str]:
    """Return the rows and sizes of monthly partitions."""
    rows = []
    for size in SIZES:
        needs = Needs(size)
        month = needs.generations_a_day * 30
        kept = needs.gb_a_day * KEPT_DAYS / 1000
        rows.append(
            (f"{size:,}", _figure(month / 1e6, "million"), _figure(needs.gb_a_day * 30, "GB"), _figure(kept, "TB"))
        )
    return _lines(("running streams", "generations a month", "a month's partition", f"{KEPT_DAYS} days"), rows)


def main() -> None:
    print("\n".join([*needs_table(), "", *limits_table(), "", *cells_table(), "", *partitions_table()]))


if __name__ == "__main__":
    main()
