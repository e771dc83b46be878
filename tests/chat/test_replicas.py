"""Readers that change processes while owners die: their numbers never go back, and their text is right in the end."""

import asyncio
import random
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest

from chat.events import redis
from chat.events.local import LocalLogs
from chat.events.log import Follower, Log
from chat.events.offsets import Offsets
from chat.events.redis import Outbox
from chat.events.sink import Sink
from chat.generations import finish
from chat.generations.replica import Replica
from chat.models import Generation
from runtime.apps import runtime
from runtime.pubsub import Broker
from tests.chat.conftest import stop_writing
from tests.servers import Redis

HISTORIES = 400


@pytest.fixture(autouse=True)
async def redis_here(redis_server: Redis, settings: Any) -> AsyncGenerator[None, None]:
    """Let this process use a Redis."""
    settings.REDIS_URL = redis_server.url
    yield
    await runtime().redis.aclose()


@pytest.fixture
async def broker() -> AsyncGenerator[Broker, None]:
    made = Broker(runtime().redis, runtime().process.id)
    yield made
    await made._work.wait()
    await made.aclose()


class Owner:
    """A generation as its owner writes it to Redis and to the database, which both lag behind."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._logs = LocalLogs()
        self.log = self._logs.open(secrets.token_hex(16), lambda: {"content": "".join(self.texts), "reasoning": ""})
        self.outbox = Outbox(self._logs, runtime().redis)
        self.outbox.add(self.log)
        self.row = Generation(id=self.log.channel, content="", last_event=0)

    def replica(self, offsets: Offsets | None = None) -> Replica:
        """Return a new replica of its log at another process."""
        process = runtime().process
        offsets = offsets or Offsets(runtime().broker, runtime().redis, process)
        return Replica(LocalLogs(), offsets, self.log.channel, process.id)

    def publish(self) -> None:
        self.texts.append(f"{len(self.texts)} ")
        self.log.publish("message", {"role": "assistant", "content": self.texts[-1]})

    def store(self) -> None:
        self.row = Generation(id=self.log.channel, content="".join(self.texts), last_event=self.log.last)

    def finish(self) -> None:
        """End in order: first stored, then published."""
        self.row = Generation(
            id=self.log.channel,
            content="".join(self.texts),
            last_event=self.log.last + 1,
            status="completed",
            finish_reason="stop",
        )
        self.log.complete("done", {"finish_reason": "stop"})

    def reap(self) -> None:
        """End the generation as the reaper does after the owner's death."""
        end = finish.of_stored(self.row, "interrupted", error={"code": "interrupted"})
        self.row = Generation(
            id=self.row.id, content=end.content, last_event=end.last_event, status=end.status, error=end.error
        )


@pytest.fixture
async def owner() -> AsyncGenerator[Owner, None]:
    made = Owner()
    yield made
    await stop_writing(made.outbox)


async def read_stream(replica: Replica) -> None:
    """Let a replica take what its stream has."""
    found = await redis.read(runtime().redis, {replica.log.channel: replica.log.last})
    assert found is not None
    replica.apply(found.get(replica.log.channel, []))


class Reader:
    """Reads a generation at several processes, and checks every number."""

    def __init__(self) -> None:
        self.last, self.text, self.end = 0, "", ""
        self._follower: Follower | None = None

    def go_to(self, log: Log) -> None:
        self.leave()
        self._follower = log.follow(self.last, lambda: None)

    def leave(self) -> None:
        if self._follower:
            self._follower.leave()
            self._follower = None

    def take(self) -> None:
        while self._follower and (data := self._follower.take()):
            for block in data.decode().removesuffix("\n\n").split("\n\n"):
                self._read(*(line.partition(": ")[2] for line in block.split("\n")))

    def _read(self, event_id: str, name: str, data: str) -> None:
        number = int(event_id.rpartition(":")[2])
        assert not self.end
        if name == "reset":
            assert number >= self.last
            self.text = orjson.loads(data)["content"]
        else:
            assert number == self.last + 1
            self.text += orjson.loads(data)["content"] if name == "message" else ""
            self.end = "" if name == "message" else name
        self.last = number


class Recorder(Sink):
    """A listener of a log that records the text and the end it receives."""

    def __init__(self) -> None:
        self.text = self.end = ""

    def publish(self, name: str, data: Any) -> None:
        self.text = str(data["content"]) if name == "reset" else self.text + data.get("content", "")

    def complete(self, name: str, data: Any, **_options: Any) -> None:
        self.end = name

    def abandon(self) -> None:
        self.end = "abandoned"


async def test_reader_with_more_events_waits_for_the_end(owner: Owner) -> None:
    """A reader that got more from a killed owner than has arrived here waits; the end has a higher number."""
    replica, reader = owner.replica(), Reader()
    for _ in range(14):
        owner.publish()
    owner.store()
    await owner.outbox.flush()
    for _ in range(4):
        owner.publish()
    reader.go_to(owner.log)
    reader.take()
    assert reader.last == 18
    await read_stream(replica)
    reader.go_to(replica.log)
    reader.take()
    replica.jump(owner.row)
    reader.take()
    assert (replica.log.last, reader.last, len(replica.log.ahead())) == (14, 18, 1)
    owner.reap()
    replica.jump(owner.row)
    reader.take()
    assert (reader.last, reader.end) == (14 + finish.RESUME_JUMP, "error")
    assert reader.text == owner.row.content == "".join(owner.texts[:14])


@pytest.mark.parametrize("after", [5, 10**17])
async def test_made_up_id_gets_a_reset(owner: Owner, broker: Broker, after: int) -> None:
    """An id beyond the owner's last event gets a `reset` as soon as the owner has replied."""
    owner.publish()
    await owner.outbox.flush()
    offsets = Offsets(broker, runtime().redis, runtime().process)
    replica = owner.replica(offsets)
    await read_stream(replica)
    offsets.open()
    offsets.serve(lambda _generation: owner.log.last)
    woken = asyncio.Event()
    early = replica.log.follow(after, woken.set)
    await replica.ask()
    late = replica.log.follow(after, lambda: None)
    async with asyncio.timeout(60):
        await woken.wait()
    assert b"event: reset" in early.take()
    assert late.take() == b""  # the reply is older than this reader


async def test_malformed_id_waits_for_the_first_event(owner: Owner) -> None:
    """A reader with a malformed id gets a `reset` only once there is text that it can cover."""
    replica = owner.replica()
    follower = replica.log.follow(None, lambda: None)
    assert follower.take() == b""
    owner.publish()
    await owner.outbox.flush()
    await read_stream(replica)
    assert b'event: reset\ndata: {"content":"0 "' in follower.take()


def test_abandoned_log_ends_for_every_reader(owner: Owner) -> None:
    replica, listener = owner.replica(), Recorder()
    followers = [replica.log.follow(after, lambda: None) for after in (0, None, 7)]
    replica.log.listen(listener)
    replica.log.abandon()
    for follower in followers:
        assert follower.take() == b""
        assert follower.at_end
    assert listener.end == "abandoned"


async def test_listener_of_a_replica_gets_all_text(owner: Owner) -> None:
    """A listener gets the text so far, then each event, also after a jump, and the end."""
    replica, early, late = owner.replica(), Recorder(), Recorder()
    replica.log.listen(early)
    owner.publish()
    await owner.outbox.flush()
    await read_stream(replica)
    replica.log.listen(late)
    owner.publish()
    owner.publish()
    owner.store()
    replica.jump(owner.row)
    assert early.text == late.text == "0 1 2 "
    owner.publish()
    owner.finish()
    await owner.outbox.flush()
    await read_stream(replica)
    after_the_end = Recorder()
    replica.log.listen(after_the_end)
    for listener in (early, late, after_the_end):
        assert (listener.text, listener.end) == ("0 1 2 3 ", "done")
    assert not replica.log.followed


class History:
    """One history of a generation and its readers at three processes, in any order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.owner = Owner()
        self._replicas = self._new_replicas()
        self._readers = [Reader() for _ in range(3)]
        self._owner_lives = True
        of_the_owner = [self.owner.publish] * 3 + [self.owner.store, self.owner.outbox.flush, self._kill]
        self._others = [self._read_stream, self._jump, self._lose_redis, self._drop, self._go, self._take]
        self._steps: list[Any] = [*of_the_owner, *self._others, self._go, self._take]

    def _new_replicas(self) -> list[Replica]:
        return [self.owner.replica() for _ in range(2)]

    async def live(self) -> None:
        for _ in range(self._random.randrange(60)):
            step = self._random.choice(self._steps)
            if asyncio.iscoroutine(done := step()):
                await done
        if self._owner_lives and self._random.random() < 0.5:
            self.owner.finish()
        else:
            self.owner.reap()
        for reader in self._readers:
            self._check_the_end(reader)

    def _check_the_end(self, reader: Reader) -> None:
        row, replica = self.owner.row, self._random.choice(self._replicas)
        replica.jump(row)
        if reader.last != row.last_event:
            reader.go_to(replica.log)
            reader.take()
        assert (reader.last, reader.text) == (row.last_event, row.content)
        assert reader.end == ("error" if row.error else "done")

    def _kill(self) -> None:
        """The owner dies; its readers got what was on its way, or not, and go elsewhere."""
        if self._random.random() < 0.2:
            self._owner_lives = False
            self._steps = self._others
            for reader in self._readers:
                if self._random.random() < 0.5:
                    reader.take()
                reader.go_to(self._random.choice(self._replicas).log)

    async def _read_stream(self) -> None:
        await read_stream(self._random.choice(self._replicas))

    def _jump(self) -> None:
        self._random.choice(self._replicas).jump(self.owner.row)

    async def _lose_redis(self) -> None:
        if self._random.random() < 0.3:
            async with runtime().redis.connect(connections=1) as client:
                await client.flushall()

    def _drop(self) -> None:
        """All readers leave, so replicas are dropped; readers that come back find new ones."""
        if self._random.random() < 0.3:
            self._replicas = self._new_replicas()
            for reader in self._readers:
                reader.leave()

    def _go(self) -> None:
        places = [one.log for one in self._replicas] + [self.owner.log] * self._owner_lives
        self._random.choice(self._readers).go_to(self._random.choice(places))

    def _take(self) -> None:
        self._random.choice(self._readers).take()


async def test_any_history() -> None:
    """However events are written, stored, lost and read, numbers never go back and the text is right in the end."""
    for seed in range(HISTORIES):
        history = History(seed)
        try:
            await history.live()
        except AssertionError as error:
            raise AssertionError(f"history {seed}") from error
        finally:
            await stop_writing(history.owner.outbox)
