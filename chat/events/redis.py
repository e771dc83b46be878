"""Event logs in Redis Streams: what the process that owns a log writes there, and how others read it.

One stream for each generation. An entry is a batch of neighbouring events as they stand in the log, and its id is the
number of the last of them, so that places in the stream and places in the log are the same thing. Redis is a copy: the
owner serves its own followers from memory, writes again what Redis has lost, and drops what is no longer kept.
"""

import asyncio
import contextvars
import itertools
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from redis.asyncio import Redis

from chat.events.local import LocalLogs
from chat.events.log import Log
from runtime.apps import runtime

log = structlog.get_logger("channels")

PREFIX = "rivulet:log:"
# How long an event may wait for its neighbours on its way to other processes.
FLUSH_SECONDS = 0.1
# What is packed at once: more would keep the event loop from passing on deltas.
SLICE_LOGS, SLICE_BYTES = 32, 128 * 1024
# A stream whose owner died goes by itself; one that goes while its owner lives is written again.
RUNNING_SECONDS = 3600
# What one question asks for: streams, and entries of each.
READ_STREAMS, READ_ENTRIES = 64, 16
FINISH_SECONDS, COMPLAIN_SECONDS = 3.0, 30.0

_complained_at = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring events, the number of the last one, and whether it ends the log."""

    events: Sequence[bytes]
    last: int
    ends: bool

    @property
    def first(self) -> int:
        return self.last + 1 - len(self.events)


# --- the owner's side ------------------------------------------------------------------------------------------------


class Place:
    """How much of one log Redis has."""

    __slots__ = ("first", "flushed", "log", "made")

    def __init__(self, log: Log) -> None:
        self.log = log
        self.made = False
        self.first, self.flushed = 1, 0

    @property
    def waits(self) -> bool:
        return self.flushed < self.log.last

    @property
    def done(self) -> bool:
        return self.log.ended and not self.waits

    def lost(self) -> None:
        """Begin again: Redis no longer has the stream."""
        self.made, self.flushed = False, 0


class Outbox:
    """The logs of this process that Redis has not wholly; one task writes for all of them while there are any."""

    def __init__(self, logs: LocalLogs) -> None:
        self._logs = logs
        self._places: dict[str, Place] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, log: Log) -> None:
        """Write this log's events from now on, until its end. Without `REDIS_URL` nothing happens."""
        if settings.REDIS_URL:
            self._places[log.channel] = Place(log)
            if self._task is None or self._task.done():
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(self._run(), name="outbox", context=contextvars.Context())

    async def _run(self) -> None:
        while self._places:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception:  # what one flush could not write the next one does
                log.exception("flush failed")

    async def finish(self) -> None:
        """Write what waits, for some seconds at the longest: before the process ends."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                while any(place.waits for place in self._places.values()):
                    if not await self.flush():
                        await asyncio.sleep(FLUSH_SECONDS)
        except TimeoutError:
            log.warning("left without writing all events")

    async def flush(self) -> bool:
        """Write what waits now, in slices; return whether Redis took it. Repeating is safe."""
        waiting = deque((place, place.log.last) for place in self._places.values() if place.waits)
        taken = True
        while waiting and taken:
            some = [waiting.popleft() for _ in range(min(SLICE_LOGS, len(waiting)))]
            taken = await runtime().redis.ask(partial(_write, [place for place, _last in some]), False)
            waiting.extendleft((place, last) for place, last in some if place.flushed < last)
        self._forget()
        return taken

    def _forget(self) -> None:
        """Let go of logs that are wholly written, or that this process itself no longer keeps."""
        for channel, place in list(self._places.items()):
            if place.done or self._logs.get(channel) is not place.log:
                del self._places[channel]


async def _write(places: Sequence[Place], redis: Redis) -> bool:
    """Write some of what waits in one round trip; return whether it was taken."""
    pipeline = redis.pipeline(transaction=False)
    written: list[tuple[Place, int, int]] = []
    size = 0
    for place in places:
        if size > SLICE_BYTES:
            break
        data, last = place.log.read(max(place.flushed, place.log.first - 1))
        size += len(data)
        commands = list(_commands(place, data, last))
        for command in commands:
            pipeline.execute_command(*command)
        written.append((place, last, len(commands)))
    answers = iter(await pipeline.execute(raise_on_error=False))
    taken = True
    for place, last, count in written:
        added, *_others = itertools.islice(answers, count)
        taken = _note(place, last, added) and taken
    return taken


def _commands(place: Place, data: bytes, last: int) -> Iterator[tuple[Any, ...]]:
    """Yield what is said for one log: the batch; then how long the stream lives and where it begins, if that is new."""
    key, ends = PREFIX + place.log.channel, place.log.ended and last == place.log.last
    unless_lost = ("NOMKSTREAM",) if place.made else ()
    yield ("XADD", key, *unless_lost, f"{last}-0", "data", data, *(("ends", 1) if ends else ()))
    if ends or not place.made:
        yield ("EXPIRE", key, round(settings.CHANNEL_RETENTION_SECONDS + 0.5) if ends else RUNNING_SECONDS)
    if place.log.first > place.first:
        place.first = place.log.first
        yield ("XTRIM", key, "MINID", place.first)


def _note(place: Place, last: int, added: object) -> bool:
    """Note Redis's answer to one batch; return False when it refused it."""
    if added is None:
        place.lost()
    elif isinstance(added, Exception) and "equal or smaller" not in str(added):
        _complain(added)
        return False
    else:  # "equal or smaller": an earlier attempt got through after all
        place.made, place.flushed = True, max(place.flushed, last)
    return True


def _complain(error: Exception) -> None:
    """Say that Redis refuses events, for one that is full or read-only: now and then, not at each flush."""
    global _complained_at
    if time.monotonic() - _complained_at > COMPLAIN_SECONDS:
        _complained_at = time.monotonic()
        log.error("redis refuses events", error=str(error).partition(" ")[0])


# --- the readers' side -----------------------------------------------------------------------------------------------


async def read(places: Mapping[str, int]) -> dict[str, list[Batch]] | None:
    """Return what streams have after the event given for each; None without Redis and while it is away."""
    found: dict[str, list[Batch]] = {}
    channels = list(places)
    for start in range(0, len(channels), READ_STREAMS):
        some = channels[start : start + READ_STREAMS]
        keys = {PREFIX + channel: f"{places[channel]}-0" for channel in some}
        answer = await runtime().redis.ask(partial(_read, keys), None)
        if answer is None:
            return None
        for key, entries in answer:
            found[key.decode().removeprefix(PREFIX)] = [_batch(*entry) for entry in entries]
    return found


async def _read(keys: dict[str, str], redis: Redis) -> Any:
    return await redis.xread(keys, count=READ_ENTRIES)  # type: ignore[arg-type]


def _batch(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Batch:
    events = [event + b"\n\n" for event in fields[b"data"][:-2].split(b"\n\n")]
    return Batch(events, int(entry_id.partition(b"-")[0]), b"ends" in fields)
