"""Following generations that another process runs, or ran: copies of their logs, each shared by all its readers here.

A mirror is fed from Redis, and looks at the database once a second: what the stream does not deliver (Redis is away or
has lost it, the owner died) is taken from what is stored, as a jump that readers see as a `reset`. It ends when the log
ends, or when the row has and the stream never says so. A reader who has seen more than has arrived waits while the
owner is silent, for a killed one may have said so much: then the reaper ends it, with a number above all of that.
Everything here runs on the event loop's thread.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from chat import representation
from chat.events import offsets, redis
from chat.events.local import logs
from chat.events.log import Log
from chat.events.redis import Batch
from chat.generations.drafts import Draft
from chat.generations.finish import fill_quota
from chat.models import Generation
from runtime import database

log = structlog.get_logger("channels")

# How often Redis is asked for all mirrors, and the database whether it knows more.
POLL_SECONDS, LOOK_SECONDS = 0.05, 1.0
# A stream that is late by so many looks delivers nothing: before that, its owner may just be busy.
STARVING_LOOKS = 2
# A generation that ended this lately may still be on its way into its stream.
FRESH = timedelta(seconds=1)
# Between questions to the owner about a reader who has seen more than has arrived here.
ASK_SECONDS = 1.0


class Mirror:
    """One generation's log as it arrives here. `Log.last` is the place in the stream."""

    __slots__ = (
        "_ask_at",
        "_draft",
        "_owner",
        "filled",
        "hungry",
        "log",
        "opening",
        "starved",
        "stored",
    )

    def __init__(self, generation: str, owner: str = "") -> None:
        self._draft, self._owner = Draft(generation), owner
        self._ask_at = 0.0
        self.log = logs.copy(generation, self._draft.snapshot)
        self.filled: asyncio.Task[None] | None = None
        # Readers who are about to follow.
        self.opening = 0
        # The stream does not deliver: then the database does, until it delivers again.
        self.starved = False
        # The number of the last event that the database knew of when it was last looked at; and for how many looks in a
        # row the stream had not delivered that by the next one.
        self.stored = self.hungry = 0

    @property
    def needed(self) -> bool:
        return self.opening > 0 or self.log.followed

    def apply(self, batches: Iterable[Batch]) -> None:
        """Take over what the stream has; what was taken over before is passed by, a gap waits for the database."""
        for batch in batches:
            if batch.last <= self.log.last:
                continue
            if batch.first > self.log.last + 1:
                self.starved = True
                return
            events = batch.events[self.log.last + 1 - batch.first :]
            for event in events:
                self._hear(event)
            self.log.extend(events, ends=batch.ends)
            self.starved, self.hungry = False, 0

    def _hear(self, event: bytes) -> None:
        """Keep the text in step with the events, for the snapshot."""
        _id, name, data = event.split(b"\n", 2)
        if name == b"event: message":
            self._draft.add_content(orjson.loads(data[6:])["content"])
        elif name == b"event: reasoning":
            self._draft.add_reasoning(orjson.loads(data[6:])["content"])
        elif name == b"event: reset":
            said = orjson.loads(data[6:])
            self._draft.replace(said["content"], said["reasoning"])

    async def ask(self) -> None:
        """Ask the owner about readers who have seen more than has arrived here, if there are any."""
        if (ahead := self.log.ahead()) and time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + ASK_SECONDS

            def heard(last: int) -> None:
                for follower in ahead:
                    follower.doubt(last)

            await offsets.ask(self._owner, self.log.channel, heard)

    def jump(self, row: Generation) -> None:
        """Take over what is stored, and the end if there is one: readers who are behind get a `reset`."""
        ending = representation.ending(row)
        number = row.last_event - 1 if ending else row.last_event
        if number > self.log.last:
            self._draft.replace(*row.texts())
            self.log.forget_until(number)
        if ending and not self.log.ended:
            self.log.complete(*ending)


class Mirrors:
    """All mirrors of this process; two tasks feed them while there are any."""

    def __init__(self) -> None:
        self._mirrors: dict[str, Mirror] = {}
        self._feeding: dict[str, asyncio.Task[None]] = {}

    async def open(self, row: Generation) -> Log:
        """Return a log of a generation that has none here, filled with what there is.

        Follow it before anything else is awaited: what nobody follows is let go.
        """
        mirror = self._mirrors.get(row.id)
        if mirror is None:
            offsets.listen()
            mirror = self._mirrors[row.id] = Mirror(row.id, row.process)
            mirror.filled = _begin(_fill(mirror, row))
            self._feed()
        mirror.opening += 1
        try:
            if mirror.filled:
                await asyncio.shield(mirror.filled)
        finally:
            mirror.opening -= 1
        return mirror.log

    def _feed(self) -> None:
        for name, seconds, feed in (("poll", POLL_SECONDS, self.poll), ("look", LOOK_SECONDS, self.look)):
            if name not in self._feeding or self._feeding[name].done():
                self._feeding[name] = _begin(self._again(seconds, feed))

    async def _again(self, seconds: float, feed: Callable[[], Awaitable[None]]) -> None:
        while self._mirrors:
            await asyncio.sleep(seconds)
            try:
                await feed()
            except (OperationalError, InterfaceError):
                continue  # the database will be back; until then there is nothing new
            except Exception:  # a fault with one mirror is not the others'
                log.exception("mirrors not fed")

    async def poll(self) -> None:
        """Take over what Redis has for those that it delivers to."""
        await _read([mirror for mirror in self._mirrors.values() if not mirror.starved])
        for mirror in list(self._mirrors.values()):
            await mirror.ask()

    async def look(self) -> None:
        """Let go of mirrors that nobody needs, and take from the database what Redis does not deliver."""
        for generation, mirror in list(self._mirrors.items()):
            if not mirror.needed:
                logs.drop(self._mirrors.pop(generation).log)
        await _read([mirror for mirror in self._mirrors.values() if mirror.starved])
        live = {generation: mirror for generation, mirror in self._mirrors.items() if not mirror.log.ended}
        if live:
            numbers = await database.run(_numbers, list(live))
            behind = {generation: mirror for generation, mirror in live.items() if _behind(mirror, numbers)}
            await _jump(behind)
            await _read(list(behind.values()))


def _behind(mirror: Mirror, numbers: dict[str, int]) -> bool:
    """Return whether to take what is stored: when the stream does not deliver what the database had looks ago."""
    number = numbers.get(mirror.log.channel)
    if number is None:
        mirror.log.abandon()  # deleted together with its user
        return False
    mirror.hungry = mirror.hungry + 1 if mirror.stored > mirror.log.last else 0
    mirror.starved = mirror.starved or mirror.hungry >= STARVING_LOOKS
    mirror.stored = number
    return mirror.starved and number > mirror.log.last


async def _fill(mirror: Mirror, row: Generation) -> None:
    await _read([mirror])
    on_its_way = row.finished_at is None or timezone.now() - row.finished_at < FRESH
    if mirror.starved or not (mirror.log.ended or on_its_way):
        try:
            await _jump({row.id: mirror})
            await _read([mirror])
        except (OperationalError, InterfaceError):
            mirror.starved = True


async def _read(mirrors: Sequence[Mirror]) -> None:
    """Take over from Redis until there is no more; without Redis they all starve."""
    reading = {mirror.log.channel: mirror for mirror in mirrors if not mirror.log.ended}
    while reading:
        found = await redis.read({generation: mirror.log.last for generation, mirror in reading.items()})
        if found is None:
            for mirror in reading.values():
                mirror.starved = True
            return
        for generation, batches in found.items():
            reading[generation].apply(batches)
        reading = {
            generation: reading[generation]
            for generation, batches in found.items()
            if len(batches) == redis.READ_ENTRIES and not reading[generation].starved
        }


async def _jump(mirrors: Mapping[str, Mirror]) -> None:
    for row in await database.run(_stored, list(mirrors)) if mirrors else ():
        mirrors[row.id].jump(row)


def _numbers(generations: list[str]) -> dict[str, int]:
    return dict(Generation.objects.filter(id__in=generations).values_list("id", "last_event"))


def _stored(generations: list[str]) -> list[Generation]:
    rows = Generation.objects.select_related("message").filter(id__in=generations)
    return [fill_quota(row) for row in rows]


def _begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin in an empty context: a mirror belongs to no request."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


mirrors = Mirrors()
