"""Follow push channels in this process, with one database read per message for all readers.

A feed holds the newest events of one channel, encoded once, while it has followers. A follower that is further behind
reads the database alone until it has caught up; gapless numbers make that change exact. Notifications may be lost
(without Redis none arrive from other processes), so one query polls the state of all followed channels.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from chat.channels import store
from chat.channels.models import Channel, ChannelMessage
from chat.events import log
from runtime import database
from runtime.pubsub import Broker

logger = structlog.get_logger("chat")

# Bytes of events that a feed keeps in memory, beside the batch it read last.
WINDOW_BYTES = 256 * 1024
# Seconds between two polls. With Redis they only make up for lost notifications; without it every push of another
# process waits for them.
POLL_SECONDS, POLL_SECONDS_ALONE = 20.0, 2.0
# Seconds before a feed reads again after a database error.
RETRY_SECONDS = 1.0


def topic(channel_id: int) -> str:
    return f"push:{channel_id}"


class Position(NamedTuple):
    """The last event that a reader has; `lost` if earlier ones are gone."""

    after: int
    lost: bool


def position(row: Channel, last_event_id: str) -> Position:
    """Return where a reader with this `Last-Event-ID` continues; "" means that it has nothing yet."""
    if not last_event_id:
        return Position(row.dropped_until, row.dropped_until > row.base)
    key, _colon, number = last_event_id.rpartition(":")
    if key == row.key and number.isascii() and number.isdigit() and len(number) < 19:
        after = int(number)
        if row.dropped_until <= after <= row.last_event:
            return Position(after, False)
    return Position(row.dropped_until, True)


class Feeds:
    """Own the feeds of this process; for the event loop's thread only."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.by_channel: dict[int, Feed] = {}

    def follow(self, row: Channel, position: Position, wake: Callable[[], None]) -> "Follower":
        """Return a follower that calls `wake` on news; the caller must `leave` it."""
        feed = self.by_channel.get(row.pk)
        if feed is None:
            feed = self.by_channel[row.pk] = Feed(row, self._broker, lambda: self.by_channel.pop(row.pk))
        follower = Follower(feed, position, wake)
        feed.followers.add(follower)
        if row.last_event > feed.last:
            feed.refresh()  # this reader knows of an event whose notification has not arrived
        return follower

    def poll_seconds(self) -> float:
        return POLL_SECONDS if settings.REDIS_URL else POLL_SECONDS_ALONE

    async def poll(self) -> None:
        """Refresh the feeds whose channels have changed; one query for all, none without readers."""
        if not self.by_channel:
            return
        states = await database.run(store.states, list(self.by_channel))
        for channel_id, feed in list(self.by_channel.items()):
            if states.get(channel_id) != (feed.last, feed.row.timeout_seconds, feed.row.ending):
                feed.refresh()


class Feed:
    """One channel: its row as last read, and the encoded events `first` to `last`."""

    def __init__(self, row: Channel, broker: Broker, on_close: Callable[[], object]) -> None:
        self.row = row
        self.deleted = False
        self.last = row.last_event
        self._events: list[bytes] = []
        self.followers: set[Follower] = set()
        self._stale = False
        self._closed = False
        self._on_close = on_close
        self.reading: asyncio.Task[None] | None = None
        self._unsubscribe = broker.subscribe(topic(row.pk), lambda _payload: self.refresh())
        self.refresh()  # events pushed since `row` was read woke no listener here

    @property
    def first(self) -> int:
        return self.last - len(self._events) + 1

    def leave(self, follower: "Follower") -> None:
        self.followers.discard(follower)
        if not self.followers and not self._closed:
            self._closed = True
            self._unsubscribe()
            self._on_close()

    def refresh(self) -> None:
        """Read new events in a task; a call during that read causes one more."""
        self._stale = True
        if self.reading is None and not self._closed:
            self.reading = asyncio.get_running_loop().create_task(self._read(), context=Context())

    async def _read(self) -> None:
        try:
            while self._stale and not self.deleted:
                self._stale = False
                row, messages = await database.run(store.read, self.row.pk, self.last)
                self._take_in(row, messages)
        except (OperationalError, InterfaceError) as error:
            logger.warning("push channel could not be read", error=type(error).__name__)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.refresh)
        finally:
            self.reading = None
            for follower in self.followers:
                follower.wake()

    def _take_in(self, row: Channel | None, messages: list[ChannelMessage]) -> None:
        if row is None:
            self.deleted = True
            return
        self.row = row
        # Drop the events that all followers have, then the oldest beyond WINDOW_BYTES.
        delivered = min((follower.after for follower in self.followers), default=self.last)
        del self._events[: max(0, delivered - self.first + 1)]
        size = sum(map(len, self._events))
        while size > WINDOW_BYTES:
            size -= len(self._events.pop(0))
        for message in messages:
            if message.number != self.last + 1:  # the events between are no longer stored; followers notice by number
                self._events.clear()
            self._events.append(store.encode(row.key, message))
            self.last = message.number
        if not messages and row.last_event > self.last:
            self._events.clear()
            self.last = row.last_event
        self._stale |= self.last < row.last_event

    def take(self, after: int) -> tuple[bytes, int] | None:
        """Return a slice after event `after` and its last number; None if not in memory."""
        if after >= self.last:
            return b"", after
        if after < self.first - 1:
            return None
        start = end = after + 1 - self.first
        size = 0
        while end < len(self._events) and size < log.WRITE_BYTES:
            size += len(self._events[end])
            end += 1
        return b"".join(self._events[start:end]), self.first + end - 1


class Follower:
    """One reader's position in a feed."""

    def __init__(self, feed: Feed, position: Position, wake: Callable[[], None]) -> None:
        self._feed, self.wake = feed, wake
        self.after, self._lost = position

    async def take(self) -> bytes:
        """Return a slice of the waiting events; empty if there are none."""
        if self._lost:
            return self._reset(self.after)
        if (taken := self._feed.take(self.after)) is not None:
            data, self.after = taken
            return data
        # Read the database for this reader alone, because the feed's memory begins after its position.
        try:
            row, messages = await database.run(store.read, self._feed.row.pk, self.after)
        except (OperationalError, InterfaceError):
            self._feed.refresh()  # the feed retries until the database is back, then wakes this reader
            return b""
        if row is None:
            self._feed.deleted = True
            return b""
        oldest = messages[0].number if messages else row.last_event + 1
        if oldest > self.after + 1:
            return self._reset(oldest - 1)
        self.after = messages[-1].number
        return b"".join(store.encode(row.key, message) for message in messages)

    def _reset(self, after: int) -> bytes:
        """Return a `reset` event: the reader discards its copy, and all stored events follow."""
        self.after, self._lost = after, False
        return log.encode(self._feed.row.key, after, "reset", {})

    @property
    def at_end(self) -> bool:
        """Whether the reader has all of an ended channel, or the channel was deleted."""
        return self._feed.deleted or bool(self._feed.row.ending and self.after >= self._feed.row.last_event)

    @property
    def idle_limit(self) -> float:
        """Seconds without a message after which the reader's stream is closed."""
        return self._feed.row.timeout_seconds

    def leave(self) -> None:
        self._feed.leave(self)
