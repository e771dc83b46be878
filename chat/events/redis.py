"""Copy event logs to Redis Streams, and read those of other processes.

A generation that is read at another process than its own has one stream, which its own process writes from the moment
it is asked for it. An entry is a batch of neighbouring events, with an index of their names and sizes. Its id is the
number of the last event, so that positions in stream and log are the same. The owner writes again what Redis has lost,
and deletes from Redis what it no longer keeps itself.
"""

import asyncio
import contextvars
import itertools
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from redis.asyncio import Redis

from chat.events.local import LocalLogs
from chat.events.log import Batch, Log, decode_all
from runtime.redis_clients import RedisClients

log = structlog.get_logger("channels")

# Before each channel in the names of streams.
PREFIX = "rivulet:events:"
# Seconds that an event may wait for its neighbours before it is written.
FLUSH_SECONDS = 0.1
# Logs, and bytes, that are packed at once: more would keep the event loop from passing on deltas.
SLICE_LOGS, SLICE_BYTES = 32, 128 * 1024
# Seconds until Redis drops the stream of a dead owner. A stream that goes while its owner lives is written again.
RUNNING_SECONDS = 3600
# Streams, and entries of each, that are read with one command.
READ_STREAMS, READ_ENTRIES = 64, 16
# Seconds that a process waits at its end for Redis to take the last events.
FINISH_SECONDS = 3.0
# Seconds between two log lines about a Redis that refuses events.
COMPLAIN_SECONDS = 30.0


class StreamState:
    """How much of one log its Redis stream has."""

    __slots__ = ("exists", "first", "log", "written")

    def __init__(self, log: Log) -> None:
        self.log = log
        self.exists = False
        # The oldest event that the stream keeps, and the last one that it has.
        self.first, self.written = 1, 0

    @property
    def waits(self) -> bool:
        return self.written < self.log.last

    def commands(self, data: bytes, index: bytes, last: int) -> Iterator[tuple[Any, ...]]:
        """Yield the commands that write one batch, and those that follow it."""
        key, ends = PREFIX + self.log.channel, self.log.ended and last == self.log.last
        unless_lost = ("NOMKSTREAM",) if self.exists else ()
        yield ("XADD", key, *unless_lost, f"{last}-0", "data", data, "index", index, *(("ends", 1) if ends else ()))
        if ends or not self.exists:
            yield ("EXPIRE", key, round(settings.CHANNEL_RETENTION_SECONDS + 0.5) if ends else RUNNING_SECONDS)
        if self.log.first > self.first:
            self.first = self.log.first
            yield ("XTRIM", key, "MINID", self.first)


class Outbox:
    """Writes the logs of this process to Redis, in one task."""

    def __init__(self, logs: LocalLogs, redis: RedisClients) -> None:
        self._logs, self._redis = logs, redis
        self._streams: dict[str, StreamState] = {}
        self._task: asyncio.Task[None] | None = None
        self._complained_at = float("-inf")

    def add(self, log: Log) -> None:
        """Write this log's events, until its end; without Redis, none. Repeating is safe."""
        if self._redis.url and log.channel not in self._streams:
            self._streams[log.channel] = StreamState(log)
            if self._task is None or self._task.done():
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(self._run(), name="outbox", context=contextvars.Context())

    async def _run(self) -> None:
        while self._streams:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception:  # the next flush writes what this one could not
                log.exception("events not written to redis")

    async def finish(self) -> None:
        """Write what waits before the process ends, for `FINISH_SECONDS` at most.

        Readers that are still connected here will go on elsewhere.
        """
        for followed in self._logs.followed():
            self.add(followed)
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                while any(stream.waits for stream in self._streams.values()):
                    if not await self.flush():
                        await asyncio.sleep(FLUSH_SECONDS)
        except TimeoutError:
            log.warning("process ends before redis has all events")

    async def flush(self) -> bool:
        """Write what waits now, in slices; return whether Redis took it. Repeating is safe."""
        waiting = deque((stream, stream.log.last) for stream in self._streams.values() if stream.waits)
        taken = True
        while waiting and taken:
            some = [waiting.popleft() for _ in range(min(SLICE_LOGS, len(waiting)))]
            taken = await self._redis.ask(partial(self._write, [stream for stream, _last in some]), False)
            waiting.extendleft((stream, last) for stream, last in some if stream.written < last)
        for channel, stream in list(self._streams.items()):
            # Wholly written, or no longer kept by this process itself.
            if (stream.log.ended and not stream.waits) or self._logs.get(channel) is not stream.log:
                del self._streams[channel]
        return taken

    async def _write(self, streams: Sequence[StreamState], redis: Redis) -> bool:
        """Write some of what waits in one round trip; return whether Redis took it."""
        pipeline = redis.pipeline(transaction=False)
        sent: list[tuple[StreamState, int, int]] = []
        size = 0
        for stream in streams:
            if size > SLICE_BYTES:
                break
            data, index, last = stream.log.read_with_index(max(stream.written, stream.log.first - 1))
            size += len(data)
            commands = list(stream.commands(data, index, last))
            for command in commands:
                pipeline.execute_command(*command)
            sent.append((stream, last, len(commands)))
        replies = iter(await pipeline.execute(raise_on_error=False))
        taken = True
        for stream, last, count in sent:
            added, *_others = itertools.islice(replies, count)
            taken = self._note(stream, last, added) and taken
        return taken

    def _note(self, stream: StreamState, last: int, added: object) -> bool:
        """Note Redis's reply to one batch; return False when Redis refused it."""
        if added is None:
            stream.exists, stream.written = False, 0  # Redis has lost the stream, so everything is written again
        elif isinstance(added, Exception) and "equal or smaller" not in str(added):
            if time.monotonic() - self._complained_at > COMPLAIN_SECONDS:  # it is full or read-only, for example
                self._complained_at = time.monotonic()
                log.error("redis refuses events", error=str(added).partition(" ")[0])
            return False
        else:  # "equal or smaller": an earlier attempt reached Redis after all
            stream.exists, stream.written = True, max(stream.written, last)
        return True


async def read(redis: RedisClients, places: Mapping[str, int]) -> dict[str, list[Batch]] | None:
    """Return what streams have after the given events; None while Redis is away."""
    found: dict[str, list[Batch]] = {}
    channels = list(places)
    for start in range(0, len(channels), READ_STREAMS):
        keys = {PREFIX + channel: f"{places[channel]}-0" for channel in channels[start : start + READ_STREAMS]}
        reply = await redis.ask(partial(_read, keys), None)
        if reply is None:
            return None
        for key, entries in reply:
            channel = key.decode().removeprefix(PREFIX)
            found[channel] = [
                decode_all(int(entry.partition(b"-")[0]), fields[b"data"], fields[b"index"], ends=b"ends" in fields)
                for entry, fields in entries
            ]
    return found


async def delete(redis: RedisClients, channels: Sequence[str]) -> None:
    """Delete the streams of these channels.

    Streams that Redis keeps because it is away expire by themselves.
    """
    if channels:
        await redis.ask(lambda client: client.delete(*(PREFIX + channel for channel in channels)), 0)


async def _read(keys: dict[str, str], redis: Redis) -> Any:
    return await redis.xread(keys, count=READ_ENTRIES)  # type: ignore[arg-type]
