"""Real servers on free loopback ports, and functions that run in other processes."""

import contextlib
import fcntl
import json
import os
import pwd
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

import psycopg
from django.db import connections
from django.db.utils import load_backend

from chatproject.environment import database_from_url
from tests import launcher
from tests.kept import kept
from tests.launcher import ROOT

# Seconds until a server that does not serve has failed, on a machine that runs other tests too.
START_SECONDS = 120
# The ports of servers that need the same one again, or before they start. They are below those that Linux gives to all
# others, the clients of these tests among them, so that such a server finds its port free.
PORTS = range(15_000, 32_000)
# The database of each cluster that has the product's tables.
MIGRATED = "migrated"


def free_port() -> int:
    """Return a free port that no other test process gets while this one runs."""
    claims, ports = _claims()
    for port in ports:
        try:
            fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise RuntimeError("all ports are in use")


@cache
def _claims() -> tuple[int, Iterator[int]]:
    """Return a file in which each test process locks the bytes of its ports, and the ports to try."""
    file = Path(tempfile.gettempdir(), f"rivulet-tests-ports-{os.getuid()}")
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o600), iter(random.sample(PORTS, len(PORTS)))


def find(program: str) -> str | None:
    """Return a program's path, from PATH or from Debian's folders of PostgreSQL, newest first."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    return str(debian[-1]) if debian else shutil.which(program)


def _await(ready: Callable[[], object], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except (OSError, psycopg.OperationalError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}") from error
            time.sleep(0.02)
        else:
            return


def _stop(process: "subprocess.Popen[bytes]", seconds: float = 60) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Redis:
    """A Redis (or Valkey) server without persistence; a restart keeps the port."""

    install: ClassVar[str] = "apt-get install redis-server"

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="rivulet-redis-")

    @staticmethod
    def program() -> str | None:
        return find("redis-server") or find("valkey-server")

    @classmethod
    def missing(cls) -> bool:
        return cls.program() is None

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        log = Path(self._directory.name, "log")
        command = [str(self.program()), *self.options(), "--dir", self._directory.name]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        _await(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close(), self._process, log)

    def options(self) -> list[str]:
        """Return its command line, but for its folder."""
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Stop it; what it held is lost."""
        if self._process:
            _stop(self._process)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP freezes it with all that it holds, SIGCONT lets it go on."""
        if self._process:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._directory.cleanup()


class Postgres:
    """A PostgreSQL cluster in a temporary folder: UTF-8, trusting, never flushed to disk; not run as root.

    `durable`: what was committed stays when its processes are killed.
    """

    install: ClassVar[str] = "apt-get install postgresql"

    def __init__(self, make_cluster: "Callable[[Postgres], None] | None" = None, *, durable: bool = False) -> None:
        self.port, self._durable = free_port(), durable
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="rivulet-postgres-")
        self._names = (f"rivulet{number}" for number in count(1))
        self._make_cluster = make_cluster or Postgres._copy_cluster

    @classmethod
    def missing(cls) -> bool:
        return find("initdb") is None or find("postgres") is None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def home(self) -> Path:
        return Path(self._directory.name, "data")

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def database(self, template: str = "template0") -> str:
        """Make a fresh database, empty or a copy of another, and return its URL."""
        return self._database(next(self._names), template)

    def migrated_database(self) -> str:
        """Make a fresh database with the product's tables and return its URL."""
        return self.database(MIGRATED)

    def _database(self, name: str, template: str) -> str:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        return self.url(name)

    def start(self) -> None:
        """Start it, making the cluster the first time, and wait until it answers."""
        if not self.home.exists():
            self._make_cluster(self)
        options = ["-p", str(self.port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        unsafe = ["-c", "fsync=off"]
        if not self._durable:
            unsafe += ["-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        with Path(self._directory.name, "log").open("ab") as output:
            command = [str(find("postgres")), "-D", str(self.home), *options, *unsafe]
            self._process = subprocess.Popen(command, stdout=output, stderr=output, **_as_postgres())
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it answers, which it does not while it recovers."""
        assert self._process
        _await(lambda: psycopg.connect(self.url()).close(), self._process, Path(self._directory.name, "log"))

    def kill(self) -> None:
        """Kill its main process with SIGKILL and wait until the others have noticed."""
        assert self._process
        children = self._children()
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + START_SECONDS
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill_connection(self, name: str) -> None:
        """Kill the process of a connection to a database; all others then lose theirs. Wait until it answers again."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
            " ORDER BY state_change DESC LIMIT 1"
        )
        deadline = time.monotonic() + START_SECONDS
        with psycopg.connect(self.url(), autocommit=True) as watching:
            # There is none for a moment while a pool connects again.
            while not (found := watching.execute(query, [name]).fetchone()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.kill(found[0], signal.SIGKILL)
            with contextlib.suppress(psycopg.OperationalError):
                watching.execute("SELECT pg_sleep(60)")
            assert watching.broken
        self.wait_until_ready()

    def stop(self) -> None:
        """Stop it at once: connections are cut, what was committed stays."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # PostgreSQL's "fast" shutdown
            _stop(self._process)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let all of its processes stand still."""
        os.kill(self.pid, signal.SIGSTOP)  # from now on it starts no other
        children = self._children()
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (*children, self.pid):
                os.kill(pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def _copy_cluster(self) -> None:
        """Copy a cluster whose database MIGRATED has the product's tables; it is made once."""
        version = subprocess.run([str(find("postgres")), "--version"], capture_output=True, text=True, check=True)
        template = kept(f"postgresql-{version.stdout.split()[2]}", _make_cluster_template)
        Path(self._directory.name).chmod(0o755)
        _copy_folder(template, self.home)

    def _initialize(self) -> None:
        options: dict[str, Any] = _as_postgres()
        if "user" in options:
            Path(self._directory.name).chmod(0o755)
            self.home.mkdir(mode=0o700)
            os.chown(self.home, pwd.getpwnam(options["user"]).pw_uid, -1)
        trust = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        command = [str(find("initdb")), "-D", str(self.home), *trust]
        made = subprocess.run(command, capture_output=True, text=True, **options)
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # "immediate": what is thrown away need not be written
            self._process.wait()
        self._directory.cleanup()


def _make_cluster_template(path: Path) -> None:
    with Postgres(Postgres._initialize) as server:
        url = server._database(MIGRATED, "template0")
        with tempfile.TemporaryDirectory(prefix="rivulet-template-") as folder:
            migrate(url, Path(folder))
        server.stop()
        _copy_folder(server.home, path)


def _copy_folder(folder: Path, to: Path) -> None:
    """Copy a folder; the owners of its files stay the same."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)


class Node:
    """Node and npm, which check and build the front end."""

    install: ClassVar[str] = "apt-get install nodejs npm (Node 20.19 or newer: Debian 13, or nodesource.com)"

    @classmethod
    def missing(cls) -> bool:
        """Return whether one of them is absent, or Node is older than frontend/package.json allows."""
        if not (find("node") and find("npm")):
            return True
        version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
        return tuple(map(int, version.removeprefix("v").split(".")[:2])) < (20, 19)


def _as_postgres() -> dict[str, Any]:
    """Return options to run as the user postgres, because PostgreSQL refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/"} if os.getuid() == 0 else {}


def environment(database_url: str, var_dir: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a process of the product that uses this database and folder."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SOAK", "CI") if name in os.environ}
    return {**inherited, "DATABASE_URL": database_url, "VAR_DIR": str(var_dir), **variables}


def migrate(database_url: str, var_dir: Path) -> None:
    """Bring a database up to date with `manage.py migrate`."""
    command = [str(ROOT / "manage.py"), "migrate", "--skip-checks", "--verbosity", "0"]
    done = launcher.run(command, environment(database_url, var_dir))
    if done.returncode:
        raise RuntimeError(f"migrate failed:\n{done.stdout}{done.stderr}")


@cache
def _sqlite_template() -> Path:
    return kept("sqlite3", lambda path: migrate(f"sqlite:///{quote(str(path))}", path.parent / "var"))


def copy_migrated_sqlite(path: Path) -> None:
    """Make a fresh SQLite file with the product's tables; migrating happens once."""
    shutil.copyfile(_sqlite_template(), path)


def restore_sqlite(connection: sqlite3.Connection) -> None:
    """Bring a database back to what `copy_migrated_sqlite` made, also while other threads are connected to it."""
    with closing(sqlite3.connect(_sqlite_template())) as template:
        template.backup(connection)


def migrated_sqlite(directory: Path) -> str:
    """Make a fresh SQLite file with the product's tables and return its URL."""
    path = directory / "rivulet.sqlite3"
    copy_migrated_sqlite(path)
    return f"sqlite:///{quote(str(path))}"


@contextmanager
def connected(database_url: str) -> Iterator[None]:
    """Let the models of this thread use that database, to prepare and to check what processes do."""
    settings = connections.configure_settings({"default": database_from_url(database_url)})["default"]
    ours = connections["default"]
    connections["default"] = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, "default")
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = ours


def in_processes(
    function: Callable[..., Any], arguments: Sequence[Sequence[Any]], variables: Mapping[str, str], seconds: float = 240
) -> list[Any]:
    """Call a module-level function once for each row of arguments, each in a process of its own, all at once.

    Arguments and results travel as JSON. The processes are forks of one that has set up Django with `variables` as its
    environment (`environment()` makes one), so they share what that makes, e.g. the name of the process. A failure is
    raised with what the processes printed.
    """
    command = ["-m", "tests.worker", function.__module__, function.__qualname__]
    worker = launcher.run(command, variables, json.dumps(arguments), seconds)
    ended = json.loads(worker.stdout.splitlines()[-1]) if worker.returncode == 0 else [(worker.returncode, "")]
    for code, _result in ended:
        if code:
            raise AssertionError(f"a worker process failed ({code}):\n{worker.stdout}{worker.stderr}")
    return [json.loads(result) for _code, result in ended]
