"""Two processes, and a fault at the worst moment: each generation ends once, and alike for all readers."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests import servers
from tests.faults.pairs import Pair, Steps, started
from tests.front import Front
from tests.paused import PausedUpstream
from tests.product import ApiUser, Product, connected
from tests.readers import Reading, reading, wait_until
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
# Seconds of a lease, longer than a process of a busy machine stands still by itself; and those of a fault.
LEASE_SECONDS, HALTED_SECONDS = 6, 10 if SOAK else 8
# Seconds for which Redis stands still.
REDIS_SECONDS = 10 if SOAK else 4
MODELS = {
    "steady": "paced:80:50",
    "longer": f"paced:{HALTED_SECONDS * 20 + 100}:50",
    "endless": "paced:5000:50",
    "slow": "paced:4:1500",
}

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900 if SOAK else 300)]


@pytest.fixture(scope="module")
def pair(
    redis_server: servers.Redis,  # says what is missing, as does the next
    postgres: servers.Postgres,
    upstream: FakeOpenAI,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Start a pair with short leases, and a PostgreSQL of its own."""
    variables = {**connected(upstream, **MODELS), "PROCESS_LEASE_SECONDS": str(LEASE_SECONDS)}
    with servers.Postgres() as own, started(own, tmp_path_factory.mktemp("pair"), **variables) as running:
        yield running


@contextmanager
def halted(pid: int) -> Iterator[None]:
    """Let a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def check(api_user: ApiUser, seen: list[Reading]) -> dict[str, object]:
    """Return the generation, of which all have seen one and the same end, and the text that is stored."""
    row = api_user.generation(seen[0].generation)
    for one in seen:
        one.check()
        assert [event.name for event in one.events if event.name in {"done", "error"}] == [one.events[-1].name]
        assert (one.text, one.events[-1]) == (row["content"], seen[0].events[-1])
    return row


def closed(upstream: FakeOpenAI, prompt: str) -> bool:
    (asked,) = upstream.asked(prompt)
    return asked.closed_by_peer_at is not None


def test_a_halted_process_changes_nothing_when_it_wakes(pair: Pair, upstream: FakeOpenAI) -> None:
    """A process that is halted past its lease and wakes up changes nothing, and tells its readers the same end."""
    api_user, used = pair.alice, pair.alice.quota()["used_today"]
    generation = api_user.ask("Halt me", "endless")["id"]
    with (
        reading(pair.first.url, api_user, [generation]) as here,
        reading(pair.second.url, api_user, [generation]) as there,
    ):
        pair.first.wait_for_draft(generation)
        with halted(pair.first.pid):
            row = pair.alice_there.ended(generation)
            time.sleep(1.5)
    assert (row["status"], row["error"]["code"], row["charge"]["amount"]) == ("interrupted", "interrupted", 0)
    assert row["content"]
    assert check(api_user, here + there) == pair.alice_there.generation(generation) == row
    for at in (api_user, pair.alice_there):
        with at.following(generation, here[0].last_id) as (status, _events):
            assert status == 204
        assert at.follow(generation)[-1] == here[0].events[-1]
    wait_until(lambda: closed(upstream, "Halt me"))
    assert api_user.answer("Hello", "quick")[-1].name == "done"
    assert api_user.quota()["used_today"] == used + 1


def test_redis_emptied(pair: Pair) -> None:
    """FLUSHALL in mid-answer: readers elsewhere get the same text; who comes then, while nothing is said, as well."""
    api_user = pair.alice
    generation, quiet = api_user.ask("Hello", "steady")["id"], api_user.ask("Hello", "slow")["id"]
    with (
        reading(pair.first.url, api_user, [generation, quiet]) as here,
        reading(pair.second.url, api_user, [generation]) as there,
        Redis.from_url(pair.redis.url) as redis,
    ):
        time.sleep(1.2)
        redis.flushall()
        with reading(pair.second.url, api_user, [quiet]) as late:
            time.sleep(1)
            redis.flushall()
    for seen in ([here[0], there[0]], [here[1], late[0]]):
        assert check(api_user, seen)["status"] == "completed"
    assert {event.name for event in here[0].events} == {"start", "message", "done"}


def test_redis_halted(pair: Pair, upstream: PausedUpstream) -> None:
    """Redis stands still for seconds: the owner's readers do not notice, others resume, a stop and a question go on."""
    api_user, prompt = pair.alice, Steps.prompt_of("halted")
    generation, stopped = api_user.ask(prompt, "paused")["id"], api_user.ask("Stop me", "endless")["id"]
    redis = pair.redis._process
    assert redis
    with (
        reading(pair.first.url, api_user, [generation]) as here,
        reading(pair.second.url, api_user, [generation]) as there,
    ):
        steps = Steps(upstream, prompt, here[0], there[0])
        steps.go_on(10)
        pair.first.wait_for_draft(stopped)
        with halted(redis.pid):
            began = time.monotonic()
            steps.go_on(10, elsewhere=False)
            assert pair.alice_there.stop(stopped)["finish_reason"] == "cancelled"
            wait_until(lambda: closed(upstream, "Stop me"))
            assert api_user.answer("Hello", "quick")[-1].name == "done"
            time.sleep(max(0.0, REDIS_SECONDS - (time.monotonic() - began)))
        live = steps.end(pair)
    assert check(api_user, here + there)["status"] == "completed"
    assert {event.name for event in here[0].events} == {"start", "message", "done"}
    assert here[0].connections == 1
    assert {event.name for event in there[0].events[live:-1]} == {"message"}


def test_the_database_restarted(pair: Pair) -> None:
    """PostgreSQL is away for longer than a lease: no process is declared dead for it, and the generation completes."""
    api_user, used = pair.alice, pair.alice.quota()["used_today"]
    generations = [at.ask("Hello", "longer")["id"] for at in (api_user, pair.alice_there)]
    with (
        reading(pair.first.url, api_user, generations) as here,
        reading(pair.second.url, api_user, generations) as there,
    ):
        time.sleep(1)
        pair.postgres.stop()
        time.sleep(HALTED_SECONDS - 0.5)
        pair.postgres.start()
    for one, other in zip(here, there, strict=True):
        row = check(api_user, [one, other])
        assert (row["status"], row["finish_reason"]) == ("completed", "stop")
    assert {event.name for event in [*here[0].events, *there[1].events]} == {"start", "message", "done"}
    assert api_user.quota()["used_today"] == used + 2


@pytest.mark.parametrize(
    ("point", "ends"),
    [
        ("before the counter follows the end", {("completed", "stop", 1)}),
        # Either the stop makes the text so far the completion, or the reaper ends the dead owner's generation first.
        ("before a stop is carried out", {("completed", "cancelled", 1), ("interrupted", None, 0)}),
        ("between a stop and its answer", {("completed", "cancelled", 1)}),
    ],
)
def test_killed_between(pair: Pair, tmp_path: Path, point: str, ends: set[object]) -> None:
    """Killed between storing an end and telling it, or in the middle of a stop: one end, and it is the stored one."""
    mortal = Product(tmp_path, **pair.first._environment)
    mortal.var_dir, mortal._environment["PORT"] = pair.first.var_dir, "0"
    with closing(mortal):
        mortal.serve("-m", "tests.quotas.dying_server", point)
        generation = ApiUser(mortal, "alice", pair.alice.access, "").ask("Hello", "steady")["id"]
        _read_through_the_death(pair, mortal, generation, ends, stops="stop" in point)


def _read_through_the_death(pair: Pair, mortal: Product, generation: str, ends: set[object], *, stops: bool) -> None:
    with (
        Front(mortal.url, pair.second.url) as front,
        reading(front.url, pair.alice_there, [generation]) as here,
        reading(pair.second.url, pair.alice_there, [generation]) as there,
    ):
        if stops:
            mortal.wait_for_draft(generation)
            began = time.monotonic()
            stopped = pair.alice_there.stop(generation)
            assert time.monotonic() - began < 30
            assert stopped["status"] != "running"
        mortal.wait_for_death()
    row = check(pair.alice_there, here + there)
    assert (row["status"], row["finish_reason"], row["charge"]["amount"]) in ends
    assert pair.alice_there.stop(generation) == row
