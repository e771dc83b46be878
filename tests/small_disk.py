"""A PostgreSQL whose files are on a small disk of its own, which a test can fill; root may mount one."""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests import servers

# MiB of the disk, which is in memory: a new database with its log takes 60.
SIZE_MIB = 128
BLOCK_BYTES = 1 << 16


class OnSmallDisk(servers.Postgres):
    """Has the disk where mounting is permitted, otherwise a folder like all servers of the tests."""

    def __init__(self) -> None:
        super().__init__(OnSmallDisk._mount_and_copy)
        # Why there is no such disk.
        self.no_disk = ""

    def _mount_and_copy(self) -> None:
        options = f"size={SIZE_MIB}m,mode=755"
        command = ["mount", "-t", "tmpfs", "-o", options, "small-disk", self._directory.name]
        try:
            mounted = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            self.no_disk = str(error)
        else:
            self.no_disk = mounted.stderr.strip() if mounted.returncode else ""
        self._copy_cluster()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let nothing more fit on the disk; what its files hold already can be written again."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            # A log file that is nearly full would end the server, which could not begin the next one.
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        ballast = Path(self._directory.name, "ballast")
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(BLOCK_BYTES)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        try:
            yield
        finally:
            ballast.unlink()

    def __exit__(self, *error: object) -> None:
        if not self.no_disk:
            self.stop()
            subprocess.run(["umount", "--lazy", self._directory.name], check=True)
        super().__exit__(*error)
