"""Who wants to know how a push channel ends: callbacks of this process, each told once.

A thread of its own looks after them, and lives as long as there are any: whoever opens a channel may be a script or a
worker without an event loop, and a callback may take its time. It looks when something was pushed in this process, when
an idle limit has run out, and every two seconds for what other processes pushed. The callbacks are in memory: they end
with the process.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, InterfaceError, connection

from chat.channels import store

log = structlog.get_logger("chat")

LOOK_SECONDS = 2.0
TIMEOUT = "timeout"

OnEnd = Callable[[str], object]


@dataclass(eq=False, slots=True)
class Watch:
    """One callback: told how the channel ended, or that nothing was pushed before `deadline`."""

    channel_id: int
    on_end: OnEnd
    idle_seconds: float
    deadline: float
    last_event: int


_lock = threading.Lock()
_look_again = threading.Event()
_watches: list[Watch] = []
_thread: threading.Thread | None = None


def add(channel_id: int, last_event: int, idle_seconds: float, on_end: OnEnd) -> None:
    """Tell `on_end` how the channel ends: "complete", "error", or "timeout" after `idle_seconds` without a message."""
    global _thread
    with _lock:
        _watches.append(Watch(channel_id, on_end, idle_seconds, time.monotonic() + idle_seconds, last_event))
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_look_after_all, name="channel watches", daemon=True)
            _thread.start()
    _look_again.set()


def look() -> None:
    """Look soon: something was pushed in this process."""
    _look_again.set()


def _look_after_all() -> None:
    try:
        while _some_left():
            _tell(_ended())
            _look_again.wait(_pause())
            _look_again.clear()
    finally:
        connection.close()


def _some_left() -> bool:
    global _thread
    with _lock:
        if not _watches:
            _thread = None  # under the lock: whoever adds now starts the next one
        return bool(_watches)


def _pause() -> float:
    with _lock:
        next_deadline = min((watch.deadline for watch in _watches), default=0.0)
    return min(LOOK_SECONDS, max(0.01, next_deadline - time.monotonic()))


def _ended() -> list[tuple[Watch, str]]:
    """Return the watches that have nothing left to wait for, each with its reason."""
    with _lock:
        watches = list(_watches)
    try:
        now = store.standings({watch.channel_id for watch in watches})
    except (DatabaseError, InterfaceError) as error:
        log.warning("watched channels could not be read", error=type(error).__name__)
        connection.close()
        time.sleep(LOOK_SECONDS)
        return []
    return [(watch, reason) for watch in watches if (reason := _reason(watch, now.get(watch.channel_id)))]


def _reason(watch: Watch, standing: tuple[int, float, str] | None) -> str:
    last_event, _limit, ending = standing or (watch.last_event, 0.0, "")
    if ending:
        return ending
    now = time.monotonic()
    if last_event != watch.last_event:
        watch.last_event, watch.deadline = last_event, now + watch.idle_seconds
    return TIMEOUT if now >= watch.deadline else ""


def _tell(ended: list[tuple[Watch, str]]) -> None:
    for watch, reason in ended:
        with _lock:
            _watches.remove(watch)
        try:
            watch.on_end(reason)
        except Exception:  # one callback's fault is not the others'
            log.exception("on_end failed", reason=reason)
