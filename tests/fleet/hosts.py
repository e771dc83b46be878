"""Hosts of the product behind the shipped nginx, on one PostgreSQL behind PgBouncer, and Redis or a Redis Cluster."""

import os
import random
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import launcher, nginx, servers
from tests.conftest import _missing
from tests.fleet.release import PreviousProduct
from tests.pgbouncer import PgBouncer, limit_role
from tests.product import Product, connected
from tests.readers import wait_until
from tests.redis_servers import RedisCluster
from tests.servers import ROOT, find, free_port
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
# Hosts of the previous release, which take long to start, and workers of each host.
OLD_HOSTS, WORKERS = (2, 2) if SOAK else (1, 1)
# `stream` takes some seconds, so that things happen during it.
MODELS = {"stream": "paced:100:100" if SOAK else "paced:40:50", "prompt": "paced:5:10", "reset": "reset_mid_stream"}


class Fleet:
    """The hosts and what is around them."""

    def __init__(self, folder: Path, postgres: servers.Postgres, redis: servers.Redis | RedisCluster) -> None:
        self.postgres, self.redis, self._folder = postgres, redis, folder
        self.hosts: list[Product] = []
        self.replaced: list[Product] = []
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.database = self._pooled = ""
        self._variables: dict[str, str] = {}
        self._nginx: nginx.Nginx | None = None
        self._pooler: PgBouncer | None = None
        self._has_new_tables = False

    @property
    def redis_servers(self) -> list[servers.Redis]:
        """The one server of Redis, or the nodes of the cluster."""
        return [*self.redis.nodes] if isinstance(self.redis, RedisCluster) else [self.redis]

    @property
    def redis_has_replicas(self) -> bool:
        """Whether a server of Redis that ends is replaced by another."""
        return isinstance(self.redis, RedisCluster) and self.redis.replicas > 0

    @contextmanager
    def of_earlier_release(
        self, upstream: FakeOpenAI, release: type[PreviousProduct] = PreviousProduct
    ) -> Iterator["Fleet"]:
        """Start hosts of an earlier release on an empty database."""
        with self._around(self.postgres.database(), upstream):
            database = self._pooled if release.knows_pooler else self.database
            for number in range(OLD_HOSTS):
                variables = {"WORKERS": str(WORKERS), **self._variables}
                host = release(self._folder / "var", database, is_set_up=number > 0, **variables)
                self.hosts.append(host.start())
            with self._behind_nginx():
                yield self

    @contextmanager
    def of_this_release(self, upstream: FakeOpenAI) -> Iterator["Fleet"]:
        """Start hosts of this release."""
        with self._around(self.postgres.migrated_database(), upstream, lease_seconds=3):
            for number in range(2):
                self.hosts.append(self._new_product(is_set_up=number > 0, WORKERS=str(WORKERS)).start())
            with self._behind_nginx():
                yield self

    @contextmanager
    def _around(self, database: str, upstream: FakeOpenAI, lease_seconds: int = 30) -> Iterator[None]:
        name = database.rpartition("/")[2]
        limit_role(self.postgres, name)
        with PgBouncer(self.postgres, name) as self._pooler:
            self.database, self._pooled = database, self._pooler.url
            self._variables = {**connected(upstream, **MODELS), "REDIS_URL": self.redis.url}
            self._variables |= {"DRAIN_SECONDS": "60", "PROCESS_LEASE_SECONDS": str(lease_seconds)}
            # A worker that dies often is not at fault here.
            self._variables |= {"IMPATIENCE": "runtime.supervisor.LONGEST_PAUSE_SECONDS=0.5"}
            try:
                yield
            finally:
                for host in self.hosts:
                    self._keep_log(host)
                    host.close()

    @contextmanager
    def _behind_nginx(self) -> Iterator[None]:
        home = self._folder / "nginx"
        home.mkdir()
        with nginx.nginx(home, self._configuration()) as self._nginx:
            yield

    def _new_product(self, *, is_set_up: bool = True, **variables: str) -> Product:
        return Product(self._folder / "var", self._pooled, is_set_up=is_set_up, **{**self._variables, **variables})

    def _keep_log(self, host: Product) -> None:
        """Append what a host has logged to a file beside the logs of nginx, for the time after a failure."""
        with (self._folder / f"host-{_port(host)}.log").open("a") as file:
            file.write(host.output)

    def lines_of(self, generation: str) -> list[str]:
        """Return what hosts have logged about a generation, with those that were replaced."""
        outputs = [host.output.splitlines() for host in (*self.replaced, *self.hosts)]
        return [line for lines in outputs for line in lines if generation in line]

    # --- the upgrade ---

    def fill(self, users: int, conversations: int, entries: int) -> None:
        """Fill the tables of the previous release."""
        program = (
            f"import django, runpy; django.setup(); filling = runpy.run_path({str(ROOT / 'tests/filling.py')!r}); "
            f"filling['fill'](filling['Size']({users}, {conversations}, {entries}))"
        )
        variables = servers.environment(self.database, self._folder / "var", **self._variables)
        variables["DJANGO_SETTINGS_MODULE"] = "tests.product_settings"
        done = launcher.run(["-c", program], variables, root=self.hosts[0].root)
        assert done.returncode == 0, done.stderr

    @property
    def old_host(self) -> Product:
        """A host with the previous release, whose tables are those of this one."""
        self.set_up()
        return self.hosts[-1]

    def set_up(self) -> None:
        """Run `setup` of this release once."""
        if not self._has_new_tables:
            done = self._new_product().manage("setup")
            assert done.returncode == 0, done.stderr
            self._has_new_tables = True

    def set_up_beside(self, dump: "subprocess.Popen[bytes]", serving: Callable[[], None]) -> None:
        """Run `setup` while a dump, which has begun, reads all tables; let it go on when `serving` has returned."""
        output = self._folder / "setup"
        setup = self._new_product().begin(output, "setup")
        wait_until(lambda: "Waiting for a table" in output.read_text())
        serving()
        assert setup.poll() is None, output.read_text()
        dump.communicate()
        assert (dump.returncode, setup.wait(600)) == (0, 0), output.read_text()
        self._has_new_tables = True

    def add(self) -> None:
        """Start a host of this release beside the others."""
        self.set_up()
        self.hosts.append(self._new_product(WORKERS=str(WORKERS)).start())
        self._reload(down=[])

    def replace(self, number: int) -> None:
        """Replace the previous release on a host, as docs/operations.md says."""
        self.set_up()
        old = self.hosts[number]
        self._reload(down=[number])
        # 0.2.0 would refuse a prompt that it has begun to look at; those from nginx came before these.
        for _connection in range(4 * WORKERS):
            old.admin().ask("Hello", "prompt")
        assert old.stop(90) == 0, old.output
        self.hosts[number] = self._new_product(PORT=_port(old), WORKERS=str(WORKERS)).start()
        self.replaced.append(old)
        self._reload(down=[])
        old.close()

    def _reload(self, down: Collection[int]) -> None:
        self.nginx.reload(self._configuration(down))

    def _configuration(self, down: Collection[int] = ()) -> str:
        """Return the shipped files with all hosts, of which some are marked as down."""
        first, *others = map(_port, self.hosts)
        text = nginx.front(self._folder / "nginx", first, self._port)
        for port in others:
            text = text.replace("# server 10.0.0.12:8000", f"server 127.0.0.1:{port}")
        for number in down:
            place = f"server 127.0.0.1:{_port(self.hosts[number])} "
            text = text.replace(place, f"{place}down ")
        return text

    # --- faults ---

    @property
    def nginx(self) -> nginx.Nginx:
        assert self._nginx
        return self._nginx

    @property
    def pooler(self) -> PgBouncer:
        assert self._pooler
        return self._pooler

    def kill_worker(self, number: int, chance: random.Random) -> None:
        """Kill a process of a host that serves, and wait until another has its place."""
        workers = children(self.hosts[number].pid)
        if not workers:
            self.kill(number)
            return
        killed = chance.choice(workers)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in (now := children(self.hosts[number].pid)) and len(now) == len(workers))

    def kill(self, number: int, *, only_main: bool = False) -> None:
        """Kill a host's processes at once, or the one that watches the others; start it again when all have ended."""
        host = self.hosts[number]
        workers = children(host.pid)
        for pid in (*(() if only_main else workers), host.pid):
            os.kill(pid, signal.SIGKILL)
        host.wait_for_death()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 90)
        self._keep_log(host)
        host.start()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _port(host: Product) -> str:
    return host.url.rpartition(":")[2]


def need_programs() -> None:
    """Leave the test out where a program is missing."""
    for program in ("pgbouncer", "nginx"):
        if find(program) is None:
            _missing(f"{program} is not installed: apt-get install {program}")
