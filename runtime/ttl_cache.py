"""A cached value that lives for seconds, or until this process changes its source."""

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import transaction

T = TypeVar("T")
# Runs a function in another thread if it can, and returns whether it will.
Ahead = Callable[[Callable[[], None]], bool]
# The share of its life after which a value that is used is read again in another thread.
AHEAD = 0.75


class TTLCache(Generic[T]):
    """The value that `read` returned, for `seconds`. Of several threads one reads, the others wait.

    A thread within a transaction does not wait but reads for itself. Because behind a pooler the one that reads may be
    waiting for a connection, transactions that wait for it would keep all of them.
    """

    def __init__(self, read: Callable[[], T], seconds: float, ahead: Ahead | None = None) -> None:
        """With `ahead`, users of a value do not wait for the next read."""
        self._read, self._seconds, self._ahead = read, seconds, ahead
        self._lock = threading.Lock()
        self._entry: tuple[float, T] | None = None
        # Replaced by each `forget`, so that a read which began before it is noticed.
        self._version = object()
        self._reads_ahead = False

    def current(self) -> T:
        """Return the value, read again when it is too old. Blocks the thread."""
        if not self._lock.acquire(blocking=False):
            if transaction.get_connection().in_atomic_block:
                return self._read()
            self._lock.acquire()
        try:
            entry = self._entry
            age = time.monotonic() - entry[0] if entry else math.inf
            if entry is None or age > self._seconds:
                version = self._version
                entry = self._entry = (time.monotonic(), self._read())
                if version is not self._version:  # the source changed during the read, so the value may be old
                    self._entry = None
            elif self._ahead and not self._reads_ahead and age > self._seconds * AHEAD:
                self._reads_ahead = self._ahead(self._read_ahead)
            return entry[1]
        finally:
            self._lock.release()

    def _read_ahead(self) -> None:
        """Read the value while others use the one before.

        If that fails, the next read shows why.
        """
        version, entry = self._version, None
        try:
            entry = (time.monotonic(), self._read())
        finally:
            with self._lock:
                self._reads_ahead = False
                self._entry = entry or self._entry
                if version is not self._version:
                    self._entry = None

    def last(self) -> T | None:
        """Return the value of the last read, however old, without blocking the event loop."""
        entry = self._entry
        return entry[1] if entry else None

    def forget(self) -> None:
        """Drop the value, because this process changed its source."""
        self._version = object()
        self._entry = None

    def changed(self) -> None:
        """Drop the value now and after the commit, because until then others read old rows."""
        self.forget()
        transaction.on_commit(self.forget)
