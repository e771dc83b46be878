"""Random faults under mixed load: no completion is lost, no charge is wrong, nothing is left behind."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import books, servers
from tests.fleet.hosts import Fleet, children, need_programs
from tests.fleet.load import Asking, Crowd, Load
from tests.product import Product
from tests.readers import Reading, wait_until
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
SEED = 18
USERS, USERS_PAUSE = (200, 120.0) if SOAK else (6, 1.0)
# Rounds of all faults, and the longest time between two faults: half an hour in all.
ROUNDS, FAULTS_PAUSE = (28, 10.0) if SOAK else (1, 1.0)
STREAMS = 50
FROZEN_SECONDS = 2.0
# What may be in use more after the second half than after the first; nginx keeps up to 64 connections to a host.
MORE_MEMORY = 1.05
MORE_SOCKETS = 64

pytestmark = [pytest.mark.server, pytest.mark.soak, pytest.mark.timeout(4800 if SOAK else 300)]


@pytest.fixture(scope="module")
def fleet(
    redis_server: servers.Redis,  # says what is missing, as does the next
    postgres: servers.Postgres,
    upstream: FakeOpenAI,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """Two hosts with a PostgreSQL and a Redis of their own."""
    need_programs()
    with (
        servers.Postgres() as own,
        servers.Redis() as redis,
        Fleet(tmp_path_factory.mktemp("fleet"), own, redis).of_this_release(upstream) as running,
    ):
        yield running


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def freeze_postgres(fleet: Fleet, chance: random.Random) -> None:
    main = fleet.postgres.pid
    with frozen([main, *children(main)]):
        time.sleep(FROZEN_SECONDS)


def freeze_redis(fleet: Fleet, chance: random.Random) -> None:
    with frozen([fleet.redis.pid]):
        time.sleep(chance.uniform(0.5, FROZEN_SECONDS))


def restart_redis(fleet: Fleet, chance: random.Random) -> None:
    fleet.redis.stop()
    time.sleep(chance.uniform(0, FROZEN_SECONDS))
    fleet.redis.start()


def kill_worker(fleet: Fleet, chance: random.Random) -> None:
    """Kill a worker of the first host; the second one's memory is watched."""
    fleet.kill_worker(0, chance)


def kill_main(fleet: Fleet, chance: random.Random) -> None:
    fleet.kill(0, only_main=True)


def kill_host(fleet: Fleet, chance: random.Random) -> None:
    fleet.kill(0)


FAULTS: list[Callable[[Fleet, random.Random], None]] = [freeze_postgres, freeze_redis, restart_redis, kill_worker]
FAULTS += [kill_main, kill_host] * SOAK


def break_things(fleet: Fleet, chance: random.Random, rounds: int) -> None:
    for _round in range(rounds):
        for fault in chance.sample(FAULTS, len(FAULTS)):
            time.sleep(chance.uniform(0, FAULTS_PAUSE))
            fault(fleet, chance)


def check(asking: Asking, fleet: Fleet) -> int:
    """Check each completion, and all charges together; return how many were interrupted."""
    product, interrupted = fleet.hosts[1], 0
    wait_until(lambda: books.still_running(fleet.database) == 0, 90)
    for user, reading in asking.readings:
        reading.check()
        row = product.client(user.access).get(f"/api/generations/{reading.generation}/").json()
        assert row["content"] == reading.text, row
        check_end(row, reading)
        interrupted += row["status"] == "interrupted"
    assert books.wrong_charges(fleet.database) == []
    return interrupted


def check_end(row: dict[str, Any], reading: Reading) -> None:
    """Check that the reader got the end that is stored, and that text costs one unless something failed."""
    last = reading.events[-1]
    assert (last.name, row["status"]) in {("done", "completed"), ("error", "failed"), ("error", "interrupted")}
    assert row["charge"]["amount"] == int(row["status"] == "completed" and bool(row["content"].strip()))
    assert last.data["charge"] == row["charge"]


def sockets_of(product: Product) -> int:
    """Return how many sockets the processes of a host have open."""
    count = 0
    for pid in (product.pid, *children(product.pid)):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                count += str(descriptor.readlink()).startswith("socket:")
            except FileNotFoundError:
                continue  # closed meanwhile
    return count


def memory_of(product: Product) -> int:
    """Return the resident KiB of a host's processes."""
    pids = (product.pid, *children(product.pid))
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in texts)


def gauge(product: Product, name: str) -> float:
    """Return a gauge of a host, summed over its workers."""
    lines = product.client().get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"rivulet_{name} "))


def wait_for_rest(fleet: Fleet) -> None:
    """Wait until no host generates, and none has an open stream."""
    for product in fleet.hosts:
        for name in ("generations_running", "generations_queued", "open_streams"):
            wait_until(lambda product=product, name=name: gauge(product, name) == 0, 90)


@pytest.mark.skipif(not SOAK, reason="only in `make soak`; the random faults have one such kill")
def test_kills_cost_only_what_the_killed_process_made(fleet: Fleet) -> None:
    """`kill -9`: what it generated is interrupted and free, all else completes, and prompts go to the other host."""
    users, chance = [fleet.hosts[1].register(f"watcher{number}") for number in range(4)], random.Random(SEED)
    for _round in range(5):
        for kill in (kill_worker, kill_main, kill_host):
            with Load(fleet.url, users, STREAMS, 4) as load:
                wait_until(lambda: set(children(fleet.hosts[0].pid)) <= books.generating(fleet.database))
                kill(fleet, chance)
                served = load.served
                wait_until(lambda load=load, served=served: load.served > served + STREAMS)
            assert {refusal[:3] for refusal in load.refusals} <= {"503"}
            # Without the process that watches them, workers complete what they have.
            assert check(load, fleet) >= int(kill is not kill_main)


def test_random_faults_cost_nothing(fleet: Fleet) -> None:
    """All completions end as their readers saw them, charged by the table; memory and sockets stay."""
    users = [fleet.hosts[1].register(f"user{number}") for number in range(USERS)]
    chance, seen = random.Random(SEED), []
    for rounds in (ROUNDS - ROUNDS // 2, ROUNDS // 2):
        with Crowd(fleet.url, users, chance, USERS_PAUSE) as crowd:
            break_things(fleet, chance, rounds)
            served = crowd.served
            wait_until(lambda crowd=crowd, served=served: crowd.served > served + USERS // 2)
        check(crowd, fleet)
        wait_for_rest(fleet)
        seen.append((sockets_of(fleet.hosts[1]), memory_of(fleet.hosts[1])))
        print(f"{len(crowd.readings) + len(crowd.left)} completions, {len(crowd.refusals)} refusals; {seen[-1]}")
    if SOAK:
        (sockets, memory), (sockets_then, memory_then) = seen
        assert sockets_then <= sockets + MORE_SOCKETS
        assert memory_then <= MORE_MEMORY * memory
