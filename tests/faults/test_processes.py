"""Processes killed, restarted, cut off from Redis in mid-answer: nothing is lost but a killed one's last second."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from quotas.models import Reservation
from tests import readers, servers
from tests.faults.pairs import Pair, Steps, started
from tests.front import Front
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected
from tests.readers import Reading, reading, wait_until
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
# What a killed process may lose: a second of deltas that come every 25 ms.
LAST_SECOND_OF_DELTAS = 40
MODELS = {"steady": "paced:80:25", "endless": "paced:5000:50"}

pytestmark = [pytest.mark.server, pytest.mark.soak, pytest.mark.timeout(7200 if SOAK else 300)]


def environment(upstream: FakeOpenAI) -> dict[str, str]:
    return {**connected(upstream, **MODELS), "DRAIN_SECONDS": "60"}


@pytest.fixture(scope="module")
def pair(
    redis_server: servers.Redis,  # says what is missing
    postgres: servers.Postgres,
    upstream: FakeOpenAI,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    with started(postgres, tmp_path_factory.mktemp("pair"), **environment(upstream)) as running:
        yield running


def workers_of(product: Product) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{product.pid}/task/{product.pid}/children").read_text().split()]


def test_killed_owners_leave_their_text_and_no_held_unit(
    redis_server: servers.Redis,
    postgres: servers.Postgres,
    upstream: FakeOpenAI,
    tmp_path: Path,
    django_db_blocker: Any,
) -> None:
    """`kill -9` of owners at random moments: readers get the text so far and `interrupted`; no unit stays held."""
    rounds, chance = 100 if SOAK else 2, random.Random(3)
    database = postgres.migrated_database()
    several = {**environment(upstream), "REDIS_URL": redis_server.url, "WORKERS": "3", "PROCESS_LEASE_SECONDS": "3"}
    several["IMPATIENCE"] = (
        "runtime.supervisor.LONGEST_PAUSE_SECONDS=0.5"  # a worker that dies often is not at fault here
    )
    interrupted = 0
    with Product(tmp_path, database, **several) as product:
        api_user = product.register("alice")
        for number in count(1):
            asked = [api_user.product.client(api_user.access) for _ in range(6)]
            generations = [
                one.post("/api/chat/", json={"model": "steady", "prompt": f"n{number}"}).json()["generation"]["id"]
                for one in asked
            ]
            with reading(product.url, api_user, generations) as seen:
                time.sleep(chance.uniform(0, 1.5))
                os.kill(chance.choice(workers_of(product)), signal.SIGKILL)
            interrupted += sum(_check_after_a_kill(api_user, one) for one in seen)
            wait_until(lambda: len(workers_of(product)) == 3)
            # A process that owns nothing may be killed, which shows nothing.
            if number >= rounds and interrupted:
                break
            assert number < 10 * rounds
        with django_db_blocker.unblock(), servers.connected(database):
            wait_until(lambda: not Reservation.objects.filter(status="reserved").exists())
            spent = Reservation.objects.filter(status="settled").count()
        assert api_user.quota()["used_today"] == spent == 6 * number - interrupted
        assert product.stop() == 0


def _check_after_a_kill(api_user: ApiUser, one: Reading) -> bool:
    """Return whether the generation was interrupted; what was seen of it agrees with what is stored."""
    one.check()
    row = api_user.product.client(api_user.access).get(f"/api/generations/{one.generation}/").json()
    assert one.text == row["content"]
    if row["status"] == "completed":
        return False
    assert (row["status"], one.events[-1].name, one.events[-1].data["code"]) == ("interrupted", "error", "interrupted")
    assert row["charge"]["amount"] == 0
    most = max((len(readers.text_of(one.events[:end]).split()) for end in range(len(one.events))), default=0)
    assert most - len(row["content"].split()) <= LAST_SECOND_OF_DELTAS
    return True


def test_rolling_restart(pair: Pair, upstream: PausedUpstream) -> None:
    """Each process is restarted in turn during generations: all of them complete, for readers who come back."""
    api_user, count = pair.alice, 100 if SOAK else 24
    before = api_user.quota()["used_today"]
    with Front(pair.first.url, pair.second.url) as front:
        for at in (api_user, pair.alice_there):
            prompts = [f"{at.product.url} n{number} {PAUSE} and more" for number in range(count // 2)]
            generations = [at.ask(prompt, "paused")["id"] for prompt in prompts]
            with reading(front.url, api_user, generations) as seen:
                wait_until(lambda seen=seen: all(one.text for one in seen))
                at.product.stop_soon()
                wait_until(lambda at=at: at.product.client().get("/readyz").status_code == 503)
                refused = at.product.client(api_user.access).post("/api/chat/", json={"model": "plain", "prompt": "x"})
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
                for prompt in prompts:
                    upstream.go_on(prompt)
                assert at.product.stop() == 0
            was_away = any("redis is down" in process.output for process in (pair.first, pair.second))
            at.product.start()
            for one in seen:
                one.check()
                row = at.generation(one.generation)
                assert (row["status"], row["finish_reason"], row["content"]) == ("completed", "stop", one.text), row[
                    "error"
                ]
            # On a machine that stands still for seconds the database may step in for Redis.
            assert was_away or sum("reset" in {event.name for event in one.events} for one in seen) <= count // 20
    assert pair.alice_there.quota()["used_today"] == before + count


def test_redis_restarted(pair: Pair, upstream: PausedUpstream) -> None:
    """Redis goes and comes back empty: readers at the owner do not notice, those elsewhere resume."""
    api_user, prompt = pair.alice, Steps.prompt_of("restarted")
    generation = api_user.ask(prompt, "paused")["id"]
    with (
        reading(pair.first.url, api_user, [generation]) as here,
        reading(pair.second.url, api_user, [generation]) as there,
    ):
        steps = Steps(upstream, prompt, here[0], there[0])
        steps.go_on(20)
        pair.redis.stop()
        wait_until(lambda: pair.second.client().get("/readyz").json()["status"] == "degraded")
        steps.go_on(10, elsewhere=False)
        pair.redis.start()
        live = steps.end(pair)
    (owner, mirror), stored = [*here, *there], api_user.generation(generation)["content"]
    owner.check()
    mirror.check()
    assert {event.name for event in owner.events} == {"start", "message", "done"}
    assert owner.connections == mirror.connections == 1
    assert owner.text == mirror.text == stored
    # Redis delivers again: what came from the database would be a `reset`.
    assert {event.name for event in mirror.events[live:-1]} == {"message"}
    assert asyncio.run(readers.read(pair.second.url, api_user.access, generation)).text == stored


@pytest.mark.contract("GET /readyz", "Redis away")
@pytest.mark.parametrize("frozen", [False, True], ids=["stopped", "frozen"])
def test_redis_away(pair: Pair, upstream: FakeOpenAI, frozen: bool) -> None:
    """While Redis is away or silent answers go on, are read elsewhere from the database, and stopped from there."""
    api_user = pair.alice
    before = api_user.quota()["used_today"]
    silent = api_user.ask(f"Say nothing {frozen}", "hang")["id"]
    if frozen:
        pair.redis.signal(signal.SIGSTOP)
    else:
        pair.redis.stop()
    generation = api_user.ask("Hello", "endless")["id"]
    with reading(pair.second.url, api_user, [generation]) as seen:
        pair.first.wait_for_draft(generation)
        row = pair.alice_there.stop(generation)
    assert pair.alice_there.stop(silent)["finish_reason"] == "cancelled"
    (hanging,) = upstream.asked(f"Say nothing {frozen}")
    wait_until(lambda: hanging.closed_by_peer_at is not None)
    if frozen:
        pair.redis.signal(signal.SIGCONT)
    else:
        pair.redis.start()
    assert (row["status"], row["finish_reason"]) == ("completed", "cancelled")
    assert row["content"]
    assert seen[0].text == row["content"]
    wait_until(lambda: api_user.follow(generation)[-1].name == "done")
    assert api_user.quota()["used_today"] == before + 1


@pytest.mark.contract("drain")
def test_drained_readers_go_elsewhere(pair: Pair) -> None:
    """When a process ends, its readers of another process's generation get `retry: 500` and are closed."""
    generation = pair.alice.ask("Hello", "endless")["id"]
    there = pair.second.client(pair.alice.access)
    with there.stream("GET", f"/api/generations/{generation}/events/") as response:
        pieces = response.iter_text()
        text = next(pieces)
        pair.second.stop_soon()
        text += "".join(pieces)
    assert text.endswith("retry: 500\n\n")
    assert "event: done" not in text
    assert pair.second.stop() == 0
    assert pair.alice.stop(generation)["finish_reason"] == "cancelled"
