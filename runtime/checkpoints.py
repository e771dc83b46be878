"""Checkpoints of SQLite: its write-ahead log is copied into the database file, beside the transactions.

SQLite makes one at the end of a commit that finds the log long, and everything that writes then waits for the disk: for
8 ms, at one of sixty commits. Here a commit makes one only when the log has grown far beyond what a timer leaves of it
(`wal_autocheckpoint` in `runtime/database_url.py`).
"""

from django.db import connection

from runtime.executor import DatabaseExecutor

# Seconds between two checkpoints, at most and at least. A power cut loses what was committed after the last one.
MOST_SECONDS, LEAST_SECONDS = 2.0, 0.1
# Pages that a checkpoint is to copy, when that many are written within MOST_SECONDS.
PAGES = 4_000


class Checkpoints:
    """Makes the checkpoints of one process, in a thread that no request waits for."""

    def __init__(self, thread: DatabaseExecutor) -> None:
        self._thread = thread
        # Pages of the log that were copied before; the log begins anew when all are copied.
        self._copied = 0
        self._seconds = MOST_SECONDS

    def seconds(self) -> float:
        """Return how long to wait before the next checkpoint."""
        return self._seconds

    async def make(self) -> None:
        """Make a checkpoint, and wait until the disk has it. Repeating is safe."""
        copied = await self._thread.run(checkpoint)
        new = copied - self._copied if copied >= self._copied else copied
        self._copied = copied
        self._seconds = min(MOST_SECONDS, max(LEAST_SECONDS, self._seconds * PAGES / max(1, new)))


def checkpoint() -> int:
    """Make a checkpoint; return how many pages of the log are copied. Synchronous."""
    with connection.cursor() as cursor:
        # Passive: it waits for none that reads or writes, and leaves to the next turn what they are using.
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        _is_busy, _pages, copied = cursor.fetchone()
    return int(copied)
