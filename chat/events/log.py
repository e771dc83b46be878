"""The event log of one generation: publish, replay, follow, complete.

Events are numbered from 1 without gaps and encoded once for all followers who keep up. A reader whose place is unknown,
or whose events are no longer kept, gets a `reset`: a snapshot of all text so far, with the number of the last event
that it covers. All of this runs on the event loop's thread, so a snapshot and the log always agree.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import orjson

from chat.events.packed import DELTA, Packed
from chat.events.sink import Sink
from chat.events.text import BLOCK_CHARS, Prefix
from chat.events.writer import Writer

# Returns `{content, reasoning}` of all published text.
Snapshot = Callable[[], Mapping[str, str | Prefix]]
Wake = Callable[[], object]

# Bytes that one log counts at most; a reader further behind gets the snapshot.
LOG_BYTES = 4 * 2**20
# Bytes that a follower takes at once, so that a reader far behind does not make the process copy megabytes.
WRITE_BYTES = 64 * 1024
# Events that are taken at once, for the same reason.
READ_EVENTS = 512
# What stands before the name and before the data of an encoded event.
_NAME, _DATA = b"\nevent: ", b"\ndata: "
# An event that knows no number, of name and data; and its encoding, of channel, number and that.
_UNNUMBERED, _ENCODED = b"%b\ndata: %b", b"id: %b:%d\nevent: %b\n\n"


def encode(channel: str, number: int, name: str, data: object) -> bytes:
    """Return one server-sent event; JSON keeps its data on one line whatever the text contains."""
    return _ENCODED % (channel.encode(), number, _UNNUMBERED % (name.encode(), orjson.dumps(data)))


def encode_reset(channel: str, number: int, snapshot: Mapping[str, str | Prefix]) -> Iterator[bytes]:
    """Yield a `reset` event piece by piece.

    It has the bytes that `encode` returns. A reader who takes nothing then costs one piece instead of the whole text.
    """
    waiting, comma = b"id: %b:%d\nevent: reset\ndata: {" % (channel.encode(), number), b""
    for name, text in snapshot.items():
        waiting += b'%b"%b":"' % (comma, name.encode())
        for piece in _pieces(text):
            waiting += orjson.dumps(piece)[1:-1]
            if len(waiting) >= BLOCK_CHARS:
                yield waiting
                waiting = b""
        waiting, comma = waiting + b'"', b","
    yield waiting + b"}\n\n"


def _pieces(text: str | Prefix) -> Iterator[str]:
    if isinstance(text, Prefix):
        return text.pieces()
    return (text[start : start + BLOCK_CHARS] for start in range(0, len(text), BLOCK_CHARS))


@dataclass(slots=True)
class Batch:
    """Neighbouring events of a log that another process writes, the first with the number `first`.

    `names`, `data` and `encoded` are parallel lists. `ends`: the last event ends the log.
    """

    first: int
    names: list[str]
    data: list[Any]
    encoded: list[bytes]
    ends: bool

    @property
    def last(self) -> int:
        return self.first + len(self.names) - 1

    def drop_until(self, number: int) -> None:
        """Drop the events up to `number`."""
        if (count := number + 1 - self.first) > 0:
            del self.names[:count], self.data[:count], self.encoded[:count]
            self.first += count


def decode_all(last: int, encoded: bytes, index: bytes, *, ends: bool) -> Batch:
    """Return the events up to number `last` that `Log.read_with_index` has packed."""
    names, sizes = orjson.loads(index)
    events = [encoded[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]
    data = [orjson.loads(event[event.index(_DATA) + len(_DATA) : -2]) for event in events]
    return Batch(last + 1 - len(names), names, data, events, ends)


class Log(Sink):
    """Events in memory, and their readers: followers take encoded events, listeners are sinks themselves."""

    __slots__ = (
        *("_abandoned", "_end", "_events", "_followers", "_listeners", "_name"),
        *("channel", "ended", "first", "last", "snapshot"),
    )

    # The events are kept for all readers, so no reader can make the run wait.
    full = False

    def __init__(self, channel: str, snapshot: Snapshot) -> None:
        self.channel, self._name = channel, channel.encode()
        # Returns `{content, reasoning}` of all published text.
        self.snapshot = snapshot
        self.ended = self._abandoned = False
        self._events = Packed()
        # The number of the oldest event that is kept, else of the next one; the number of the last event, 0 before it.
        self.first, self.last = 1, 0
        self._end: tuple[str, Mapping[str, Any]] | None = None
        # Tuples, because they are read with each event and seldom change.
        self._followers: tuple[Follower, ...] = ()
        self._listeners: tuple[Sink, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes the events that are kept count."""
        return self._events.size

    @property
    def followed(self) -> bool:
        return bool(self._followers or self._listeners)

    def publish(self, name: str, data: object) -> None:
        """Append an event; send it to readers who have all before it, wake the others."""
        unnumbered = _UNNUMBERED % (name.encode(), orjson.dumps(data))
        size = self._events.append(unnumbered)
        event = _ENCODED % (self._name, self.last + 1, unnumbered)
        for listener in self._listeners:
            listener.publish(name, data)
        self._send(event, size)

    def publish_delta(self, text: str) -> None:
        """Do the same with a delta, in half the time."""
        quoted = orjson.dumps(text)
        size = self._events.append_kept(quoted)
        event = DELTA % (self._name, self.last + 1, quoted)
        for listener in self._listeners:
            listener.publish_delta(text)
        self._send(event, size)

    def _send(self, event: bytes, size: int) -> None:
        """Number an appended event, and pass it on.

        All that are kept count `size` bytes.
        """
        self.last = number = self.last + 1
        if size > LOG_BYTES:
            self.drop_oldest(LOG_BYTES // 2)
        for follower in self._followers:
            # The last event also ends the response, so it takes the way of all that waits.
            writer = follower.writer
            if writer is not None and follower.after == number - 1 and not self.ended and writer.write(event):
                follower.after = number
            else:
                follower.wake()

    def complete(
        self, name: str, data: Mapping[str, Any], *, number: int | None = None, finish_reason: str = ""
    ) -> None:
        """Publish the event that ends the log."""
        if number is not None and number > self.last + 1:
            self.forget_until(number - 1)
        self._complete_listeners(name, data)
        self.publish(name, data)

    def _complete_listeners(self, name: str, data: Mapping[str, Any]) -> None:
        self.ended, self._end = True, (name, data)
        listeners, self._listeners = self._listeners, ()
        for listener in listeners:
            listener.complete(name, data)

    def abandon(self) -> None:
        """Send all readers away, because nothing follows any more, not even an end."""
        self.ended = self._abandoned = True
        listeners, self._listeners = self._listeners, ()
        for listener in listeners:
            listener.abandon()
        self._wake_all()

    def forget_until(self, number: int) -> None:
        """Drop all events and number the next one `number + 1`, which only goes up."""
        self._events = Packed()
        self.first, self.last = number + 1, number
        for listener in self._listeners:
            listener.publish("reset", self.snapshot())
        self._wake_all()

    def drop_oldest(self, keep_bytes: int) -> None:
        """Drop the oldest events until at most `keep_bytes` are left; the last event always stays."""
        self.first += self._events.drop_oldest(keep_bytes)

    def _wake_all(self) -> None:
        for follower in self._followers:
            follower.wake()

    def follow(self, after: int | None, wake: Wake = lambda: None) -> "Follower":
        """Return a reader of what follows `after`; an unknown place gets a `reset`."""
        follower = Follower(self, after, wake)
        self._followers = (*self._followers, follower)
        return follower

    def listen(self, listener: Sink) -> Callable[[], None]:
        """Publish to `listener` too, first a `reset` with all text; return what ends that."""
        listener.publish("reset", self.snapshot())
        if self._end:
            listener.complete(*self._end)
        elif self.ended:
            listener.abandon()
        else:
            self._listeners = (*self._listeners, listener)

        def leave() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return leave

    def content_after(self, start: int) -> str:
        """Return the next piece of all content after character `start`; empty when there is none."""
        content = self.snapshot()["content"]
        return content.read(start) if isinstance(content, Prefix) else content[start:]

    def read(self, after: int) -> tuple[bytes, int]:
        """Return the events after `after`, at most about `WRITE_BYTES`, and the last one's number.

        Event `after` must still be kept, or be the one just before the first that is.
        """
        events = self._events.encoded(self.channel, self.first, after + 1 - self.first, READ_EVENTS, WRITE_BYTES)
        return b"".join(events), after + len(events)

    def read_with_index(self, after: int) -> tuple[bytes, bytes, int]:
        """Return the same with an index for `decode_all`: JSON with names and sizes."""
        start = after + 1 - self.first
        events = self._events.encoded(self.channel, self.first, start, READ_EVENTS, WRITE_BYTES)
        names = [self._events[start + place].partition(b"\n")[0].decode() for place in range(len(events))]
        return b"".join(events), orjson.dumps([names, list(map(len, events))]), after + len(events)

    def _read(self, after: int | None) -> tuple[bytes | Iterator[bytes], int | None]:
        if after is not None and self.first - 1 <= after <= self.last:
            return self.read(after)
        if self._abandoned:
            return b"", self.last
        covered = self.last - 1 if self.ended else self.last  # the event that ends the log is sent as itself
        return encode_reset(self.channel, covered, self.snapshot()), covered


class ReplicaLog(Log):
    """A log that another process writes, with the events that have arrived here.

    A reader who has more events than have arrived here waits for them, because a `reset` now would take the reader back
    to an earlier text. The place counts as unknown only when the owner replies that its log never went so far.
    """

    __slots__ = ()

    def extend(self, batch: Batch) -> None:
        """Append a batch, whose first event is the next one."""
        for event in batch.encoded:
            self._events.append(event[event.index(_NAME) + len(_NAME) : -2])
        self.last = batch.last
        if self.size > LOG_BYTES:
            self.drop_oldest(LOG_BYTES // 2)
        for listener in self._listeners:
            for name, data in zip(batch.names, batch.data, strict=True):
                if not batch.ends or data is not batch.data[-1]:
                    listener.publish(name, data)
        if batch.ends:
            self._complete_listeners(batch.names[-1], batch.data[-1])
        self._wake_all()

    def ahead(self) -> "list[Follower]":
        """Return the followers that wait for events they already have."""
        return [follower for follower in self._followers if self._beyond(follower.after)]

    def _beyond(self, after: int | None) -> bool:
        # Before the first event has arrived there is no text that a reset could contain.
        return not self.ended and (self.last == 0 if after is None else after > self.last)

    def _read(self, after: int | None) -> tuple[bytes | Iterator[bytes], int | None]:
        return (b"", after) if self._beyond(after) else super()._read(after)


class Follower:
    """One reader's place in a log. `after` is its last event, None if unknown.

    `writer` sends a new event at once to a reader who has all events before it; there is none while the reader's task
    has something to do.
    """

    __slots__ = ("_log", "_reset", "after", "wake", "writer")

    def __init__(self, log: Log, after: int | None, wake: Wake) -> None:
        self._log, self.after, self.wake = log, after, wake
        self.writer: Writer | None = None
        # The rest of the `reset` that is being sent.
        self._reset: Iterator[bytes] = iter(())

    def take(self) -> bytes:
        """Return what is waiting, at most about `WRITE_BYTES` of it; empty when nothing is."""
        if piece := next(self._reset, b""):
            return piece
        if self.after == self._log.last:
            return b""
        data, self.after = self._log._read(self.after)
        if isinstance(data, bytes):
            return data
        self._reset = data
        return next(self._reset)

    @property
    def at_end(self) -> bool:
        """Whether the log has ended and all of it was taken."""
        return self._log.ended and self.after == self._log.last

    def doubt(self, last: int) -> None:
        """Treat the place as unknown if it lies beyond `last`, the owner's last event."""
        if self.after is not None and self.after > last:
            self.after = None
            self.wake()

    def leave(self) -> None:
        self._log._followers = tuple(each for each in self._log._followers if each is not self)
