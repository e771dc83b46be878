"""Several processes, one Redis, one PostgreSQL: every generation can be read and stopped at any of them."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from accounts.models import User
from chat.events.redis import PREFIX
from tests import readers, servers
from tests.front import Front
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected, text_of
from tests.readers import Reading, until_below, wait_until
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
STOPPED_WITHIN_SECONDS = 0.5
# The look for disabled users comes every second instead of every ten: then six are the minute that it may take.
CLOCKS, CUT_OFF_WITHIN_SECONDS = "chat.events.sse.DISABLED_CHECK_SECONDS=1", 6

pytestmark = [pytest.mark.server, pytest.mark.timeout(3600 if SOAK else 300)]


@dataclass(frozen=True)
class Pair:
    """Two processes on one database and one Redis."""

    first: Product
    second: Product
    database: str
    redis: servers.Redis


@pytest.fixture(scope="module")
def pair(
    redis_server: servers.Redis,
    postgres: servers.Postgres,
    upstream: FakeOpenAI,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    with servers.Redis() as redis:
        database, folder = postgres.migrated_database(), tmp_path_factory.mktemp("pair")
        variables = {
            **connected(upstream, steady="paced:80:50", cuttable="paced:40:25"),
            "REDIS_URL": redis.url,
            "STREAM_PING_SECONDS": "1",
            "IMPATIENCE": CLOCKS,
        }
        with (
            Product(folder, database, **variables) as first,
            Product(folder, database, is_set_up=True, **variables) as second,
        ):
            yield Pair(first, second, database, redis)


@pytest.fixture
def alice(pair: Pair) -> ApiUser:
    """Return a user at the first process."""
    return pair.first.register(f"alice{os.urandom(4).hex()}")


@pytest.fixture
def alice_there(pair: Pair, alice: ApiUser) -> ApiUser:
    """Return the same user at the second process."""
    return ApiUser(pair.second, alice.name, alice.access, alice.refresh)


def test_an_answer_is_read_at_another_process(alice: ApiUser, alice_there: ApiUser, upstream: PausedUpstream) -> None:
    """A generation that one process runs is read at the other while it is written, in the same events."""
    prompt = PAUSE.join(["Read ", "it ", "elsewhere"])
    generation = alice.ask(prompt, "paused")["id"]
    with alice_there.following(generation) as (_status, stream):
        there = [next(stream) for _ in range(2)]
        for _delta in range(2):
            upstream.go_on(prompt)
            there.append(next(stream))
        there += stream
    assert there == alice.follow(generation)
    assert there[-1].name == "done"
    assert text_of(there) == alice_there.generation(generation)["content"]
    with alice_there.following(generation, there[-1].id) as (status, _rest):
        assert status == 204


def test_only_logs_with_readers_elsewhere_are_in_redis(pair: Pair, alice: ApiUser, alice_there: ApiUser) -> None:
    """A generation leaves nothing in Redis until another process has a reader of it; then all its events are there."""
    with Redis.from_url(pair.redis.url) as redis:
        events = alice.answer("Nobody reads this elsewhere", "quick")
        generation = events[0].data["generation"]
        assert not redis.exists(PREFIX + generation)
        running = alice.ask("Hello", "steady")["id"]
        assert alice.follow(running)[-1].name == "done"
        assert not redis.exists(PREFIX + running)
        assert alice_there.follow(generation) == events
        assert redis.exists(PREFIX + generation)


def test_every_place_to_resume_elsewhere(alice: ApiUser, alice_there: ApiUser) -> None:
    """After the end, the other process replays from any event, and answers an unknown id with a `reset`."""
    events = alice.answer("One two three four", "echo")
    generation = events[0].data["generation"]
    wait_until(lambda: alice_there.follow(generation) == events)
    for place, event in enumerate(events[:-1], 1):
        assert alice_there.follow(generation, event.id) == events[place:]
    again = alice_there.follow(generation, "nonsense")
    assert [event.name for event in again] == ["reset", "done"]
    assert again[-1] == events[-1]


def test_a_reader_who_saw_more(alice: ApiUser, alice_there: ApiUser, upstream: PausedUpstream) -> None:
    """A reader who comes from the owner process with newer events than the replica gets the rest, and nothing twice."""
    for number in range(5):
        prompt = PAUSE.join([f"More {number} ", *(f"{word} " for word in range(10))])
        with alice.asking(prompt, "paused") as stream:
            seen = [next(stream) for _ in range(2)]
            upstream.go_on(prompt, 3)
            seen += [next(stream)]
            with alice_there.following(seen[0].data["generation"], seen[-1].id) as (_status, there):
                upstream.go_on(prompt, 7)
                rest = list(there)
        assert [event.number for event in seen + rest] == list(range(1, len(seen + rest) + 1))
        assert {event.name for event in rest} == {"message", "done"}


@pytest.mark.parametrize("last_event_id", ["nonsense", "{generation}:999999", "{generation}:" + "9" * 40])
def test_unknown_ids_while_it_runs(alice: ApiUser, alice_there: ApiUser, last_event_id: str) -> None:
    """At another process too, an id that is unknown, malformed or too large gets a `reset`, then what follows."""
    generation = alice.ask("Hello", "steady")["id"]
    events = alice_there.follow(generation, last_event_id.format(generation=generation))
    assert [event.name for event in events if event.name != "message"] == ["reset", "done"]
    assert events[0].name == "reset"
    assert text_of(events) == alice.generation(generation)["content"]


def test_joining_elsewhere(alice: ApiUser, alice_there: ApiUser) -> None:
    """The same query at another process joins the running generation."""
    query = {"model": "endless", "prompt": "Join me"}
    with alice.client.stream("GET", "/api/chat/", params=query) as here:
        begun = next(line for line in here.iter_lines() if line.startswith("id: "))
        with alice_there.client.stream("GET", "/api/chat/", params=query) as there:
            joined = next(line for line in there.iter_lines() if line.startswith("id: "))
    assert begun == joined
    alice.stop(begun.removeprefix("id: ").partition(":")[0])


@pytest.mark.contract("POST /api/generations/{generation_id}/stop/")
@pytest.mark.parametrize("model", ["endless", "hang"])
def test_stop_from_elsewhere(alice: ApiUser, alice_there: ApiUser, upstream: FakeOpenAI, model: str) -> None:
    """`stop` at any process closes the upstream within half a second and answers when the end is stored."""
    delays: list[float] = []
    for number in until_below(STOPPED_WITHIN_SECONDS, delays):
        prompt = f"stop {model} from elsewhere {number} {alice.name}"
        generation = alice.ask(prompt, model)["id"]
        wait_until(lambda prompt=prompt: bool(upstream.asked(prompt)))
        if model == "endless":
            with alice.following(generation) as (_status, stream):
                assert next(event for event in stream if event.name == "message")
        since = time.monotonic()
        row = alice_there.stop(generation)
        assert (row["status"], row["finish_reason"]) == ("completed", "cancelled")
        delays.append(upstream.closed_at(prompt) - since)
        assert row["content"] == text_of(alice.follow(generation))
        assert alice_there.stop(generation) == row
    assert min(delays) < STOPPED_WITHIN_SECONDS
    assert alice.quota()["used_today"] == (len(delays) if model == "endless" else 0)


def test_deleting_elsewhere_stops(alice: ApiUser, alice_there: ApiUser, upstream: FakeOpenAI) -> None:
    """A conversation deleted at one process ends its generation at the other."""
    delays: list[float] = []
    for number in until_below(STOPPED_WITHIN_SECONDS, delays):
        prompt = f"delete {number} {alice.name}"
        row = alice.ask(prompt, "hang")
        wait_until(lambda prompt=prompt: bool(upstream.asked(prompt)))
        since = time.monotonic()
        assert alice_there.client.delete(f"/api/conversations/{row['conversation']}/").status_code == 204
        delays.append(upstream.closed_at(prompt) - since)
        assert alice.ended(row["id"])["finish_reason"] == "cancelled"
    assert min(delays) < 5


@pytest.mark.soak
def test_cut_at_random_bytes(pair: Pair) -> None:
    """Readers who are cut at random bytes and resume at the other process lose nothing and get nothing twice."""
    api_user = pair.first.register("cutter")
    generations = 1_000 if SOAK else 40

    async def follow(url: str, number: int, turns: asyncio.Semaphore) -> Reading:
        async with turns:
            asked = await asyncio.to_thread(api_user.ask, f"n{number}", "cuttable")
            return await readers.read(url, api_user.access, asked["id"], cuts=random.Random(number))

    async def follow_all(url: str) -> list[Reading]:
        turns = asyncio.Semaphore(40)
        return await asyncio.gather(*(follow(url, number, turns) for number in range(generations)))

    with Front(pair.first.url, pair.second.url) as front:
        readings = asyncio.run(follow_all(front.url))
    for reading in readings:
        reading.check()
        assert reading.events[0].number == 1
        assert reading.events[-1].name == "done"
        assert reading.text == api_user.generation(reading.generation)["content"]
    # On a machine that stands still for seconds the database may step in for Redis.
    resets = sum("reset" in {event.name for event in reading.events} for reading in readings)
    assert resets <= generations // 40
    assert sum(reading.connections for reading in readings) > 3 * generations


@pytest.mark.soak
def test_many_readers_few_connections(pair: Pair, alice: ApiUser) -> None:
    """A process with many readers of other processes' generations keeps at most 5 connections to Redis."""
    readers_here = 2_000 if SOAK else 200

    async def follow_all() -> tuple[list[Reading], int]:
        answers = [await asyncio.to_thread(alice.ask, f"n{number}", "steady") for number in range(5)]
        reading = [
            asyncio.create_task(readers.read(pair.second.url, alice.access, answers[number % 5]["id"]))
            for number in range(readers_here)
        ]
        most = 0
        while not all(task.done() for task in reading):
            most = max(most, await asyncio.to_thread(redis_connections, pair.redis))
            await asyncio.sleep(0.2)
        return [task.result() for task in reading], most

    readings, most = asyncio.run(follow_all())
    for reading in readings:
        reading.check()
        assert reading.text == alice.generation(reading.generation)["content"]
    assert most <= 2 * 5  # there are two processes


def redis_connections(redis: servers.Redis) -> int:
    """Return how many connections a Redis has beside the one that asks."""
    with Redis.from_url(redis.url) as asking:
        return len(asking.client_list()) - 1


@pytest.mark.contract("a disabled user, mid-stream")
def test_a_disabled_user_is_cut_off_everywhere(pair: Pair, django_db_blocker: Any) -> None:
    """Disabled in mid-stream, a user is cut off at every process within a minute."""
    delays: list[float] = []
    for number in until_below(CUT_OFF_WITHIN_SECONDS, delays, most=3):
        user = pair.first.register(f"disabled{number}")
        user_there = ApiUser(pair.second, user.name, user.access, user.refresh)
        generation = user.ask("Hello", "hang")["id"]
        with user_there.following(generation) as (_status, stream):
            assert next(stream).name == "start"
            with django_db_blocker.unblock(), servers.connected(pair.database):
                User.objects.filter(username=user.name).update(is_active=False)
            started = time.monotonic()
            assert list(stream) == []
            delays.append(time.monotonic() - started)
        assert user_there.client.get(f"/api/generations/{generation}/events/").status_code == 401
    assert min(delays) < CUT_OFF_WITHIN_SECONDS
