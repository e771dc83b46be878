"""Event logs of this process in memory; the oldest finished ones are dropped first."""

import time
from collections import OrderedDict

from django.conf import settings

from chat.events.log import Log, ReplicaLog, Snapshot


class LocalLogs:
    """All logs of one process: running ones, and finished ones within a bound."""

    def __init__(self) -> None:
        self._running: dict[str, Log] = {}
        self._replicas: set[ReplicaLog] = set()
        self._finished: OrderedDict[str, tuple[float, Log]] = OrderedDict()
        # Bytes of these, and of all others as `bound` has added them up.
        self._finished_bytes = self._live_bytes = 0

    def open(self, channel: str, snapshot: Snapshot) -> Log:
        """Start the log of a channel that has none yet."""
        log = self._running[channel] = Log(channel, snapshot)
        return log

    def get(self, channel: str) -> Log | None:
        finished = self._finished.get(channel)
        return self._running.get(channel) or (finished[1] if finished else None)

    def followed(self) -> list[Log]:
        """Return the logs that have readers."""
        finished = (log for _ended_at, log in self._finished.values())
        return [log for log in (*self._running.values(), *finished) if log.followed]

    def finish(self, channel: str) -> None:
        """Keep an ended log for readers who reconnect, for `CHANNEL_RETENTION_SECONDS` at most."""
        if log := self._running.pop(channel, None):
            self._finished[channel] = (time.monotonic(), log)
            self._finished_bytes += log.size
            self._live_bytes = max(0, self._live_bytes - log.size)
        self._drop_finished()

    def drop(self, channel: str) -> None:
        """Forget a running log at once."""
        self._running.pop(channel, None)

    def open_replica(self, channel: str, snapshot: Snapshot) -> ReplicaLog:
        """Start the replica of a log. Its memory counts, but `get` does not find it."""
        log = ReplicaLog(channel, snapshot)
        self._replicas.add(log)
        return log

    def drop_replica(self, log: ReplicaLog) -> None:
        self._replicas.discard(log)

    def bound(self) -> None:
        """Drop old finished logs, and shorten the longest running ones if need be. A timer."""
        live = [*self._running.values(), *self._replicas]
        self._live_bytes = sum(log.size for log in live)
        self._drop_finished()
        if self._live_bytes > settings.CHANNEL_MEMORY_BYTES:
            for log in live:
                log.drop_oldest(settings.CHANNEL_MEMORY_BYTES // len(live))

    def _drop_finished(self) -> None:
        """Drop finished logs that are too old, or more than there is room for.

        Logs that still run are not added up each time: with a thousand of them that took 20 µs of each end.
        """
        deadline = time.monotonic() - settings.CHANNEL_RETENTION_SECONDS
        while self._finished:
            ended_at, log = next(iter(self._finished.values()))
            if ended_at > deadline and self._finished_bytes + self._live_bytes <= settings.CHANNEL_MEMORY_BYTES:
                break
            del self._finished[log.channel]
            self._finished_bytes -= log.size
