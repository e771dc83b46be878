"""The logs of this process, in memory: bounded, the oldest finished ones leaving first."""

import time
from collections import OrderedDict

from django.conf import settings

from chat.events.log import Copy, Log, Snapshot


class LocalLogs:
    """All logs of one process. Running ones stay; finished ones replay for a while, memory permitting."""

    def __init__(self) -> None:
        self._running: dict[str, Log] = {}
        self._copies: set[Copy] = set()
        self._finished: OrderedDict[str, tuple[float, Log]] = OrderedDict()
        self._finished_bytes = 0

    def open(self, channel: str, snapshot: Snapshot) -> Log:
        """Start the log of a channel that has none yet."""
        log = self._running[channel] = Log(channel, snapshot)
        return log

    def copy(self, channel: str, snapshot: Snapshot) -> Copy:
        """Return an empty log for what another process publishes: its memory counts, `get` does not find it."""
        log = Copy(channel, snapshot)
        self._copies.add(log)
        return log

    def get(self, channel: str) -> Log | None:
        finished = self._finished.get(channel)
        return self._running.get(channel) or (finished[1] if finished else None)

    def finish(self, log: Log) -> None:
        """Keep an ended log for those who reconnect, for `CHANNEL_RETENTION_SECONDS` at the longest."""
        if self._running.pop(log.channel, None) is not None:
            self._finished[log.channel] = (time.monotonic(), log)
            self._finished_bytes += log.size
        self.bound()

    def drop(self, log: Log) -> None:
        """Forget a log at once."""
        if isinstance(log, Copy):
            self._copies.discard(log)
        else:
            self._running.pop(log.channel, None)

    def bound(self) -> None:
        """Drop what is too old or too much. Called when a log ends and from time to time."""
        running = sum(log.size for log in self._live())
        deadline = time.monotonic() - settings.CHANNEL_RETENTION_SECONDS
        allowed = settings.CHANNEL_MEMORY_BYTES - running
        while self._finished:
            ended_at, log = next(iter(self._finished.values()))
            if ended_at > deadline and self._finished_bytes <= allowed:
                break
            del self._finished[log.channel]
            self._finished_bytes -= log.size
        self._bound_running(running)

    def _live(self) -> list[Log]:
        return [*self._running.values(), *self._copies]

    def _bound_running(self, size: int) -> None:
        """Shorten the longest running logs when they alone are too much."""
        live = self._live()
        if size > settings.CHANNEL_MEMORY_BYTES:
            for log in live:
                log.drop_oldest(settings.CHANNEL_MEMORY_BYTES // len(live))


# The logs of this process.
logs = LocalLogs()
