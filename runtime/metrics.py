"""Figures for Prometheus: gauges of this process, and sums over all workers.

`prometheus_client` writes the figures of each worker to files of their own, and `text` sums the files of all workers.
The gauges of the other workers are therefore as old as their timer. Verdicts in the database, which all processes
share, are read by the worker that is asked, and not summed.
"""

import asyncio
import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from django.conf import settings
from django.db import DatabaseError
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from runtime.executor import DatabaseExecutor

log = structlog.get_logger("runtime")

# Seconds between two readings of a worker's gauges, which are then as old as that in sums.
READ_SECONDS = 5.0
# Seconds to wait for the database, when Prometheus asks.
QUERY_SECONDS = 1.0
# The process id in the names of files that hold the counts of all workers that have ended.
ENDED = "ended"

PROCESSES = Gauge("rivulet_processes", "Processes that serve", multiprocess_mode="livesum")
REDIS_AWAY = Gauge("rivulet_redis_away", "1 while Redis does not reply", multiprocess_mode="livemax")
DATABASE_AWAY = Gauge(
    "rivulet_database_away", "1 while this process cannot store its heartbeat", multiprocess_mode="livemax"
)
EXECUTOR_WAITING = Gauge(
    "rivulet_executor_waiting", "Calls that wait for a thread", ["executor"], multiprocess_mode="livesum"
)
TASKS = Gauge("rivulet_tasks", "Tasks of the event loops", multiprocess_mode="livesum")
SPANS_LOST = Counter("rivulet_spans_lost", "Spans of traces that no collector took")


class Metrics:
    """The gauges of this process, with the functions that read them."""

    def __init__(self, database: DatabaseExecutor) -> None:
        self._database = database
        self._readers: list[tuple[Gauge, Callable[[], float]]] = []
        # Figures that are equal in all processes, and functions that read them from the database.
        self._shared = CollectorRegistry()
        self._queries: list[Callable[[], object]] = []

    def gauge(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """Set a gauge to what `read` returns, whenever gauges are read; `read` must not block."""
        self._readers.append((gauge, read))

    def share(self, collector: Collector, query: Callable[[], object]) -> None:
        """Add a collector whose figures all processes share; `query` updates them."""
        self._queries.append(query)
        self._shared.register(collector)

    async def query(self) -> None:
        """Read what all processes share; keep old figures if that takes too long."""
        for query in self._queries:
            with suppress(DatabaseError, TimeoutError):  # DATABASE_AWAY says so
                await asyncio.wait_for(self._database.run(query), QUERY_SECONDS)

    def read(self) -> None:
        """Read all gauges of this process."""
        for gauge, read in self._readers:
            gauge.set(read())

    async def read_now_and_then(self) -> None:
        """Read the gauges for other workers. A timer."""
        self.read()

    def text(self) -> bytes:
        """Return all figures, summed over the workers of one supervisor. Reads files."""
        return _own_or_summed() + generate_latest(self._shared)


def _own_or_summed() -> bytes:
    if settings.WORKERS == 1:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    collector = MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    with _locked(Path(collector._path), fcntl.LOCK_SH):
        return generate_latest(registry)


def forget_worker(pid: int, folder: Path) -> None:
    """Delete the gauges of an ended worker; add its counts to one file.

    Without that, each restart of a worker would leave files that every reading has to sum.
    """
    with _locked(folder, fcntl.LOCK_EX):
        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        for path in folder.glob(f"*_{pid}.db"):
            try:
                _keep_counts(path)
            except Exception as error:  # killed within a write; a broken file must not stop anything
                log.exception("counts of an ended worker lost", pid=pid, error=type(error).__name__)
            path.unlink()


def _keep_counts(path: Path) -> None:
    """Add the counts in a file to those of all ended workers."""
    counts = list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
    ended = MmapedDict(str(path.with_name(f"{path.name.partition('_')[0]}_{ENDED}.db")))  # type: ignore[no-untyped-call]
    for key, value, timestamp, _position in counts:
        before, _timestamp = ended.read_value(key)  # type: ignore[no-untyped-call]
        ended.write_value(key, before + value, timestamp)  # type: ignore[no-untyped-call]
    ended.close()  # type: ignore[no-untyped-call]


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Keep sums apart from the moment at which counts are in two files."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, how)
        yield
