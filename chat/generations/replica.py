"""Keep replicas: copies of the logs of generations that other processes run.

All readers of a generation in this process share one replica. Its owner is asked for the log, which it then writes to
Redis. The replica is fed from there, and once a second it also looks at the database. When Redis is away, has lost
events, or the owner died, the replica takes the stored text and jumps ahead, which readers see as a `reset`. It ends
when its log ends, or when the generation has ended in the database and the stream does not show it. A reader to whom a
killed owner sent more events than arrived here waits until the reaper ends the generation, with an event number above
all of them. Everything here runs on the event loop's thread.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from chat import representation
from chat.events import redis as streams
from chat.events.local import LocalLogs
from chat.events.log import Batch, Log
from chat.events.offsets import Offsets
from chat.generations import drafts
from chat.generations.drafts import Draft
from chat.generations.finish import fill_quota
from chat.models import Generation
from runtime import database
from runtime.redis_clients import RedisClients
from runtime.tasks import TaskSet

log = structlog.get_logger("channels")

# Seconds between two reads of Redis for all replicas.
POLL_SECONDS = 0.05
# Seconds between two reads of the database for all replicas.
LOOK_SECONDS = 1.0
# Reads of the database after which a late stream counts as failed; before that its owner may only be busy.
STARVING_LOOKS = 2
# Time after the end of a generation in which its last events may still be on the way to the stream.
FRESH = timedelta(seconds=1)
# Seconds between questions to the owner, while nothing of a log or less than a reader has of it has arrived here.
ASK_SECONDS = 1.0
# Seconds to wait for the log of a generation that has ended; then the stored text takes its place.
COPY_SECONDS = 0.5


class Replica:
    """One generation's log as it arrives here. `Log.last` is the place in the stream."""

    def __init__(self, logs: LocalLogs, offsets: Offsets, generation: str, owner: str = "") -> None:
        self._offsets, self._owner = offsets, owner
        self._draft = Draft(generation)
        self._ask_at = 0.0
        self.log = logs.open_replica(generation, self._draft.prefixes)
        self.fill_task: asyncio.Task[None] | None = None
        # Readers that are about to follow.
        self.opening = 0
        # Whether the stream fails to deliver; until it delivers again, text is read from the database.
        self.starved = False
        # The number of the last event that the database had at the last read.
        self.stored_last_event = 0
        # Consecutive reads at which the stream lacked events that the database had one read earlier.
        self.hungry_looks = 0

    def apply(self, batches: Iterable[Batch]) -> None:
        """Append events that this log lacks, up to a gap, which the database fills."""
        for batch in batches:
            if batch.last <= self.log.last:
                continue
            if batch.first > self.log.last + 1:
                self.starved = True
                return
            batch.drop_until(self.log.last)
            for name, data in zip(batch.names, batch.data, strict=True):
                if name == "message":
                    self._draft.add_content(data["content"])
                elif name == "reasoning":
                    self._draft.add_reasoning(data["content"])
                elif name == "reset":
                    self._draft.replace(data["content"], data["reasoning"])
            self.log.extend(batch)
            self.starved, self.hungry_looks = False, 0

    async def ask(self) -> bool:
        """Ask the owner for the log where it is missing; return whether the owner lives.

        Also ask about readers that have more events than have arrived here.
        """
        ahead, missing = self.log.ahead(), not (self.log.last or self.log.ended)
        if not (ahead or missing) or time.monotonic() < self._ask_at:
            return False
        self._ask_at = time.monotonic() + ASK_SECONDS

        def doubt(last: int) -> None:
            for follower in ahead:
                follower.doubt(last)

        return await self._offsets.ask(self._owner, self.log.channel, doubt)

    def jump(self, row: Generation) -> None:
        """Take over the stored text and end; readers that are behind get a `reset`."""
        end_event = representation.end_event(row)
        number = row.last_event - 1 if end_event else row.last_event
        if number > self.log.last:
            self._draft.replace(*row.texts())
            self.log.forget_until(number)
        if end_event and not self.log.ended:
            self.log.complete(*end_event)

    def look(self, number: int | None) -> bool:
        """Return whether to jump; `number` is the database's last event, None for a deleted row.

        A jump is needed when the stream has not delivered what the database had some looks ago.
        """
        if number is None:
            self.log.abandon()
            return False
        self.hungry_looks = self.hungry_looks + 1 if self.stored_last_event > self.log.last else 0
        self.starved = self.starved or self.hungry_looks >= STARVING_LOOKS
        self.stored_last_event = number
        return self.starved and number > self.log.last


class Replicas:
    """All replicas of this process; two tasks feed them while there are any."""

    def __init__(self, logs: LocalLogs, offsets: Offsets, redis: RedisClients) -> None:
        self._logs, self._offsets, self._redis = logs, offsets, redis
        self._replicas: dict[str, Replica] = {}
        self._feeders: dict[str, asyncio.Task[None]] = {}
        self._tasks = TaskSet()

    async def open(self, row: Generation) -> Log:
        """Return a log for a generation that has none here, filled with what there is.

        The caller follows it before it awaits anything, because a log without readers is dropped.
        """
        replica = self._replicas.get(row.id)
        if replica is None:
            self._offsets.open()
            replica = self._replicas[row.id] = Replica(self._logs, self._offsets, row.id, row.process)
            replica.fill_task = self._tasks.start(self._fill(replica, row))
            self._feed()
        replica.opening += 1
        try:
            if replica.fill_task:
                await asyncio.shield(replica.fill_task)
        finally:
            replica.opening -= 1
        return replica.log

    def _feed(self) -> None:
        for name, seconds, feed in (("poll", POLL_SECONDS, self.poll), ("look", LOOK_SECONDS, self.look)):
            if name not in self._feeders or self._feeders[name].done():
                self._feeders[name] = self._tasks.start(self._repeat(seconds, feed))

    async def _repeat(self, seconds: float, feed: Callable[[], Awaitable[None]]) -> None:
        while self._replicas:
            await asyncio.sleep(seconds)
            try:
                await feed()
            except (OperationalError, InterfaceError):
                continue  # until the database is back there is nothing new
            except Exception:  # a bug with one replica must not stop the others
                log.exception("replicas not fed")

    async def poll(self) -> None:
        """Append what Redis has for those that it delivers to."""
        await self._read([replica for replica in self._replicas.values() if not replica.starved])
        for replica in list(self._replicas.values()):
            await replica.ask()

    async def look(self) -> None:
        """Drop replicas without readers, and take from the database what Redis does not deliver."""
        for generation, replica in list(self._replicas.items()):
            if not (replica.opening or replica.log.followed):
                self._logs.drop_replica(self._replicas.pop(generation).log)
        await self._read([replica for replica in self._replicas.values() if replica.starved])
        live = {generation: replica for generation, replica in self._replicas.items() if not replica.log.ended}
        if live:
            rows = Generation.objects.filter(id__in=list(live)).values_list("id", "last_event")
            numbers = dict(await database.run(list, rows))
            behind = {generation: one for generation, one in live.items() if one.look(numbers.get(generation))}
            await _jump(behind)
            await self._read(list(behind.values()))

    async def _fill(self, replica: Replica, row: Generation) -> None:
        await self._read([replica])
        age = timedelta() if row.finished_at is None else timezone.now() - row.finished_at
        on_its_way = age < FRESH
        kept = age < timedelta(seconds=settings.CHANNEL_RETENTION_SECONDS) and not self._offsets.owns(row.process)
        if kept and await replica.ask() and not on_its_way:
            await self._await_copy(replica)
        if replica.starved or not (replica.log.ended or on_its_way):
            try:
                await _jump({row.id: replica})
                await self._read([replica])
            except (OperationalError, InterfaceError):
                replica.starved = True

    async def _await_copy(self, replica: Replica) -> None:
        """Wait for the log of an ended generation, which its owner was asked for."""
        until = time.monotonic() + COPY_SECONDS
        while not (replica.log.ended or replica.starved) and time.monotonic() < until:
            await asyncio.sleep(POLL_SECONDS)
            await self._read([replica])

    async def _read(self, replicas: Sequence[Replica]) -> None:
        """Append from Redis until there is no more; without Redis they all starve."""
        reading = {replica.log.channel: replica for replica in replicas if not replica.log.ended}
        while reading:
            places = {generation: replica.log.last for generation, replica in reading.items()}
            found = await streams.read(self._redis, places)
            if found is None:
                for replica in reading.values():
                    replica.starved = True
                return
            for generation, batches in found.items():
                reading[generation].apply(batches)
            reading = {
                generation: reading[generation]
                for generation, batches in found.items()
                if len(batches) == streams.READ_ENTRIES and not reading[generation].starved
            }


async def _jump(replicas: Mapping[str, Replica]) -> None:
    stored = Generation.objects.select_related("message", "part_of").filter(id__in=list(replicas))
    rows = await database.run(lambda: [*map(fill_quota, drafts.current(stored))]) if replicas else ()
    for row in rows:
        replicas[row.id].jump(row)
