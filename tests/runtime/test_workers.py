"""`WORKERS=n`: one address, one readiness line, one exit code, whatever happens to a single worker."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from runtime import supervisor
from runtime.serve import StopRequests
from runtime.supervisor import Supervisor
from tests import servers
from tests.product import READY, Product, connected
from tests.upstreams import FakeOpenAI

# Stands in for `manage.py serve --worker-at n`: says that it serves, then notes what it is told, and ends when told so.
WORKER = """
import os, sys, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
notes = open(sys.argv[0] + ".notes", "ab", buffering=0)
notes.write(b"started %d\\n" % os.getpid())
if os.path.exists(sys.argv[0] + ".broken"):
    sys.exit("DATABASE_URL: no")
print("ready", flush=True)
orders = b""
while (order := os.read(0, 1)) and not os.path.exists(sys.argv[0] + ".hurried"):
    orders += order
    notes.write(b"told %d\\n" % os.getpid())
    if len(orders) == 2 or not os.path.exists(sys.argv[0] + ".busy"):
        break
"""


def workers_of(product: Product) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{product.pid}/task/{product.pid}/children").read_text().split()}


def gone(pid: int) -> bool:
    """Whether a process is dead with all of its threads: before that its sockets may still be open."""
    try:
        threads = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False  # one ended while we looked
    return all(state in {"Z", "X"} for state in threads) and len(threads) <= 1


@pytest.mark.contract("setting: WORKERS")
@pytest.mark.server
def test_workers_share_connections_and_drain_together(
    redis_server: servers.Redis, postgres: servers.Postgres, upstream: FakeOpenAI, tmp_path: Path
) -> None:
    """Workers share connections, answer for each other, are replaced when they die, and drain together; exit code 0."""
    variables = {**connected(upstream, steady="paced:4000:50"), "REDIS_URL": redis_server.url, "WORKERS": "2"}
    with Product(tmp_path, postgres.migrated_database(), **variables) as product:
        person = product.register("alice")
        first = workers_of(product)
        assert len(first) == 2
        generation = person.ask("Hello", "steady")["id"]
        # Each client is a connection of its own: some of them are the other worker's.
        clients = [product.client(person.access) for _ in range(16)]
        seen = {client.get(f"/api/generations/{generation}/").json()["status"] for client in clients}
        assert seen == {"running"}
        assert person.stop(generation)["finish_reason"] == "cancelled"
        ended = 'rivulet_generations_total{finish_reason="cancelled",status="completed"} 1.0'
        assert all(ended in client.get("/metrics").text for client in clients)

        taken = product.manage("serve")
        assert taken.returncode != 0
        (line,) = (taken.stdout + taken.stderr).strip().splitlines()
        assert "PORT" in line

        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        while not gone(killed):
            time.sleep(0.01)
        # What would have waited for it goes to the others, long before it is replaced.
        assert [product.client().get("/healthz").status_code for _ in range(8)] == [200] * 8
        deadline = time.monotonic() + 60
        while len(workers_of(product) - {killed}) < 2 or '"worker died"' not in product.output:
            assert time.monotonic() < deadline
            time.sleep(0.1)

        generation = product.client(person.access).post("/api/chat/", json={"model": "quick", "prompt": "x"}).json()
        # A terminal and systemd tell everybody, and the supervisor tells its workers once more.
        for pid in workers_of(product):
            os.kill(pid, signal.SIGTERM)
        product.stop_soon()
        while '"draining"' not in product.output:
            time.sleep(0.05)
        assert product.stop() == 0
        assert len(READY.findall(product.output)) == 1
        lines = [line for line in product.output.splitlines() if '"event": "generation"' in line]
        assert any(generation["generation"]["id"] in line and '"outcome": "completed"' in line for line in lines)


# --- the supervisor alone, with workers that do nothing ---------------------------------------------------------------


class Supervised:
    """A supervisor that runs in this process, and the notes of its workers."""

    def __init__(self, script: Path, workers: int) -> None:
        self._notes, self._script = Path(f"{script}.notes"), script
        self.running = asyncio.create_task(Supervisor(workers, 8000, str(script.parent)).run("all ready"))

    def mark(self, what: str) -> None:
        Path(f"{self._script}.{what}").touch()

    def noted(self, what: str) -> list[int]:
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(what)]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.02)


@pytest.fixture
async def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Supervised:
    """Two workers, both serving."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.1)
    supervised = Supervised(script, 2)
    await supervised.until(lambda: "all ready" in capfd.readouterr().out)
    assert len(supervised.noted("started")) == 2
    return supervised


async def test_one_signal_tells_each_worker_once(two: Supervised) -> None:
    """SIGTERM is passed on to every worker, and when all have ended in order the exit code is 0."""
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 0
    assert sorted(two.noted("told")) == sorted(two.noted("started"))


async def test_a_second_signal_is_passed_on(two: Supervised) -> None:
    """Workers that take their time are told again when the supervisor is."""
    two.mark("busy")
    os.kill(os.getpid(), signal.SIGTERM)
    await two.until(lambda: len(two.noted("told")) == 2)
    assert not two.running.done()
    os.kill(os.getpid(), signal.SIGINT)
    assert await two.running == 0
    assert len(two.noted("told")) == 4


async def test_the_dead_are_replaced(two: Supervised) -> None:
    """A worker that dies is replaced, again and again; the others go on."""
    first, second = two.noted("started")
    os.kill(first, signal.SIGKILL)
    await two.until(lambda: len(two.noted("started")) == 3)
    os.kill(two.noted("started")[-1], signal.SIGKILL)
    await two.until(lambda: len(two.noted("started")) == 4)
    os.kill(second, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 0
    assert sorted(two.noted("told")) == sorted([second, two.noted("started")[-1]])


async def test_a_worker_that_hangs_is_killed(
    two: Supervised, monkeypatch: pytest.MonkeyPatch, settings: object
) -> None:
    """A worker that does not end after its time is killed, and the exit code says so."""
    two.mark("busy")
    settings.DRAIN_SECONDS = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(supervisor, "KILL_AFTER_SECONDS", 0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 1


async def test_what_keeps_it_from_starting_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """When the first worker cannot start no other is tried, and its exit code is the supervisor's."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    Path(f"{script}.broken").touch()
    monkeypatch.setattr(sys, "argv", [str(script)])
    supervised = Supervised(script, 3)
    assert await supervised.running == 1
    assert len(supervised.noted("started")) == 1
    assert capfd.readouterr().err.strip() == "DATABASE_URL: no"


# --- what a worker makes of its orders --------------------------------------------------------------------------------


@pytest.fixture
async def line() -> AsyncGenerator[tuple[StopRequests, int], None]:
    """A worker's orders, and where its supervisor writes them."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as supervision:
        orders = StopRequests(supervision)
        orders.listen()
        yield orders, writing
        asyncio.get_running_loop().remove_reader(supervision)


async def test_signals_and_one_order_are_one_stop(line: tuple[StopRequests, int]) -> None:
    """However many signals come beside it, one order is "stop", and the second is "hurry"."""
    orders, writing = line
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    os.write(writing, b".")
    await asyncio.sleep(0.05)
    assert (orders.stop.is_set(), orders.hurry.is_set()) == (True, False)
    os.write(writing, b".")
    await asyncio.wait_for(orders.hurry.wait(), 5)
    os.close(writing)


async def test_without_a_supervisor_a_worker_drains(line: tuple[StopRequests, int]) -> None:
    """The supervisor's death is "stop", and nothing more."""
    orders, writing = line
    os.close(writing)
    await asyncio.wait_for(orders.stop.wait(), 5)
    assert not orders.hurry.is_set()
