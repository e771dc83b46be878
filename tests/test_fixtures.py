"""The fixtures: no connection to other machines, real servers, and hints for missing ones."""

import asyncio
import fcntl
import os
import shutil
import socket
import subprocess
from datetime import datetime

import psycopg
import pytest

from tests import conftest, servers


class Missing:
    """A server that is not installed."""

    install = "apt-get install it"

    @staticmethod
    def missing():
        return True


def double(number):
    return number * 2


def divide(number):
    return 1 / number


def ping(url):
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(100)


def can_claim(port):
    try:
        fcntl.lockf(servers._claims()[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def run_script(**variables):
    command = ["/bin/sh", str(servers.ROOT / "tests" / "servers.sh")]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "api.example.org", "0.0.0.0"])
def test_only_this_machine_is_reached(host):
    """A test cannot connect to another machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as outside:
        for connect in (outside.connect, outside.connect_ex):
            with pytest.raises(AssertionError):
                connect((host, 443))


async def test_event_loops_cannot_connect_elsewhere():
    """Connections of an event loop are refused too."""
    with pytest.raises(AssertionError):
        await asyncio.wait_for(asyncio.open_connection("192.0.2.1", 443), 5)


def test_loopback_is_allowed():
    """Loopback connections are allowed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


@pytest.mark.parametrize(
    ("now", "left"),
    [("2026-11-30T15:59:30", 30), ("2026-11-30T16:00:00", 8 * 3600), ("2026-12-31T23:59:50", 10)],
    ids=["in Shanghai", "of a new day there", "of a year"],
)
def test_seconds_until_a_midnight(now, left):
    """The next midnight is that in UTC or that of the quotas, whichever comes first."""
    assert conftest.seconds_left(datetime.fromisoformat(f"{now}+00:00")) == left


def test_missing_server_is_skipped_here_and_fails_in_ci(monkeypatch):
    """Without a server its tests are skipped with a hint for installing it; in CI they fail."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install it"):
        conftest._need(Missing)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install it"):
        conftest._need(Missing)


@pytest.mark.server
def test_processes_return_their_results(tmp_path):
    """A function runs in other processes with its arguments, and a failure is shown."""
    variables = servers.environment(f"sqlite:///{tmp_path}/none.sqlite3", tmp_path)
    assert servers.in_processes(double, [[2], [21]], variables) == [4, 42]
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        servers.in_processes(divide, [[0]], variables)


@pytest.mark.server
def test_ports_are_given_once(tmp_path):
    """A port that one test process got is not given to another one."""
    variables = servers.environment(f"sqlite:///{tmp_path}/none.sqlite3", tmp_path)
    ports = {servers.free_port() for _ in range(3)}
    assert len(ports) == 3
    assert servers.in_processes(can_claim, [[port] for port in ports], variables) == [False] * 3


def test_redis_restarts_at_the_same_address(redis_server):
    """A Redis server can be stopped and restarted at the same address."""
    assert ping(redis_server.url) == b"+PONG\r\n"
    with servers.Redis() as other:
        other.stop()
        with pytest.raises(OSError):
            ping(other.url)
        other.start()
        assert ping(other.url) == b"+PONG\r\n"


def test_postgresql_gives_fresh_databases(postgres):
    """Each database is empty, in UTF-8 and separate; a migrated one has the tables."""
    first, second, migrated = postgres.database(), postgres.database(), postgres.migrated_database()
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    with psycopg.connect(first) as connection:
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        connection.execute("CREATE TABLE mine ()")
    for url, minimum in ((first, 1), (second, 0), (migrated, 10)):
        with psycopg.connect(url) as connection:
            (count,) = connection.execute(tables).fetchone()
            assert count >= minimum
            assert (count > 1) == (url == migrated)


@pytest.mark.server
def test_script_does_nothing_when_all_servers_are_installed():
    """With all servers installed, the installing script prints and does nothing."""
    if servers.Redis.missing() or servers.Postgres.missing() or servers.Node.missing():
        pytest.skip("not every server is installed")
    done = run_script()
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_script_names_what_is_missing(tmp_path, ci, code):
    """If it cannot install, the script names packages and skipped tests, and fails in CI."""
    for program in ("id", "tr", "head"):
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    done = run_script(PATH=str(tmp_path), CI=ci)
    assert done.returncode == code
    assert "apt-get install redis-server" in done.stderr
    assert "without nginx these are left out" in done.stderr
    assert "without nodejs these are left out: the front end's checks" in done.stderr
