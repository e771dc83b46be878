"""Finds the node of a Redis Cluster that has a key, while slots move.

Sans-I/O: a route is a generator that yields calls and is sent their replies, so that asynchronous and blocking clients
share it. A cluster counts as one server: while one of its primaries is away and no replica has taken over, callers
continue without Redis, as they do with a single server.
"""

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from runtime.redis_urls import Address

# Nodes that one command is sent to before it fails.
MOST_REDIRECTS = 3
# Commands without a key; any primary executes them.
_KEYLESS = frozenset({"INFO", "CLUSTER"})
# Where the first key is, for commands that do not have it in the first place.
_KEY_PLACES = {"EVAL": 3, "EVALSHA": 3}

Command = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One command for one node."""

    node: Address
    command: Command
    # Whether the node is still receiving the key's slot from another one.
    asking: bool = False


Route = Generator[Call, Any, Any]


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key or of a shard channel."""
    return int(key_slot(key.encode() if isinstance(key, str) else key))


class Slots:
    """The owner of each slot, as a node of the cluster last reported it.

    Threads may share it.
    """

    def __init__(self, seeds: Sequence[Address]) -> None:
        self._seeds = tuple(seeds)
        # All nodes, the one that is asked next in front.
        self._nodes = self._seeds
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self.outdated = True

    @property
    def primaries(self) -> list[Address]:
        """Return the nodes that own slots, always in the same order."""
        return sorted({owner for owner in self._owners if owner})

    def owner(self, command: Command) -> Address:
        """Return the node that executes a command."""
        if command[0] in _KEYLESS and (primaries := self.primaries):
            return random.choice(primaries)  # noqa: S311
        place = command.index("STREAMS") + 1 if command[0] == "XREAD" else _KEY_PLACES.get(command[0], 1)
        return self.owner_of_key(command[place])

    def owner_of_key(self, key: str | bytes) -> Address:
        """Return the node that has a key or a shard channel."""
        if owner := self._owners[slot_of(key)]:
            return owner
        raise RedisConnectionError("no node of the cluster has this slot")

    def refresh(self) -> Route:
        """Ask one node after another for the owners, until one replies."""
        self.outdated = True
        for node in self._nodes:
            self._nodes = (*self._nodes[1:], self._nodes[0])  # before it is asked, because it may take all our time
            try:
                reply = yield Call(node, ("CLUSTER", "SLOTS"))
            except (RedisError, OSError):
                continue
            self._take(node, reply)
            return
        raise RedisConnectionError("no node of the cluster replies")

    def _take(self, asked: Address, reply: Sequence[Any]) -> None:
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        nodes = dict.fromkeys(self._seeds)
        for first, last, *servers in reply:
            # A node that does not know its own name leaves it out.
            found = [Address((server[0] or b"").decode() or asked.host, int(server[1])) for server in servers]
            nodes.update(dict.fromkeys(found))
            owners[first : last + 1] = [found[0]] * (last + 1 - first)
        self._owners, self.outdated = owners, False
        others = [node for node in nodes if node != asked]
        self._nodes = (*random.sample(others, len(others)), asked)

    def route(self, command: Command) -> Route:
        """Send a command to the owner of its key, and follow slots that move."""
        try:
            return (yield from self._route(command))
        except BaseException:  # a caller that gives up may have waited for a node that is gone
            self.outdated = True
            raise

    def _route(self, command: Command) -> Route:
        for _attempt in range(MOST_REDIRECTS):
            if self.outdated:
                yield from self.refresh()
            node = self.owner(command)
            try:
                return (yield Call(node, command))
            except MovedError:
                self.outdated = True
            except AskError as error:
                return (yield Call(Address(error.host or node.host, int(error.port)), command, asking=True))
            except (ClusterDownError, TryAgainError) as error:
                raise RedisConnectionError(str(error)) from error
        raise RedisConnectionError("the slots of the cluster keep moving")
