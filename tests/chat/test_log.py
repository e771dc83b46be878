"""Event logs: numbering, replay, snapshots, bounds. Readers get the same in the owner's process and in another.

The fixture `read` has both: the log in memory, and its replica that is fed through Redis.
"""

import itertools
import json
import random
import secrets
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.events import redis
from chat.events.local import LocalLogs
from chat.events.log import LOG_BYTES, WRITE_BYTES, Log, encode
from chat.events.offsets import Offsets
from chat.events.redis import Outbox
from chat.generations.replica import Replica
from chat.models import Generation
from runtime.apps import runtime
from tests.chat.conftest import stop_writing
from tests.servers import Redis

Adapter = Callable[[Log], Awaitable[Log]]


# Events with a text, of which a log keeps different parts.
KINDS: list[Callable[[str], tuple[str, dict[str, str]]]] = [
    lambda text: ("message", {"role": "assistant", "content": text}),
    lambda text: ("message", {"role": "assistant", "content": text, "more": text}),
    lambda text: ("message", {"content": text}),
    lambda text: ("reasoning", {"content": text}),
    lambda text: ("reasoning", {"content": text, "more": text}),
    lambda text: ("notice", {"content": text}),
]


def text_log(*texts: str, channel: str = "g") -> Log:
    texts_so_far: list[str] = []
    log = Log(channel, lambda: {"content": "".join(texts_so_far), "reasoning": ""})
    for text in texts:
        texts_so_far.append(text)
        log.publish("message", {"content": text})
    return log


def stored(log: Log) -> Generation:
    """Return the row of a generation whose events have a character each; while it runs it lags behind."""
    if log.ended:
        content, ending = log.snapshot()["content"], {"status": "completed", "finish_reason": "stop"}
        return Generation(id=log.channel, content=content, last_event=log.last, **ending)
    return Generation(id=log.channel, content=log.snapshot()["content"][: log.first - 1], last_event=log.first - 1)


class OtherProcess:
    """Another process's replicas: fed from what the owner has written, and from the database if that is not enough."""

    def __init__(self) -> None:
        self.logs = LocalLogs()
        self.outbox = Outbox(self.logs, runtime().redis)
        self._replicas: dict[str, Replica] = {}

    async def replicate(self, log: Log) -> Log:
        self.logs._running[log.channel] = log
        if log.channel not in self._replicas:
            self.outbox.add(log)
            offsets = Offsets(runtime().broker, runtime().redis, runtime().process)
            self._replicas[log.channel] = Replica(LocalLogs(), offsets, log.channel)
        await self.outbox.flush()
        replica = self._replicas[log.channel]
        await self._take(replica)
        if replica.starved or replica.log.last < log.last:
            replica.jump(stored(log))
            await self._take(replica)
        return replica.log

    async def _take(self, replica: Replica) -> None:
        found = await redis.read(runtime().redis, {replica.log.channel: replica.log.last})
        assert found is not None
        replica.apply(found.get(replica.log.channel, []))


@pytest.fixture
async def redis_here(redis_server: Redis, settings: Any) -> AsyncGenerator[Redis, None]:
    """Let this process use a Redis."""
    settings.REDIS_URL = redis_server.url
    yield redis_server
    await runtime().redis.aclose()


@pytest.fixture
async def other_process(redis_here: Redis) -> AsyncGenerator[OtherProcess, None]:
    other = OtherProcess()
    yield other
    await stop_writing(other.outbox)


async def read_here(log: Log) -> Log:
    return log


@pytest.fixture(params=["here", "other process"])
def read(request: pytest.FixtureRequest) -> Adapter:
    """Return the log that readers follow: in its owner's process, and in another one."""
    return read_here if request.param == "here" else request.getfixturevalue("other_process").replicate


@pytest.fixture
def channel() -> str:
    """Return the id of a generation that Redis does not have."""
    return secrets.token_hex(16)


def numbers(data: bytes) -> list[int]:
    return [int(line.rpartition(b":")[2]) for line in data.split(b"\n") if line.startswith(b"id: ")]


def drain(log: Log, after: int | None) -> bytes:
    follower = log.follow(after, lambda: None)
    parts = iter(follower.take, b"")
    taken = b"".join(parts)
    follower.leave()
    return taken


async def test_events_are_numbered_and_replayed(read: Adapter, channel: str) -> None:
    """Published events are numbered from 1 and come back as they were, after any of them."""
    log = await read(text_log("a", "b", "c", channel=channel))
    whole = drain(log, 0)
    assert numbers(whole) == [1, 2, 3]
    assert whole.endswith(b'id: %b:3\nevent: message\ndata: {"content":"c"}\n\n' % channel.encode())
    assert [numbers(drain(log, after)) for after in (1, 2, 3)] == [[2, 3], [3], []]


def test_followers_are_woken_and_leave() -> None:
    """A follower is woken by each event until it leaves."""
    log = text_log()
    woken: list[int] = []
    follower = log.follow(0, lambda: woken.append(1))
    log.publish("message", {})
    assert woken == [1]
    follower.leave()
    log.publish("message", {})
    assert woken == [1]


def test_readers_who_keep_up_are_offered_events() -> None:
    """A reader is offered an event only with all before it; one who cannot take it is woken, and misses nothing."""
    log = text_log("a")
    offered: list[bytes] = []
    taken: list[bytes] = []
    can_take = True

    class Client:
        used = False

        @property
        def ready(self) -> bool:
            return can_take

        def write(self, data: bytes) -> bool:
            offered.append(data)
            if can_take:
                taken.append(data)
            return can_take

    follower = log.follow(0, lambda: taken.append(b"woken"))
    follower.writer = Client()
    log.publish("message", {"content": "b"})
    assert (offered, taken) == ([], [b"woken"])
    behind = follower.take()
    log.publish("message", {"content": "c"})
    assert follower.take() == b""
    can_take = False
    log.publish("message", {"content": "d"})
    assert taken[2:] == [b"woken"]
    can_take = True
    log.publish("message", {"content": "e"})
    assert len(offered) == 2
    later = follower.take()
    log.complete("done", {})
    assert len(offered) == 2
    assert follower.at_end is False
    assert behind + taken[1] + later + follower.take() == log.read(0)[0]
    assert follower.at_end


@pytest.mark.parametrize("after", [None, 4, 10**18])
async def test_unknown_places_get_a_snapshot(read: Adapter, channel: str, after: int | None) -> None:
    """A place that is unknown or ahead of the log gets a `reset` with the text so far, then what follows."""
    owned = text_log("a", "b", "c", channel=channel)
    follower = (await read(owned)).follow(after, lambda: None)
    follower.doubt(owned.last)  # at another process only the owner knows that no reader can have so much
    snapshot = b'id: %b:3\nevent: reset\ndata: {"content":"abc","reasoning":""}\n\n'
    assert follower.take() == snapshot % channel.encode()
    owned.publish("message", {"content": "d"})
    await read(owned)
    assert numbers(follower.take()) == [4]


async def test_after_the_end_a_snapshot_leaves_room_for_the_end(read: Adapter, channel: str) -> None:
    """A `reset` that stands for an ended log bears the number before the event that ended it."""
    owned = text_log("a", "b", channel=channel)
    owned.complete("done", {"x": 1})
    log = await read(owned)
    assert numbers(drain(log, None)) == [2, 3]
    follower = log.follow(3, lambda: None)
    assert follower.take() == b""
    assert follower.at_end


async def test_dropped_events_are_covered(read: Adapter, channel: str) -> None:
    """A reader behind the oldest event that is kept gets a snapshot; one that is not goes on."""
    owned = text_log(*"abcdefghij", channel=channel)
    owned.drop_oldest(owned.size // 2)
    log = await read(owned)
    assert numbers(drain(log, 2)) == [10]
    assert numbers(drain(log, 8)) == [9, 10]


async def test_numbering_may_jump_but_never_back(read: Adapter, channel: str) -> None:
    """After a jump, earlier readers get a snapshot that bears the number before the next event."""
    owned = text_log("a", "b", channel=channel)
    log = await read(owned)
    owned.forget_until(1000)
    owned.complete("error", {})
    await read(owned)
    assert numbers(drain(log, 2)) == [1000, 1001]


def test_deltas_take_little_more_memory_than_their_text() -> None:
    """A log of thousands of deltas takes a small part of what their events take when they are sent."""
    log = Log("c" * 32, dict)
    texts = [f"word {number} " for number in range(5_000)]
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        for text in texts:
            log.publish("message", {"role": "assistant", "content": text})
        size = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    sent = b"".join(iter(log.follow(0).take, b""))
    assert numbers(sent) == list(range(1, 5_001))
    assert sum(map(len, texts)) < size < len(sent) / 4


def test_writes_are_bounded() -> None:
    """A reader far behind takes slices, not megabytes at once."""
    log = text_log(*(["x" * 1000] * 500))
    follower = log.follow(0, lambda: None)
    sizes = [len(part) for part in iter(follower.take, b"")]
    assert max(sizes) < WRITE_BYTES + 2000
    assert len(sizes) > 5


@given(st.lists(st.text(), max_size=30), st.data())
def test_every_way_to_read_gives_the_same(texts: list[str], data: st.DataObject) -> None:
    """However publishing and taking are interleaved, a reader gets each event once, in order, one line of data each."""
    texts_so_far: list[str] = []
    log = Log("g", lambda: {"content": "".join(texts_so_far), "reasoning": ""})
    follower = log.follow(0, lambda: None)
    got = b""
    for text in texts:
        texts_so_far.append(text)
        log.publish(*data.draw(st.sampled_from(KINDS))(text))
        if data.draw(st.booleans()):
            got += follower.take()
    got += b"".join(iter(follower.take, b""))
    assert numbers(got) == list(range(1, len(texts) + 1))
    assert [json.loads(line[6:])["content"] for line in got.split(b"\n") if line.startswith(b"data: ")] == texts
    assert got.count(b"\n\n") == got.count(b"data: ") == len(texts)
    assert b"\r" not in got


@pytest.mark.parametrize("value", [None, [], {"a": '"'}, 1, '"~', "~"])
@pytest.mark.parametrize("name", ["message", "reasoning", "notice"])
def test_events_of_other_shapes_come_back(name: str, value: object) -> None:
    """An event that looks like a delta, with another value in the place of its text, is read as it was published."""
    log = text_log("a")
    data = {"role": "assistant", "content": value}
    for _twice in range(2):
        log.publish(name, data)
    assert drain(log, 1) == encode("g", 2, name, data) + encode("g", 3, name, data)


async def test_replica_has_the_same_bytes(other_process: OtherProcess, channel: str) -> None:
    """However publishing and writing are interleaved, and whatever Redis loses, both readers get the same bytes."""
    owned = text_log(channel=channel)
    here = owned.follow(0, lambda: None)
    there = (await other_process.replicate(owned)).follow(0, lambda: None)
    lost = random.Random(1)
    for number in range(200):
        owned.publish("reasoning" if number % 7 == 0 else "message", {"content": f"\u2028{number}\r\n\n"})
        if lost.random() < 0.2:
            await other_process.replicate(owned)
        if lost.random() < 0.05:
            async with runtime().redis.connect(connections=1) as client:
                await client.flushall()
    owned.complete("done", {})
    await other_process.replicate(owned)
    assert b"".join(iter(there.take, b"")) == b"".join(iter(here.take, b""))
    assert there.at_end


async def test_a_stream_lives_as_long_as_it_is_replayed(
    other_process: OtherProcess, channel: str, settings: Any
) -> None:
    """An ended stream leaves Redis after CHANNEL_RETENTION_SECONDS; one whose owner died goes by itself too."""
    settings.CHANNEL_RETENTION_SECONDS = 300
    owned = text_log("a", channel=channel)
    await other_process.replicate(owned)
    async with runtime().redis.connect(connections=1) as client:
        assert await client.ttl(redis.PREFIX + channel) > 600
        owned.complete("done", {})
        await other_process.replicate(owned)
        assert 0 < await client.ttl(redis.PREFIX + channel) <= 301


async def test_what_is_dropped_leaves_redis_too(other_process: OtherProcess, channel: str) -> None:
    """Redis keeps no more of a log than its owner does."""
    owned = text_log(channel=channel)
    for _ in range(100):
        owned.publish("message", {"content": "x" * (LOG_BYTES // 40)})
        await other_process.outbox.flush()
        await other_process.replicate(owned)
    async with runtime().redis.connect(connections=1) as client:
        held = await client.memory_usage(redis.PREFIX + channel)
    assert held
    assert held < LOG_BYTES * 1.2


async def test_a_redis_that_is_full(other_process: OtherProcess, channel: str) -> None:
    """Events that Redis refuses wait in the log, and are written once it takes them."""
    owned = text_log("a", channel=channel)
    async with runtime().redis.connect(connections=1) as client:
        await client.config_set("maxmemory", "1")
        await client.config_set("maxmemory-policy", "noeviction")
        other_process.logs._running[channel] = owned
        other_process.outbox.add(owned)
        assert not await other_process.outbox.flush()
        await client.config_set("maxmemory", "0")
        assert await other_process.outbox.flush()
        assert await client.xlen(redis.PREFIX + channel) == 1


def test_finished_logs_leave_when_memory_is_short(settings: pytest.FixtureRequest) -> None:
    """The oldest finished logs go first, and the running ones stay."""
    settings.CHANNEL_MEMORY_BYTES = 100_000
    logs = LocalLogs()
    running = logs.open("running", dict)
    for number in range(20):
        log = logs.open(f"log{number}", dict)
        log.complete("done", {"text": "x" * 10_000})
        logs.finish(log.channel)
    kept = [number for number in range(20) if logs.get(f"log{number}")]
    assert kept == list(range(20 - len(kept), 20))
    assert 5 <= len(kept) <= 10
    assert logs.get("running") is running


def test_finished_logs_leave_in_time(settings: pytest.FixtureRequest) -> None:
    """A finished log replays for CHANNEL_RETENTION_SECONDS, no longer."""
    settings.CHANNEL_RETENTION_SECONDS = 0
    logs = LocalLogs()
    log = logs.open("g", dict)
    log.complete("done", {})
    logs.finish(log.channel)
    logs.bound()
    assert logs.get("g") is None


def test_running_logs_are_bounded_too(settings: pytest.FixtureRequest) -> None:
    """Long running logs keep their newest events only; all of them together stay within the memory given."""
    settings.CHANNEL_MEMORY_BYTES = 10 * LOG_BYTES
    logs = LocalLogs()
    for channel in range(12):
        log = logs.open(str(channel), dict)
        for _ in itertools.repeat(None, 60):
            log.publish("message", {"content": "x" * (LOG_BYTES // 50)})
    logs.bound()
    sizes = [log.size for channel in range(12) if (log := logs.get(str(channel)))]
    assert len(sizes) == 12
    assert sum(sizes) <= settings.CHANNEL_MEMORY_BYTES
