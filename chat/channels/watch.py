"""Watching how push channels end: callbacks in this process, each called once.

One thread calls them. It runs only while there are callbacks, because the caller may be a script without an event loop
and a callback may block. It checks after each push in this process, when an idle limit runs out, and every two seconds
for pushes of other processes. Callbacks live in memory and are lost when the process ends.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, InterfaceError, connection

from chat.channels import store

log = structlog.get_logger("chat")

# Seconds between two checks for pushes of other processes, and before a retry after a database error.
CHECK_SECONDS = 2.0
# Seconds between two checks at least, however close the next deadline is.
SHORTEST_PAUSE_SECONDS = 0.01
TIMEOUT = "timeout"

OnEnd = Callable[[str], object]


@dataclass(eq=False, slots=True)
class Watch:
    """One callback, and the monotonic time at which its channel counts as idle."""

    channel_id: int
    on_end: OnEnd
    idle_seconds: float
    deadline: float
    last_event: int


class EndWatcher:
    """Call back when watched channels end; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self.watches: list[Watch] = []
        self._thread: threading.Thread | None = None

    def add(self, channel_id: int, last_event: int, idle_seconds: float, on_end: OnEnd) -> None:
        """Call `on_end` once: with the channel's ending, or "timeout" after `idle_seconds` without a message."""
        with self._lock:
            self.watches.append(Watch(channel_id, on_end, idle_seconds, time.monotonic() + idle_seconds, last_event))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="channel watches", daemon=True)
                self._thread.start()
        self._changed.set()

    def check_soon(self) -> None:
        """Check the channels now, because something was pushed in this process."""
        self._changed.set()

    def _run(self) -> None:
        try:
            while watches := self._current_or_stop():
                for watch, reason in _ended(watches):
                    with self._lock:
                        self.watches.remove(watch)
                    try:
                        watch.on_end(reason)
                    except Exception:  # a callback that fails must not stop the others
                        log.exception("on_end callback failed", reason=reason)
                with self._lock:
                    next_deadline = min((watch.deadline for watch in self.watches), default=0.0)
                pause = max(SHORTEST_PAUSE_SECONDS, next_deadline - time.monotonic())
                self._changed.wait(min(CHECK_SECONDS, pause))
                self._changed.clear()
        finally:
            connection.close()

    def _current_or_stop(self) -> list[Watch]:
        with self._lock:
            if not self.watches:
                self._thread = None  # under the lock: the next `add` starts a new thread
            return list(self.watches)


def _ended(watches: list[Watch]) -> list[tuple[Watch, str]]:
    """Return the watches whose channel has ended or timed out, each with its reason."""
    try:
        states = store.states({watch.channel_id for watch in watches})
    except (DatabaseError, InterfaceError) as error:
        log.warning("watched channels could not be read", error=type(error).__name__)
        connection.close()
        time.sleep(CHECK_SECONDS)
        return []
    return [(watch, reason) for watch in watches if (reason := _reason(watch, states.get(watch.channel_id)))]


def _reason(watch: Watch, state: store.State | None) -> str:
    last_event, _limit, ending = state or (watch.last_event, 0.0, "")
    if ending:
        return ending
    now = time.monotonic()
    if last_event != watch.last_event:
        watch.last_event, watch.deadline = last_event, now + watch.idle_seconds
    return TIMEOUT if now >= watch.deadline else ""
