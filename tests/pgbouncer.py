"""PgBouncer of deploy/pgbouncer.ini in front of a PostgreSQL of the tests."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg

from tests.servers import ROOT, Postgres, _as_postgres, _await, _stop, find, free_port

# Connections to PostgreSQL: fewer than a process opens, so that its transactions share them.
POOL_SIZE = 4
# As docs/operations.md has them.
ROLE_LIMITS = ("statement_timeout = '30s'", "lock_timeout = '15s'", "idle_in_transaction_session_timeout = '10s'")


def limit_role(postgres: Postgres, name: str) -> None:
    """Give the connections to a database their time limits, which a pooler does not pass on."""
    with psycopg.connect(postgres.url(name), autocommit=True) as direct:
        for limit in ROLE_LIMITS:
            direct.execute(f"ALTER ROLE postgres IN DATABASE {name} SET {limit}")


class PgBouncer:
    """PgBouncer for one database; a restart keeps its port and folder."""

    def __init__(self, postgres: Postgres, name: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="Rivulet-PgBouncer-")
        folder, port = self._directory.name, free_port()
        Path(folder).chmod(0o777)
        changes = {
            r"^rivulet = .*": f"{name} = host=127.0.0.1 port={postgres.port} dbname={name} user=postgres",
            r"^listen_port = .*": f"listen_port = {port}",
            r"^unix_socket_dir = .*": f"unix_socket_dir = {folder}",
            r"^auth_type = .*": "auth_type = any",
            r"^default_pool_size = .*": f"default_pool_size = {POOL_SIZE}",
            r"^(auth_file|logfile|pidfile) = .*\n": "",
        }
        text = (ROOT / "deploy/pgbouncer.ini").read_text(encoding="utf-8")
        for pattern, replacement in changes.items():
            text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            assert count, pattern
        self._ini, self._log = Path(folder, "pgbouncer.ini"), Path(folder, "log")
        self._ini.write_text(text, encoding="utf-8")
        self._url = f"postgresql://postgres@{quote(folder, safe='')}:{port}/{name}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """A DATABASE_URL over its unix socket."""
        return f"{self._url}?pooler=transaction"

    def start(self) -> None:
        """Start it and wait until it passes connections on."""
        command = [str(find("pgbouncer")), str(self._ini)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, **_as_postgres())
        _await(lambda: psycopg.connect(self._url).close(), self._process, self._log)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process:
            _stop(self._process)
        self._directory.cleanup()


@contextmanager
def pooling(postgres: Postgres, name: str) -> Iterator[str]:
    """Run it for one database; yield a DATABASE_URL over its unix socket."""
    with PgBouncer(postgres, name) as pooler:
        yield pooler.url
