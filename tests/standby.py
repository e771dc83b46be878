"""A hot standby of a PostgreSQL server: a streaming replica, made with `pg_basebackup`."""

import subprocess
from pathlib import Path

import psycopg

from tests import servers


class Standby(servers.Postgres):
    """Streams from a primary until it is stopped."""

    def __init__(self, primary: servers.Postgres) -> None:
        super().__init__(Standby._copy_primary)
        self._primary = primary

    def _copy_primary(self) -> None:
        Path(self._directory.name).chmod(0o755)
        where = ["-D", str(self.home), "-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "postgres"]
        command = [str(servers.find("pg_basebackup")), *where, "-X", "stream", "-R", "-c", "fast", "--no-sync"]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(f"pg_basebackup failed:\n{made.stderr}")
        if user := servers._as_postgres().get("user"):
            subprocess.run(["chown", "-R", str(user), str(self.home)], check=True)

    def delay(self, time: str) -> None:
        """Apply what the primary stores only after so much time, such as `1h`."""
        with (self.home / "postgresql.auto.conf").open("a") as file:
            file.write(f"recovery_min_apply_delay = '{time}'\n")
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
