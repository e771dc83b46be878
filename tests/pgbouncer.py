"""PgBouncer of deploy/pgbouncer.ini in front of a PostgreSQL of the tests."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


@contextmanager
def pooling(postgres: Postgres, name: str) -> Iterator[str]:
    """Run it for one database; yield a DATABASE_URL over its unix socket."""
    with tempfile.TemporaryDirectory(prefix="Rivulet-PgBouncer-") as folder:
        Path(folder).chmod(0o777)
        port = free_port()
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
        ini, log = Path(folder, "pgbouncer.ini"), Path(folder, "log")
        ini.write_text(text, encoding="utf-8")
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(find("pgbouncer")), str(ini)], stdout=output, stderr=output, **_as_postgres()
            )
        url = f"postgresql://postgres@{quote(folder, safe='')}:{port}/{name}"
        try:
            _await(lambda: psycopg.connect(url).close(), process, log)
            yield f"{url}?pooler=transaction"
        finally:
            _stop(process)
