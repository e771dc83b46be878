"""A Redis Cluster, and a primary with a replica and sentinels: real processes on free loopback ports."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import redis
from redis.exceptions import RedisError

from runtime import redis_clients
from tests import servers
from tests.gate import Gate

# Milliseconds after which a server that does not reply counts as failed: it may stand still on a busy machine.
FAILED_MS = 5_000
# Seconds for what takes one or two on an idle machine.
PATIENCE_SECONDS = 60


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """Let this process wait for a Redis that stands still for seconds, as one of a busy machine may."""
    patch.setattr(redis_clients, "REPLY_SECONDS", float(PATIENCE_SECONDS))
    for name in ("socket_connect_timeout", "socket_timeout"):
        patch.setitem(redis_clients._TIMEOUTS, name, PATIENCE_SECONDS)


def until(holds: Callable[[], Any]) -> None:
    """Return when something holds; a server that does not reply yet is asked again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if holds():
                return
        except RedisError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.05)


class ClusterNode(servers.Redis):
    """One node; its data is lost with it, its identity is kept."""

    # What clients reach it through.
    gate: Gate | None = None

    @property
    def clients_port(self) -> int:
        return self.gate.port if self.gate else self.port

    def options(self) -> list[str]:
        # The bus has a port of its own, because the default one (10,000 above) may not exist.
        self._bus_port = getattr(self, "_bus_port", None) or servers.free_port()
        cluster = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
        cluster += ["--cluster-announce-port", str(self.clients_port)]
        cluster += ["--cluster-node-timeout", str(FAILED_MS), "--cluster-port", str(self._bus_port)]
        return [*super().options(), *cluster, "--cluster-replica-validity-factor", "0"]


class RedisCluster:
    """Three primaries, each with `replicas` replicas. With gates, clients (not nodes) reach all of them through one."""

    install: ClassVar[str] = "apt-get install redis-server redis-tools"

    def __init__(self, replicas: int = 0, *, gates: bool = False) -> None:
        self.replicas = replicas
        self.nodes = [ClusterNode() for _node in range(3 * (1 + replicas))]
        for node in self.nodes if gates else []:
            node.gate = Gate(node.port)
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.clients_port}" for node in self.nodes[:3])

    @classmethod
    def missing(cls) -> bool:
        return servers.Redis.missing() or not _cli()

    def client(self) -> redis.RedisCluster:
        """Return redis-py's own client of the cluster."""
        return redis.RedisCluster(host="127.0.0.1", port=self.nodes[0].port)

    def owner(self, key: str) -> ClusterNode:
        """Return the node that has a key."""
        with self.client() as client:
            port = client.get_node_from_key(key).port
        return next(node for node in self.nodes if node.clients_port == port)

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
            if node.gate:
                node.gate.__enter__()
        addresses = [f"127.0.0.1:{node.clients_port}" for node in self.nodes]
        options = ["--cluster-replicas", str(self.replicas), "--cluster-yes"]
        command = [_cli(), "--cluster", "create", *addresses, *options]
        made = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        if made.returncode:
            raise RuntimeError(f"no cluster:\n{made.stdout}{made.stderr}")
        self.wait_until_sound()
        return self

    def wait_until_sound(self) -> None:
        """Return when all nodes know each other and serve all slots."""
        until(lambda: all(self.is_sound(node) for node in self.nodes))

    def is_sound(self, node: ClusterNode) -> bool:
        """Return whether a node knows all others, and that they serve all slots."""
        with redis.Redis(port=node.port) as client:
            state = client.execute_command("CLUSTER INFO")
            rows = client.execute_command("CLUSTER NODES").values()
        replicas = [row for row in rows if "slave" in row["flags"]]
        sound = state["cluster_state"] == "ok" and not any("fail" in row["flags"] for row in rows)
        return sound and len(rows) == len(self.nodes) and len(replicas) == 3 * self.replicas

    def __exit__(self, *error: object) -> None:
        for node in self.nodes:
            node.kill()
            node.__exit__(*error)
            if node.gate:
                node.gate.__exit__(*error)


class Replica(servers.Redis):
    """A replica of another server, until a sentinel promotes it."""

    def __init__(self, primary: servers.Redis) -> None:
        super().__init__()
        self._primary = primary

    def options(self) -> list[str]:
        return [*super().options(), "--replicaof", f"127.0.0.1 {self._primary.port}", "--repl-diskless-load", "swapdb"]


class Sentinel(servers.Redis):
    """A sentinel that alone decides on a failover."""

    def __init__(self, primary: servers.Redis) -> None:
        super().__init__()
        self._primary = primary

    def options(self) -> list[str]:
        file = Path(self._directory.name, "sentinel.conf")  # a sentinel keeps its state there
        if not file.exists():
            watched = f"chat 127.0.0.1 {self._primary.port} 1"
            file.write_text(f"sentinel monitor {watched}\nsentinel down-after-milliseconds chat {FAILED_MS}\n")
        return [str(file), "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"]

    def replicas(self) -> int:
        with redis.Redis(port=self.port) as client:
            return int(client.sentinel_master("chat", return_responses=True)["num-slaves"])


class Watched:
    """A primary, its replica, and a sentinel that promotes the replica when the primary is away."""

    def __init__(self) -> None:
        self.primary = servers.Redis()
        self.replica, self.sentinel = Replica(self.primary), Sentinel(self.primary)
        # Nothing listens at the first address, as at that of a sentinel that is down.
        self.url = f"redis+sentinel://127.0.0.1:{servers.free_port()},127.0.0.1:{self.sentinel.port}/chat/0"

    def __enter__(self) -> Self:
        for server in (self.primary, self.replica, self.sentinel):
            server.start()
        until(self.sentinel.replicas)
        with redis.Redis(port=self.replica.port) as client:
            until(lambda: client.info("replication")["master_link_status"] == "up")
        return self

    def __exit__(self, *error: object) -> None:
        for server in (self.sentinel, self.replica, self.primary):
            server.kill()
            server.__exit__(*error)


def _cli() -> str:
    return shutil.which("redis-cli") or shutil.which("valkey-cli") or ""
