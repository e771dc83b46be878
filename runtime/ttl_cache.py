"""What is read from the database at most every few seconds, and at once when this process has changed it."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import transaction

T = TypeVar("T")


class Remembered(Generic[T]):
    """What `read` returns, for `seconds`. For any number of threads: one reads, the others wait for it."""

    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None
        # Another one with each `forget`.
        self._era = object()

    def current(self) -> T:
        """Return it; synchronous, to be called where the database may be."""
        with self._lock:
            kept = self._kept
            if kept is None or time.monotonic() - kept[0] > self._seconds:
                era = self._era
                kept = self._kept = (time.monotonic(), self._read())
                if era is not self._era:  # what was read may be older than what had changed meanwhile
                    self._kept = None
            return kept[1]

    def last(self) -> T | None:
        """Return it as it was when it was last read, however long ago; for the event loop, which cannot read it."""
        kept = self._kept
        return kept[1] if kept else None

    def forget(self) -> None:
        """Read it anew at the next question: after a change made in this process."""
        self._era = object()
        self._kept = None

    def changed(self) -> None:
        """Forget, now and once the transaction that is open can be seen: others may read the old rows until then."""
        self.forget()
        transaction.on_commit(self.forget)
