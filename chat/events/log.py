"""The event log of one generation: publish, replay, follow, complete.

Events are numbered from 1 without gaps and encoded once; every follower shares the bytes. An event, once published,
never changes. What is no longer kept, or was never known, is answered with a `reset`: a snapshot of all that was said
so far, bearing the number of the last event it covers. All of this runs on the event loop's thread, so a snapshot and
the log always agree.
"""

from collections.abc import Callable, Sequence

import orjson

Snapshot = Callable[[], dict[str, str]]
Wake = Callable[[], None]

# One answer's log; a reader further behind is served from the snapshot.
LOG_BYTES = 4 * 2**20
# What is written to a follower at once: a reader far behind must not make the process copy megabytes for it.
WRITE_BYTES = 64 * 1024
# The bookkeeping of one event in memory beside its bytes.
EVENT_OVERHEAD = 64


def encode(channel: str, number: int, name: str, data: object) -> bytes:
    """Return one server-sent event; JSON keeps its data on one line whatever the text contains."""
    return b"id: %b:%d\nevent: %b\ndata: %b\n\n" % (channel.encode(), number, name.encode(), orjson.dumps(data))


class Log:
    """Events in memory, and the followers to wake. `snapshot` returns `{content, reasoning}` of all published text."""

    __slots__ = ("_abandoned", "_events", "_first", "_followers", "_said", "channel", "ended", "size", "snapshot")

    def __init__(self, channel: str, snapshot: Snapshot) -> None:
        self.channel = channel
        self.snapshot = snapshot
        self.ended = self._abandoned = False
        self.size = 0
        self._events: list[bytes] = []
        self._first = 1
        self._followers: set[Follower] = set()
        # The last snapshot that was asked for, and the number it covers: readers who need the same share it.
        self._said: tuple[bytes, int] | None = None

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept, or of the next one when none is."""
        return self._first

    @property
    def last(self) -> int:
        """The number of the last event; 0 before the first."""
        return self._first + len(self._events) - 1

    @property
    def followed(self) -> bool:
        return bool(self._followers)

    def publish(self, name: str, data: object) -> int:
        """Append an event, wake the followers, and return its number."""
        number = self.last + 1
        event = encode(self.channel, number, name, data)
        self._events.append(event)
        self.size += len(event) + EVENT_OVERHEAD
        if self.size > LOG_BYTES:
            self.drop_oldest(LOG_BYTES // 2)
        for follower in self._followers:
            follower.wake()
        return number

    def complete(self, name: str, data: object) -> None:
        """Publish the event that ends the log."""
        self.ended = True
        self.publish(name, data)

    def extend(self, events: Sequence[bytes], *, ends: bool = False) -> None:
        """Append events that were numbered and encoded elsewhere, in the order of their numbers."""
        self.ended = self.ended or ends
        self._events += events
        self.size += sum(map(len, events)) + EVENT_OVERHEAD * len(events)
        if self.size > LOG_BYTES:
            self.drop_oldest(LOG_BYTES // 2)
        self._wake_all()

    def abandon(self) -> None:
        """Send the followers away: nothing will come any more, not even an end."""
        self.ended = self._abandoned = True
        self._wake_all()

    def forget_until(self, number: int) -> None:
        """Drop all events so far and go on numbering after `number`, which must not be below the last one."""
        self._events.clear()
        self._first, self.size = number + 1, 0
        self._wake_all()

    def _wake_all(self) -> None:
        for follower in self._followers:
            follower.wake()

    def drop_oldest(self, keep_bytes: int) -> None:
        """Drop the oldest events until no more than `keep_bytes` are left; the last event always stays."""
        dropped = 0
        while self.size > keep_bytes and dropped < len(self._events) - 1:
            self.size -= len(self._events[dropped]) + EVENT_OVERHEAD
            dropped += 1
        del self._events[:dropped]
        self._first += dropped

    def follow(self, after: int | None, wake: Wake) -> "Follower":
        """Read on after event `after`: from the beginning when it is 0, with a `reset` when it is None or unknown.

        `wake` is called whenever something new can be taken; call `Follower.leave` in the end.
        """
        follower = Follower(self, after, wake)
        self._followers.add(follower)
        return follower

    def _leave(self, follower: "Follower") -> None:
        self._followers.discard(follower)
        if not self._followers:
            self._said = None

    def _read(self, after: int | None) -> tuple[bytes, int | None]:
        if after is not None and self._first - 1 <= after <= self.last:
            return self.read(after)
        return (b"", self.last) if self._abandoned else self._reset()

    def read(self, after: int) -> tuple[bytes, int]:
        """Return what follows event `after`, about `WRITE_BYTES` of it, and the number of the last event in that.

        `after` must be kept, or be the one before the first that is.
        """
        start = end = after + 1 - self._first
        size = 0
        while end < len(self._events) and size < WRITE_BYTES:
            size += len(self._events[end])
            end += 1
        return b"".join(self._events[start:end]), self._first + end - 1

    def _reset(self) -> tuple[bytes, int]:
        covered = self.last - 1 if self.ended else self.last  # the event that ends the log is sent as itself
        if self._said is None or self._said[1] != covered:
            self._said = encode(self.channel, covered, "reset", self.snapshot()), covered
        return self._said


class Copy(Log):
    """A log that another process writes, as it arrives here.

    Who has read at the owner may have seen more than that, and waits until it has arrived: a `reset` now would take
    such a reader back. Only where the owner says that there never was so much is the place taken for nonsense.
    """

    __slots__ = ()

    def ahead(self) -> "list[Follower]":
        """Return those who wait for what they have seen already."""
        return [follower for follower in self._followers if self._beyond(follower.after)]

    def _beyond(self, after: int | None) -> bool:
        # Nothing at all has arrived: there is nothing yet that a reset could say.
        return not self.ended and (self.last == 0 if after is None else after > self.last)

    def _read(self, after: int | None) -> tuple[bytes, int | None]:
        return (b"", after) if self._beyond(after) else super()._read(after)


class Follower:
    """One reader's place in a log: `after` is the last event it has, None where that is not known."""

    __slots__ = ("_log", "after", "wake")

    def __init__(self, log: Log, after: int | None, wake: Wake) -> None:
        self._log, self.after, self.wake = log, after, wake

    def take(self) -> bytes:
        """Return what is waiting, at most about `WRITE_BYTES` of it; empty when nothing is."""
        if self.after == self._log.last:
            return b""
        data, self.after = self._log._read(self.after)
        return data

    @property
    def at_end(self) -> bool:
        """Whether the log has ended and all of it was taken."""
        return self._log.ended and self.after == self._log.last

    def doubt(self, last: int) -> None:
        """Take its place for nonsense if it lies beyond event `last`, as far as the log went after it had come."""
        if self.after is not None and self.after > last:
            self.after = None
            self.wake()

    def leave(self) -> None:
        self._log._leave(self)
