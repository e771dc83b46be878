"""Push channels as this process follows them: one read for each wake-up of a channel, whatever the number of readers.

A feed belongs to the event loop's thread. It holds the newest events of one channel, encoded once, while somebody
follows it here; who is further behind reads for themselves until they have caught up. Numbers without gaps make the
change from one to the other exact. Wake-ups may be lost (a process without Redis hears none from other processes), so
all feeds together ask the database now and then whether something has changed.
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
from runtime.apps import runtime

logger = structlog.get_logger("chat")

# What a feed keeps in memory at the most, beside the batch that came last.
WINDOW_BYTES = 256 * 1024
# How often the database is asked without having been woken: with Redis, in case a wake-up was lost; without it because
# nobody else can wake us.
POLL_SECONDS, POLL_SECONDS_ALONE = 20.0, 2.0
# After the database failed.
RETRY_SECONDS = 1.0

_feeds: "dict[int, Feed]" = {}


def topic(channel_id: int) -> str:
    """What is woken when something was pushed to a channel."""
    return f"push:{channel_id}"


class Place(NamedTuple):
    """Where a reader goes on: after this event; `lost`: there was something before that it will not get."""

    after: int
    lost: bool


def place_of(row: Channel, last_event_id: str) -> Place:
    """Return where a reader goes on who has seen `last_event_id`, "" for nothing yet."""
    if not last_event_id:
        return Place(row.dropped_until, row.dropped_until > row.base)
    key, _colon, number = last_event_id.rpartition(":")
    if key == row.key and number.isascii() and number.isdigit() and len(number) < 19:
        seen = int(number)
        if row.dropped_until <= seen <= row.last_event:
            return Place(seen, False)
    return Place(row.dropped_until, True)


def follow(row: Channel, place: Place, wake: Callable[[], None]) -> "Follower":
    """Read on from `place`; `wake` is called whenever something can be taken. Call `Follower.leave` in the end."""
    feed = _feeds.get(row.pk) or Feed(row)
    follower = Follower(feed, place, wake)
    feed.join(follower)
    if row.last_event > feed.last:
        feed.refresh()  # this reader knows of something that the feed was not woken for
    return follower


class Feed:
    """One channel in this process: `row` as it was last read, and the events from `first` to `last`."""

    def __init__(self, row: Channel) -> None:
        self.row = row
        self.gone = False
        self.last = row.last_event
        self._events: list[bytes] = []
        self._followers: set[Follower] = set()
        self._stale = False
        self._reading: asyncio.Task[None] | None = None
        self._unlisten = runtime().broker.subscribe(topic(row.pk), lambda _payload: self.refresh())
        _feeds[row.pk] = self
        self.refresh()  # what was pushed after `row` was read woke nobody here

    @property
    def first(self) -> int:
        return self.last - len(self._events) + 1

    @property
    def standing(self) -> tuple[int, float, str]:
        return self.last, self.row.timeout_seconds, self.row.ending

    def join(self, follower: "Follower") -> None:
        self._followers.add(follower)

    def leave(self, follower: "Follower") -> None:
        self._followers.discard(follower)
        if not self._followers and _feeds.get(self.row.pk) is self:
            del _feeds[self.row.pk]
            self._unlisten()

    def refresh(self) -> None:
        """Read what is new, soon; wake-ups that come while that goes on make it read once more."""
        self._stale = True
        if self._reading is None and _feeds.get(self.row.pk) is self:
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=Context())

    async def _read(self) -> None:
        try:
            while self._stale and not self.gone:
                self._stale = False
                row, messages = await database.run(store.read, self.row.pk, self.last)
                self._take_in(row, messages)
        except (OperationalError, InterfaceError) as error:
            logger.warning("push channel could not be read", error=type(error).__name__)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.refresh)
        finally:
            self._reading = None
            for follower in self._followers:
                follower.wake()

    def _take_in(self, row: Channel | None, messages: list[ChannelMessage]) -> None:
        if row is None:
            self.gone = True
            return
        self.row = row
        self._forget_what_all_have()
        for message in messages:
            if message.number != self.last + 1:  # what came between is no longer kept; the followers will find out
                self._events.clear()
            self._events.append(store.encode(row.key, message))
            self.last = message.number
        if not messages:
            self._jump(row.last_event)
        self._stale |= self.last < row.last_event

    def _jump(self, last: int) -> None:
        if last > self.last:
            self._events.clear()
            self.last = last

    def _forget_what_all_have(self) -> None:
        passed = min((follower.after for follower in self._followers), default=self.last)
        del self._events[: max(0, passed - self.first + 1)]
        size = sum(map(len, self._events))
        while size > WINDOW_BYTES:
            size -= len(self._events.pop(0))

    def take(self, after: int) -> tuple[bytes, int] | None:
        """Return some of what follows event `after` and its last number; None when that is not here any more."""
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
    """One reader's place in a feed."""

    def __init__(self, feed: Feed, place: Place, wake: Callable[[], None]) -> None:
        self._feed, self.wake = feed, wake
        self.after, self._lost = place

    async def take(self) -> bytes:
        """Return what is waiting, some of it; empty when nothing is."""
        if self._lost:
            return self._reset(self.after)
        taken = self._feed.take(self.after)
        if taken is None:
            return await self._catch_up()
        data, self.after = taken
        return data

    async def _catch_up(self) -> bytes:
        """Read for this reader alone: what it has not seen is older than what the feed holds."""
        try:
            row, messages = await database.run(store.read, self._feed.row.pk, self.after)
        except (OperationalError, InterfaceError):
            self._feed.refresh()  # it tries until the database is back, and wakes us then
            return b""
        if row is None:
            self._feed.gone = True
            return b""
        oldest = messages[0].number if messages else row.last_event + 1
        if oldest > self.after + 1:
            return self._reset(oldest - 1)
        self.after = messages[-1].number
        return b"".join(store.encode(row.key, message) for message in messages)

    def _reset(self, covered: int) -> bytes:
        """Return what tells the reader that what it has may be incomplete: all that is kept follows."""
        self.after, self._lost = covered, False
        return log.encode(self._feed.row.key, covered, "reset", {})

    @property
    def at_end(self) -> bool:
        """Whether the channel has ended and all of it was taken, or is not there any more."""
        return self._feed.gone or bool(self._feed.row.ending and self.after >= self._feed.row.last_event)

    @property
    def idle_limit(self) -> float:
        """Seconds without a message after which a reader is sent away."""
        return self._feed.row.timeout_seconds

    def leave(self) -> None:
        self._feed.leave(self)


def poll_seconds() -> float:
    return POLL_SECONDS if settings.REDIS_URL else POLL_SECONDS_ALONE


async def poll() -> None:
    """Refresh the feeds whose channels have changed. A timer; one query for all of them, none where nobody reads."""
    if not _feeds:
        return
    now = await database.run(store.standings, list(_feeds))
    for channel_id, feed in list(_feeds.items()):
        if now.get(channel_id) != feed.standing:
            feed.refresh()
