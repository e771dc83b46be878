"""Random faults under mixed load: no completion is lost, no charge is wrong, nothing is left behind."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import books, servers
from tests.conftest import _need
from tests.fleet.hosts import WORKERS, Fleet, children, need_programs
from tests.fleet.load import Asking, Crowd, Load
from tests.product import Product
from tests.readers import Reading, wait_until
from tests.redis_servers import RedisCluster
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
SEED = 18
USERS, USERS_PAUSE = (200, 120.0) if SOAK else (6, 1.0)
# Rounds of all faults, and the longest time between two faults: half an hour in all, and some minutes with a cluster.
ROUNDS, ROUNDS_ON_CLUSTER, FAULTS_PAUSE = (28, 4, 10.0) if SOAK else (1, 1, 1.0)
STREAMS = 50
FROZEN_SECONDS = 2.0
# What may be in use more after the second half than after the first.
MORE_MEMORY = 1.05
# Sockets that a process may have open beyond those of its start when it rests: to the database, and to each Redis.
DATABASE_SOCKETS, REDIS_SOCKETS = 18, 4
# Those of clients, which close after 75 s without a request; the soak waits for that. nginx keeps 64 and 16 more.
CLIENT_SOCKETS = 0 if SOAK else 64 + 16
# What holds the fleet's shared state: the first always, the others in the soak.
REDIS: dict[str, Callable[[], servers.Redis | RedisCluster]] = {
    "one server": servers.Redis,
    "cluster": RedisCluster,
    "cluster with replicas": partial(RedisCluster, replicas=1),
}

pytestmark = [pytest.mark.server, pytest.mark.soak, pytest.mark.timeout(4800 if SOAK else 300)]


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest,
    redis_server: servers.Redis,  # says what is missing, as does the next
    postgres: servers.Postgres,
    upstream: FakeOpenAI,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """Two hosts with a PostgreSQL and a Redis of their own."""
    need_programs()
    if request.param != "one server":
        _need(RedisCluster)
    with (
        servers.Postgres(durable=True) as own,
        REDIS[request.param]() as redis,
        Fleet(tmp_path_factory.mktemp("fleet"), own, redis).of_this_release(upstream) as running,
    ):
        yield running


def on(*kinds: str) -> pytest.MarkDecorator:
    """Run a test with these kinds of Redis."""
    return pytest.mark.parametrize("fleet", kinds if SOAK else kinds[:1], indirect=True, scope="module")


def freeze_postgres(fleet: Fleet, chance: random.Random) -> None:
    with fleet.postgres.frozen():
        time.sleep(FROZEN_SECONDS)


def freeze_redis(fleet: Fleet, chance: random.Random) -> None:
    server = chance.choice(fleet.redis_servers)
    server.signal(signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, FROZEN_SECONDS))
    server.signal(signal.SIGCONT)


def restart_redis(fleet: Fleet, chance: random.Random) -> None:
    server = chance.choice(fleet.redis_servers)
    server.stop()
    time.sleep(chance.uniform(0, FROZEN_SECONDS))
    server.start()


def kill_worker(fleet: Fleet, chance: random.Random) -> None:
    """Kill a worker of the first host; the second one's memory is watched."""
    fleet.kill_worker(0, chance)


def kill_main(fleet: Fleet, chance: random.Random) -> None:
    fleet.kill(0, only_main=True)


def kill_host(fleet: Fleet, chance: random.Random) -> None:
    fleet.kill(0)


def kill_pooler(fleet: Fleet, chance: random.Random) -> None:
    """Kill PgBouncer, and start it again as its unit does."""
    fleet.pooler.kill()
    fleet.pooler.start()


def kill_connection(fleet: Fleet, chance: random.Random) -> None:
    """Kill a process of PostgreSQL that executed a statement; PostgreSQL then cuts all connections and recovers."""
    fleet.postgres.kill_connection(fleet.database.rpartition("/")[2])


def kill_postgres(fleet: Fleet, chance: random.Random) -> None:
    fleet.postgres.kill()
    fleet.postgres.start()


def kill_nginx_worker(fleet: Fleet, chance: random.Random) -> None:
    fleet.nginx.kill_worker()


def kill_nginx(fleet: Fleet, chance: random.Random) -> None:
    fleet.nginx.kill()
    fleet.nginx.start()


FAULTS: list[Callable[[Fleet, random.Random], None]] = [freeze_postgres, freeze_redis, restart_redis, kill_worker]
AROUND = [kill_pooler, kill_connection, kill_postgres, kill_nginx_worker, kill_nginx]
FAULTS += [kill_main, kill_host, *AROUND] * SOAK


def break_things(fleet: Fleet, chance: random.Random, rounds: int, crowd: Crowd) -> None:
    for _round in range(rounds):
        for fault in chance.sample(FAULTS, len(FAULTS)):
            time.sleep(chance.uniform(0, FAULTS_PAUSE))
            crowd.require_sound()
            fault(fleet, chance)


def require_unavailable_only(asking: Asking) -> None:
    """Check that refused requests got the 503 of a process or of nginx, and nothing else."""
    assert [refusal for refusal in asking.refusals if not refusal.startswith("503")] == []


def check(asking: Asking, fleet: Fleet) -> int:
    """Check each completion, and all charges together; return how many were interrupted."""
    product, interrupted = fleet.hosts[1], 0
    wait_until(lambda: books.still_running(fleet.database) == 0, 90)
    for user, reading in asking.readings:
        reading.check()
        with product.client(user.access) as client:
            row = client.get(f"/api/generations/{reading.generation}/").json()
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
    with product.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"rivulet_{name} "))


def readiness(fleet: Fleet) -> set[str]:
    """Return what /readyz of all hosts says."""
    found = set()
    for product in fleet.hosts:
        with product.client() as client:
            found.add(client.get("/readyz").json()["status"])
    return found


def serve_on(load: Load) -> None:
    """Wait until as many further completions have been read as there are streams."""
    served = load.served
    wait_until(lambda: load.served > served + STREAMS)


def wait_for_rest(fleet: Fleet, sockets: int) -> None:
    """Wait until no host generates or streams, no transaction is open, and the second host's sockets are so few."""
    for product in fleet.hosts:
        for name in ("generations_running", "generations_queued", "open_streams"):
            wait_until(lambda product=product, name=name: gauge(product, name) == 0, 90)
    wait_until(lambda: books.open_transactions(fleet.database) == 0)
    wait_until(lambda: sockets_of(fleet.hosts[1]) <= sockets, 120)


@pytest.mark.skipif(not SOAK, reason="only in `make soak`; the random faults have one such kill")
@on("one server", "cluster")
def test_kills_cost_only_what_the_killed_process_made(fleet: Fleet) -> None:
    """`kill -9`: what it generated is interrupted and free, all else completes, and prompts go to the other host."""
    users, chance = [fleet.hosts[1].register(f"watcher{number}") for number in range(4)], random.Random(SEED)
    for _round in range(5):
        for kill in (kill_worker, kill_main, kill_host):
            with Load(fleet.url, users, STREAMS, 4) as load:
                wait_until(lambda: set(children(fleet.hosts[0].pid)) <= books.generating(fleet.database))
                kill(fleet, chance)
                serve_on(load)
            require_unavailable_only(load)
            # Without the process that watches them, workers complete what they have.
            assert check(load, fleet) >= int(kill is not kill_main)


@pytest.mark.skipif(not SOAK, reason="only in `make soak`; tests/faults shows the same of one process")
@on("one server", "cluster", "cluster with replicas")
def test_a_killed_redis_costs_nothing(fleet: Fleet) -> None:
    """`kill -9` of a server or node: hosts go on without Redis, or with its replica, and users notice nothing."""
    users = [fleet.hosts[1].register(f"reader{number}") for number in range(4)]
    with Load(fleet.url, users, STREAMS, 4) as load:
        for server in fleet.redis_servers:
            server.kill()
            expected = "ok" if fleet.redis_has_replicas else "degraded"
            wait_until(lambda expected=expected: readiness(fleet) == {expected})
            serve_on(load)
            server.start()
            wait_until(lambda: readiness(fleet) == {"ok"})
            if isinstance(fleet.redis, RedisCluster):
                fleet.redis.wait_until_sound()
            serve_on(load)
    assert load.refusals == []
    assert check(load, fleet) == 0


@pytest.mark.skipif(not SOAK, reason="only in `make soak`")
@on("one server")
def test_killed_servers_around_cost_nothing(fleet: Fleet) -> None:
    """`kill -9` of PgBouncer, PostgreSQL or nginx: prompts wait or get 503, and all that was accepted completes."""
    users, chance = [fleet.hosts[1].register(f"neighbour{number}") for number in range(4)], random.Random(SEED)
    for kill in AROUND:
        with Load(fleet.url, users, STREAMS, 4) as load:
            serve_on(load)
            kill(fleet, chance)
            serve_on(load)
        require_unavailable_only(load)
        assert check(load, fleet) == 0
        print(f"{kill.__name__}: {len(load.refusals)} refusals, {len(load.cut)} cut, {max(load.waits):.1f} s")


@on("one server", "cluster")
def test_random_faults_cost_nothing(fleet: Fleet) -> None:
    """All completions end as their readers saw them, charged by the table; memory, tasks and sockets stay."""
    watched = fleet.hosts[1]
    sockets = sockets_of(watched) + WORKERS * (DATABASE_SOCKETS + REDIS_SOCKETS * len(fleet.redis_servers))
    users = [watched.register(f"user{number}") for number in range(USERS)]
    chance, seen = random.Random(SEED), []
    all_rounds = ROUNDS if len(fleet.redis_servers) == 1 else ROUNDS_ON_CLUSTER
    for rounds in (all_rounds - all_rounds // 2, all_rounds // 2):
        with Crowd(fleet.url, users, chance, USERS_PAUSE) as crowd:
            break_things(fleet, chance, rounds, crowd)
            served = crowd.served
            wait_until(lambda crowd=crowd, served=served: crowd.served > served + USERS // 2)
        require_unavailable_only(crowd)
        check(crowd, fleet)
        wait_for_rest(fleet, sockets + CLIENT_SOCKETS)
        seen.append((gauge(watched, "tasks"), sockets_of(watched), memory_of(watched)))
        print(f"{len(crowd.readings) + len(crowd.left)} completions, {len(crowd.refusals)} refusals; {seen[-1]}")
    (tasks, _sockets, memory), (_tasks, _sockets, memory_then) = seen
    wait_until(lambda: gauge(watched, "tasks") <= tasks)
    if SOAK:
        assert memory_then <= MORE_MEMORY * memory
