"""What the other tests stand on: nobody outside is reached, real servers are real, and a missing one is said so."""

import asyncio
import os
import shutil
import socket
import subprocess

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
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(100)


def run_script(**variables):
    command = ["/bin/sh", str(servers.ROOT / "tests" / "servers.sh")]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "api.example.org", "0.0.0.0"])
def test_only_this_machine_is_reached(host):
    """A test cannot reach anything but this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as outside:
        for connect in (outside.connect, outside.connect_ex):
            with pytest.raises(AssertionError):
                connect((host, 443))


async def test_event_loops_cannot_either():
    """Connections of an event loop are held to the same rule."""
    with pytest.raises(AssertionError):
        await asyncio.wait_for(asyncio.open_connection("192.0.2.1", 443), 5)


def test_this_machine_is_reached():
    """Loopback is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def test_missing_server_is_skipped_here_and_fails_in_ci(monkeypatch):
    """Where a server is missing, tests are left out with a word on what to install; in CI they fail."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install it"):
        conftest._need(Missing)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install it"):
        conftest._need(Missing)


@pytest.mark.server
def test_processes_return_what_they_found(tmp_path):
    """A function runs in processes of its own, with its own arguments, and a failure in one of them is shown."""
    variables = servers.environment(f"sqlite:///{tmp_path}/none.sqlite3", tmp_path)
    assert servers.in_processes(double, [[2], [21]], variables) == [4, 42]
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        servers.in_processes(divide, [[0]], variables)


def test_redis_can_go_away_and_come_back(redis_server):
    """A Redis answers, is gone when stopped, and comes back at the same address."""
    assert ping(redis_server.url) == b"+PONG\r\n"
    with servers.Redis() as other:
        other.stop()
        with pytest.raises(OSError):
            ping(other.url)
        other.start()
        assert ping(other.url) == b"+PONG\r\n"


def test_postgresql_gives_fresh_databases(postgres):
    """Each database is empty, UTF-8 and apart from all others; a migrated one has the tables."""
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
def test_script_is_silent_when_all_is_there():
    """With every server installed, the script that installs them says and does nothing."""
    if servers.Redis.missing() or servers.Postgres.missing() or servers.Node.missing():
        pytest.skip("not every server is installed")
    done = run_script()
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_script_names_what_is_missing(tmp_path, ci, code):
    """Where it cannot install, it names the packages and the tests left out, and fails in CI."""
    for program in ("id", "tr", "head"):
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    done = run_script(PATH=str(tmp_path), CI=ci)
    assert done.returncode == code
    assert "apt-get install redis-server" in done.stderr
    assert "without nginx these are left out" in done.stderr
    assert "without nodejs these are left out: the front end's checks" in done.stderr
