"""Readers who change processes while owners die: their numbers never go back, and they are right in the end."""

import asyncio
import random
import secrets
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import orjson
import pytest

from chat.events import offsets, redis
from chat.events.local import LocalLogs
from chat.events.log import Follower, Log
from chat.events.redis import Outbox
from chat.generations import finish as ending
from chat.generations.replica import Mirror
from chat.models import Generation
from runtime.apps import runtime
from tests.servers import Redis

HISTORIES = 400


@pytest.fixture(autouse=True)
async def redis_here(redis_server: Redis, settings: Any) -> AsyncGenerator[None, None]:
    """Redis as this process's."""
    settings.REDIS_URL = redis_server.url
    yield
    await runtime().broker._work.wait()
    await runtime().broker.aclose()
    await runtime().redis.aclose()


class Answer:
    """An answer as its owner writes it, and as the database has it: two places that lag behind."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._logs = LocalLogs()
        self.log = self._logs.open(secrets.token_hex(16), lambda: {"content": "".join(self.said), "reasoning": ""})
        self.outbox = Outbox(self._logs)
        self.outbox.add(self.log)
        self.row = Generation(id=self.log.channel, content="", last_event=0)

    async def close(self) -> None:
        self.outbox._places.clear()  # redis-py can swallow a cancellation; then the task ends for want of work
        if self.outbox._task:
            self.outbox._task.cancel()
            await asyncio.gather(self.outbox._task, return_exceptions=True)

    def say(self) -> None:
        self.said.append(f"{len(self.said)} ")
        self.log.publish("message", {"role": "assistant", "content": self.said[-1]})

    def store(self) -> None:
        self.row = Generation(id=self.log.channel, content="".join(self.said), last_event=self.log.last)

    def finish(self) -> None:
        """End in order: stored, then told."""
        self.row = Generation(
            id=self.log.channel,
            content="".join(self.said),
            last_event=self.log.last + 1,
            status="completed",
            finish_reason="stop",
        )
        self.log.complete("done", {"finish_reason": "stop"})

    def reap(self) -> None:
        """End what its owner does not end any more, as `ending.of_stored` has it."""
        end = ending.of_stored(self.row, "interrupted", error={"code": "interrupted"})
        self.row = Generation(
            id=self.row.id, content=end.content, last_event=end.last_event, status=end.status, error=end.error
        )


@pytest.fixture
async def answer() -> AsyncGenerator[Answer, None]:
    made = Answer()
    yield made
    await made.close()


async def take_over(mirror: Mirror) -> None:
    """Let a mirror read what its stream has."""
    found = await redis.read({mirror.log.channel: mirror.log.last})
    assert found is not None
    mirror.apply(found.get(mirror.log.channel, []))


class Reader:
    """Somebody who reads an answer here and there, and checks every number."""

    def __init__(self) -> None:
        self.last, self.text, self.ended = 0, "", ""
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
                self._hear(*(line.partition(": ")[2] for line in block.split("\n")))

    def _hear(self, event_id: str, name: str, data: str) -> None:
        number = int(event_id.rpartition(":")[2])
        assert not self.ended
        if name == "reset":
            assert number >= self.last
            self.text = orjson.loads(data)["content"]
        else:
            assert number == self.last + 1
            self.text += orjson.loads(data)["content"] if name == "message" else ""
            self.ended = "" if name == "message" else name
        self.last = number


async def test_it_works(answer: Answer) -> None:
    """Who saw more at a killed owner than has arrived here waits for its end, which has a higher number."""
    mirror, reader = Mirror(answer.log.channel), Reader()
    for _ in range(14):
        answer.say()
    answer.store()
    await answer.outbox.flush()
    for _ in range(4):
        answer.say()
    reader.go_to(answer.log)
    reader.take()
    assert reader.last == 18
    await take_over(mirror)
    reader.go_to(mirror.log)
    reader.take()
    mirror.jump(answer.row)
    reader.take()
    assert (mirror.log.last, reader.last, len(mirror.log.ahead())) == (14, 18, 1)
    answer.reap()
    mirror.jump(answer.row)
    reader.take()
    assert (reader.last, reader.ended) == (14 + ending.RESUME_JUMP, "error")
    assert reader.text == answer.row.content == "".join(answer.said[:14])


@pytest.mark.parametrize("after", [5, 10**17])
async def test_nonsense(answer: Answer, after: int) -> None:
    """An id beyond what the owner ever said is answered with a `reset` as soon as the owner has said that."""
    answer.say()
    await answer.outbox.flush()
    mirror = Mirror(answer.log.channel, runtime().process.id)
    await take_over(mirror)
    offsets.listen()
    tell = partial(offsets._tell, lambda _: answer.log.last)
    unlisten = runtime().broker.subscribe(f"extent:{runtime().process.id}", partial(runtime().broker._start_work, tell))
    woken = asyncio.Event()
    early = mirror.log.follow(after, woken.set)
    await mirror.ask()
    late = mirror.log.follow(after, lambda: None)
    async with asyncio.timeout(5):
        await woken.wait()
    assert b"event: reset" in early.take()
    assert late.take() == b""  # the answer is older than this reader
    unlisten()


async def test_nothing_arrived_yet(answer: Answer) -> None:
    """Who comes with a malformed id before anything has arrived gets a `reset` that covers something."""
    mirror = Mirror(answer.log.channel)
    follower = mirror.log.follow(None, lambda: None)
    assert follower.take() == b""
    answer.say()
    await answer.outbox.flush()
    await take_over(mirror)
    assert b'event: reset\ndata: {"content":"0 "' in follower.take()


def test_sent_away() -> None:
    """When nothing will come any more, not even an end, every reader is at the end, wherever it was."""
    mirror = Mirror("g")
    followers = [mirror.log.follow(after, lambda: None) for after in (0, None, 7)]
    mirror.log.abandon()
    for follower in followers:
        assert follower.take() == b""
        assert follower.at_end


class History:
    """One history of an answer and its readers at three processes: whatever happens, in whatever order."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.answer = Answer()
        self._mirrors = self._fresh_mirrors()
        self._readers = [Reader() for _ in range(3)]
        self._owner_lives = True
        of_the_owner = [self.answer.say] * 3 + [self.answer.store, self.answer.outbox.flush, self._kill]
        self._anybody = [self._arrive, self._jump, self._lose_redis, self._forget, self._go, self._take]
        self._steps: list[Any] = [*of_the_owner, *self._anybody, self._go, self._take]

    def _fresh_mirrors(self) -> list[Mirror]:
        return [Mirror(self.answer.log.channel) for _ in range(2)]

    async def live(self) -> None:
        for _ in range(self._chance.randrange(60)):
            step = self._chance.choice(self._steps)
            if asyncio.iscoroutine(done := step()):
                await done
        if self._owner_lives and self._chance.random() < 0.5:
            self.answer.finish()
        else:
            self.answer.reap()
        for reader in self._readers:
            self._see_the_end(reader)

    def _see_the_end(self, reader: Reader) -> None:
        row, mirror = self.answer.row, self._chance.choice(self._mirrors)
        mirror.jump(row)
        if reader.last != row.last_event:
            reader.go_to(mirror.log)
            reader.take()
        assert (reader.last, reader.text) == (row.last_event, row.content)
        assert reader.ended == ("error" if row.error else "done")

    def _kill(self) -> None:
        """The owner dies: who reads there gets what was on its way, or not, and goes elsewhere."""
        if self._chance.random() < 0.2:
            self._owner_lives = False
            self._steps = self._anybody
            for reader in self._readers:
                if self._chance.random() < 0.5:
                    reader.take()
                reader.go_to(self._chance.choice(self._mirrors).log)

    async def _arrive(self) -> None:
        await take_over(self._chance.choice(self._mirrors))

    def _jump(self) -> None:
        self._chance.choice(self._mirrors).jump(self.answer.row)

    async def _lose_redis(self) -> None:
        if self._chance.random() < 0.3:
            async with runtime().redis.connect(connections=1) as client:
                await client.flushall()

    def _forget(self) -> None:
        """Everybody leaves, so mirrors are let go; who comes back finds others."""
        if self._chance.random() < 0.3:
            self._mirrors = self._fresh_mirrors()
            for reader in self._readers:
                reader.leave()

    def _go(self) -> None:
        places = [one.log for one in self._mirrors] + [self.answer.log] * self._owner_lives
        self._chance.choice(self._readers).go_to(self._chance.choice(places))

    def _take(self) -> None:
        self._chance.choice(self._readers).take()


async def test_any_history() -> None:
    """However events are written, stored, lost and read, numbers never go back and the text is right in the end."""
    for seed in range(HISTORIES):
        history = History(seed)
        try:
            await history.live()
        except AssertionError as error:
            raise AssertionError(f"history {seed}") from error
        finally:
            await history.answer.close()
