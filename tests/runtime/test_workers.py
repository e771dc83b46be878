"""`WORKERS=n`: one address, one ready line and one exit code, even when workers die."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import httpx
import pytest

from runtime import serve, supervisor
from runtime.signals import Requests
from runtime.supervisor import Supervisor
from tests import servers
from tests.product import READY, Product, connected
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

# Replaces `manage.py serve --worker-at n`: prints that it serves, writes each stop to a file, and ends when stopped.
WORKER = """
import os, sys, signal, socket, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
supervisor, listener = socket.socket(fileno=0), socket.create_server(("127.0.0.1", 0))
if sys.argv[-1].startswith("--listener="):
    listener = socket.socket(fileno=int(sys.argv[-1].partition("=")[2]))
notes = open(sys.argv[0] + ".notes", "ab", buffering=0)
notes.write(b"started %d\\n" % os.getpid())
if os.path.exists(sys.argv[0] + ".broken"):
    sys.exit("DATABASE_URL: no")
notes.write(b"listens %d\\n" % listener.getsockname()[1])
print("ready", flush=True)
orders = b""
while (order := os.read(0, 1)) and not os.path.exists(sys.argv[0] + ".hurried"):
    if order == b"l":
        socket.send_fds(supervisor, [b"l"], [listener.fileno()])
        continue
    if order == b"r":
        notes.write(b"retired %d\\n" % os.getpid())
        break
    orders += order
    notes.write(b"stopped %d\\n" % os.getpid())
    if len(orders) == 2 or not os.path.exists(sys.argv[0] + ".busy"):
        break
"""


def workers_of(product: Product) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{product.pid}/task/{product.pid}/children").read_text().split()}


def is_dead(pid: int) -> bool:
    """Return whether a process is dead with all its threads, because its sockets stay open until then."""
    try:
        threads = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False  # a thread ended in between
    return all(state in {"Z", "X"} for state in threads) and len(threads) <= 1


@pytest.mark.contract("setting: WORKERS")
@pytest.mark.server
def test_workers_share_connections_and_drain_together(
    redis_server: servers.Redis, postgres: servers.Postgres, upstream: FakeOpenAI, tmp_path: Path
) -> None:
    """Workers share connections, act for each other, are replaced when they die, and drain together."""
    variables = {**connected(upstream, steady="paced:4000:50"), "REDIS_URL": redis_server.url, "WORKERS": "2"}
    with Product(tmp_path, postgres.migrated_database(), **variables) as product:
        api_user = product.register("alice")
        first = workers_of(product)
        assert len(first) == 2
        generation = api_user.ask("Hello", "steady")["id"]
        # Each client has its own connection; some of them reach the other worker.
        clients = [product.client(api_user.access) for _ in range(16)]
        statuses = {client.get(f"/api/generations/{generation}/").json()["status"] for client in clients}
        assert statuses == {"running"}
        assert api_user.stop(generation)["finish_reason"] == "cancelled"
        ended = 'rivulet_generations_total{finish_reason="cancelled",status="completed"} 1.0'
        wait_until(lambda: all(ended in client.get("/metrics").text for client in clients))
        wait_until(lambda: "\nrivulet_processes 2.0" in product.client().get("/metrics").text)

        second = product.manage("serve")
        assert second.returncode != 0
        (line,) = (second.stdout + second.stderr).strip().splitlines()
        assert "PORT" in line

        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: is_dead(killed))
        # New connections go to the other worker, long before this one is replaced.
        assert [product.client().get("/healthz").status_code for _ in range(8)] == [200] * 8
        wait_until(lambda: len(workers_of(product) - {killed}) == 2 and '"worker died"' in product.output)
        # The dead one, which the supervisor may notice late, does not count any more.
        wait_until(lambda: "\nrivulet_processes 2.0" in product.client().get("/metrics").text)
        assert ended in product.client().get("/metrics").text

        generation = product.client(api_user.access).post("/api/chat/", json={"model": "quick", "prompt": "x"}).json()
        # A terminal and systemd signal all processes, and the supervisor stops its workers too.
        for pid in workers_of(product):
            os.kill(pid, signal.SIGTERM)
        product.stop_soon()
        wait_until(lambda: '"draining"' in product.output)
        assert product.stop() == 0
        assert len(READY.findall(product.output)) == 1
        lines = [json.loads(line) for line in product.output.splitlines() if line.startswith("{")]
        ends = {line["generation"]: line["outcome"] for line in lines if line["event"] == "generation"}
        assert ends[generation["generation"]["id"]] == "completed"


# --- the supervisor alone, with workers that do nothing ---------------------------------------------------------------


class Supervised:
    """A supervisor that runs in this process, and the notes of its workers."""

    def __init__(self, script: Path, workers: int) -> None:
        self._notes, self._script = Path(f"{script}.notes"), script
        supervisor = Supervisor(8000, Requests(), str(script.parent))
        self.running = asyncio.create_task(supervisor.run(workers, "all ready"))

    def mark(self, what: str) -> None:
        Path(f"{self._script}.{what}").touch()

    def counts_of(self, pid: int) -> Path:
        return self._script.with_name(f"counter_{pid}.db")

    def pids(self, what: str) -> list[int]:
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
    assert len(supervised.pids("started")) == 2
    return supervised


async def test_one_signal_stops_each_worker_once(two: Supervised) -> None:
    """SIGTERM stops each worker once; the exit code is 0 when all end normally."""
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 0
    assert sorted(two.pids("stopped")) == sorted(two.pids("started"))


async def test_a_second_signal_is_passed_on(two: Supervised) -> None:
    """A second signal to the supervisor is a second stop for its workers."""
    two.mark("busy")
    os.kill(os.getpid(), signal.SIGTERM)
    await two.until(lambda: len(two.pids("stopped")) == 2)
    assert not two.running.done()
    os.kill(os.getpid(), signal.SIGINT)
    assert await two.running == 0
    assert len(two.pids("stopped")) == 4


async def test_dead_workers_are_replaced(two: Supervised) -> None:
    """A worker that dies is replaced again and again; the others continue."""
    first, second = two.pids("started")
    two.counts_of(first).touch()  # killed before anything was in its file
    os.kill(first, signal.SIGKILL)
    await two.until(lambda: len(two.pids("started")) == 3)
    os.kill(two.pids("started")[-1], signal.SIGKILL)
    await two.until(lambda: len(two.pids("started")) == 4)
    assert not two.counts_of(first).exists()
    os.kill(second, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 0
    assert sorted(two.pids("stopped")) == sorted([second, two.pids("started")[-1]])


async def test_a_reload_replaces_each_worker(two: Supervised) -> None:
    """SIGHUP starts a new worker at each socket, then retires the old one; both new ones stop together."""
    first, ports = two.pids("started"), two.pids("listens")
    os.kill(os.getpid(), signal.SIGHUP)
    # Each process notes things for itself, so what happened first may be read later.
    await two.until(lambda: len(two.pids("retired")) == 2 and len(two.pids("listens")) == 4)
    assert sorted(two.pids("retired")) == sorted(first)
    assert sorted(two.pids("listens")[2:]) == sorted(ports)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 0
    assert sorted(two.pids("stopped")) == sorted(two.pids("started")[2:])


async def test_a_reload_that_fails_changes_nothing(two: Supervised, capfd: pytest.CaptureFixture[str]) -> None:
    """When the new code does not start, the old workers go on."""
    two.mark("broken")
    os.kill(os.getpid(), signal.SIGHUP)
    await two.until(lambda: "reload failed" in capfd.readouterr().err)
    assert not two.pids("retired")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 0
    assert sorted(two.pids("stopped")) == sorted(two.pids("started")[:2])


async def test_a_process_that_cannot_be_made_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A reload while an upgrade has no Python at its place is one that fails; the process that reloads goes on."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not await Supervisor(8000, Requests()).take_over(listener)
    assert "FileNotFoundError" in capfd.readouterr().err


async def test_a_reload_during_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each process is watched once: two watches of one process would end the supervisor."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER.replace("signal.signal(", "time.sleep(0.3); signal.signal(", 1))
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.1)
    two = Supervised(script, 2)
    await two.until(lambda: len(two.pids("listens")) >= 1)
    os.kill(os.getpid(), signal.SIGHUP)
    await two.until(lambda: len(two.pids("retired")) == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 0


async def test_a_worker_that_hangs_is_killed(
    two: Supervised, monkeypatch: pytest.MonkeyPatch, settings: object
) -> None:
    """A worker that does not end in time is killed, and the exit code is 1."""
    two.mark("busy")
    settings.DRAIN_SECONDS = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(supervisor, "KILL_AFTER_SECONDS", 0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await two.running == 1


async def test_an_error_at_the_start_is_printed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """When the first worker cannot start, no other is started, and its exit code is returned."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    Path(f"{script}.broken").touch()
    monkeypatch.setattr(sys, "argv", [str(script)])
    supervised = Supervised(script, 3)
    assert await supervised.running == 1
    assert len(supervised.pids("started")) == 1
    assert capfd.readouterr().err.strip() == "DATABASE_URL: no"


async def test_a_stop_does_not_wait_for_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM starts the drain at once, however long the new process of a reload takes to start."""

    async def hang(_supervisor: Supervisor, _listener: socket.socket) -> bool:
        requests.stop.set()
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(Supervisor, "take_over", hang)
    requests = Requests()
    requests.reload.set()
    requests.any.set()
    serving = asyncio.create_task(asyncio.sleep(60))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await asyncio.wait_for(serve._leave(serving, listener, requests, alone=True), 30) is None
    serving.cancel()


# --- requests to a worker ----------------------------------------------------------------------------------


@pytest.fixture
async def pipe() -> AsyncGenerator[tuple[Requests, socket.socket], None]:
    """The requests to a worker, and the socket to which its supervisor writes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        requests = Requests(theirs)
        requests.listen()
        yield requests, ours
        asyncio.get_running_loop().remove_reader(theirs)


async def test_signals_and_the_first_byte_are_one_stop(pipe: tuple[Requests, socket.socket]) -> None:
    """The first byte means stop, the second hurry, regardless of signals beside them."""
    requests, supervisor = pipe
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    supervisor.send(b".")
    await asyncio.sleep(0.05)
    assert (requests.stop.is_set(), requests.hurry.is_set()) == (True, False)
    supervisor.send(b".")
    await asyncio.wait_for(requests.hurry.wait(), 30)
    supervisor.close()


@pytest.mark.server
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_ready_line_that_is_not_read_ends_nothing(tmp_path: Path, redis_server: servers.Redis, workers: str) -> None:
    """A process whose standard output is closed serves, drains and ends as usual, and its log says so."""
    port, log = servers.free_port(), tmp_path / "log"
    product = Product(tmp_path / "var", PORT=str(port), WORKERS=workers, REDIS_URL=redis_server.url).set_up()
    reading, writing = os.pipe()
    os.close(reading)
    program = product.begin(log, "serve", stdout=writing)
    os.close(writing)
    try:
        wait_until(lambda: "ready line not read" in log.read_text())
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=60).status_code == 200
        os.kill(program.pid, signal.SIGTERM)
        assert program.wait(60) == 0
    finally:
        program.kill_all()


async def test_a_worker_drains_when_its_supervisor_dies(pipe: tuple[Requests, socket.socket]) -> None:
    """The supervisor's death means stop, but not hurry."""
    requests, supervisor = pipe
    supervisor.close()
    await asyncio.wait_for(requests.stop.wait(), 30)
    assert not requests.hurry.is_set()
