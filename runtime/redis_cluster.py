"""Clients of a Redis Cluster that are used like redis-py's clients of one server.

They have a small pool for each node, because redis-py's own cluster clients raise an error, instead of waiting, when
all connections are in use. A command or script uses one key; `delete`, `xread` and pipelines are cut by node. `publish`
goes to the shard that owns the channel, so subscribers must be there too (`runtime/subscriptions.py`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import redis
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import AskError, ClusterDownError, RedisError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from runtime.redis_slots import Call, Command, Route, Slots
from runtime.redis_urls import Address

# Replies after which the command is sent again, to the node that has the key now. `MovedError` is an `AskError`.
_REDIRECTS = (AskError, ClusterDownError, TryAgainError)


class ClusterClient(Redis):
    """Executes each command at the node that has its key.

    `connect` makes the client of one node.
    """

    def __init__(self, slots: Slots, connect: Callable[[Address], Redis]) -> None:
        super().__init__(connection_pool=ConnectionPool())  # never used: each node has its own
        self._slots, self._connect = slots, connect
        self._nodes: dict[Address, Redis] = {}
        self._lock = asyncio.Lock()

    def node(self, address: Address) -> Redis:
        """Return the client of one node."""
        if address not in self._nodes:
            self._nodes[address] = self._connect(address)
        return self._nodes[address]

    async def primaries(self) -> dict[Address, Redis]:
        """Return the clients of the nodes that own slots now."""
        await self._follow(self._slots.refresh())
        return {address: self.node(address) for address in self._slots.primaries}

    def owner_of(self, channel: str) -> Address:
        """Return the node that has a shard channel."""
        return self._slots.owner_of_key(channel)

    async def know_slots(self) -> None:
        """Read the owners of slots again if they may have changed.

        One caller does so for all that wait.
        """
        if self._slots.outdated:
            async with self._lock:
                if self._slots.outdated:
                    await self._follow(self._slots.refresh())

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        await self.know_slots()
        return await self._follow(self._slots.route(args), **options)

    async def _follow(self, route: Route, **options: Any) -> Any:
        try:
            with closing(route):  # a caller that gives up ends it too
                call = next(route)
                while True:
                    try:
                        reply = await self._call(call, options)
                    except (RedisError, OSError) as error:
                        call = route.throw(error)
                    else:
                        call = route.send(reply)
        except StopIteration as end:
            return end.value

    async def _call(self, call: Call, options: Mapping[str, Any]) -> Any:
        node: Any = self.node(call.node)
        if not call.asking:
            return await node.execute_command(*call.command, **options)
        pipeline = node.pipeline(transaction=False)
        pipeline.execute_command("ASKING")
        pipeline.execute_command(*call.command, **options)
        return (await pipeline.execute())[1]

    async def ping(self, **_options: Any) -> bool:
        """Raise an error unless all primaries reply and the cluster serves all slots."""
        primaries: dict[Address, Any] = await self.primaries()
        states = await asyncio.gather(*(node.execute_command("CLUSTER", "INFO") for node in primaries.values()))
        if not states or not all(b"cluster_state:ok" in state for state in states):
            raise RedisConnectionError("the cluster does not serve all slots")
        return True

    def publish(self, channel: Any, message: Any, **_options: Any) -> Any:
        return self.spublish(channel, message)

    def pipeline(self, transaction: bool = False, shard_hint: str | None = None) -> Any:
        return ClusterPipeline(self, self._slots)

    async def delete(self, *names: Any) -> int:
        pipeline = self.pipeline()
        for name in names:
            pipeline.execute_command("DEL", name)
        return sum(await pipeline.execute())

    async def xread(self, streams: Any, count: int | None = None, block: int | None = None) -> Any:  # type: ignore[override]
        """Read several streams; each has its own `count`. It does not block."""
        counted = () if count is None else ("COUNT", count)
        pipeline = self.pipeline()
        for name, place in streams.items():
            pipeline.execute_command("XREAD", *counted, "STREAMS", name, place)
        return [stream for reply in await pipeline.execute() for stream in reply or ()]

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        nodes, self._nodes = self._nodes, {}
        await asyncio.gather(*(node.aclose() for node in nodes.values()))


class ClusterPipeline:
    """Commands that go to each node together, without a transaction."""

    def __init__(self, client: ClusterClient, slots: Slots) -> None:
        self._client, self._slots = client, slots
        self._commands: list[Command] = []

    def execute_command(self, *command: Any) -> None:
        self._commands.append(command)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Return the replies in the order of the commands."""
        await self._client.know_slots()
        parts: defaultdict[Address, list[int]] = defaultdict(list)
        for place, command in enumerate(self._commands):
            parts[self._slots.owner(command)].append(place)
        replies: list[Any] = [None] * len(self._commands)
        sent = [self._send(address, places, replies) for address, places in parts.items()]
        failures = [failure for failure in await asyncio.gather(*sent, return_exceptions=True) if failure]
        if failures:
            self._slots.outdated = True
            raise failures[0]
        for place, reply in enumerate(replies):
            if isinstance(reply, _REDIRECTS):
                self._slots.outdated = True
                replies[place] = await self._again(self._commands[place])
            if raise_on_error and isinstance(replies[place], Exception):
                raise replies[place]
        return replies

    async def _again(self, command: Command) -> Any:
        try:
            return await self._client.execute_command(*command)
        except ResponseError as error:
            return error

    async def _send(self, address: Address, places: list[int], replies: list[Any]) -> None:
        pipeline = self._client.node(address).pipeline(transaction=False)
        for place in places:
            pipeline.execute_command(*self._commands[place])
        for place, reply in zip(places, await pipeline.execute(raise_on_error=False), strict=True):
            replies[place] = reply


class BlockingClusterClient(redis.Redis):
    """Executes each command at the node that has its key, for threads, which share it."""

    def __init__(self, slots: Slots, connect: Callable[[Address], redis.Redis]) -> None:
        super().__init__(connection_pool=redis.ConnectionPool())  # never used: each node has its own
        self._slots, self._connect = slots, connect
        self._nodes: dict[Address, redis.Redis] = {}

    def primaries(self) -> list[redis.Redis]:
        """Return the clients of the nodes that own slots now."""
        self._follow(self._slots.refresh(), {})
        return [self._node(address) for address in self._slots.primaries]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return self._follow(self._slots.route(args), options)

    def close(self) -> None:
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.close()

    def _node(self, address: Address) -> redis.Redis:
        # Two threads may make a client at once; both use the one that is kept.
        return self._nodes.get(address) or self._nodes.setdefault(address, self._connect(address))

    def _follow(self, route: Route, options: Mapping[str, Any]) -> Any:
        try:
            call = next(route)
            while True:
                try:
                    reply = self._call(call, options)
                except (RedisError, OSError) as error:
                    call = route.throw(error)
                else:
                    call = route.send(reply)
        except StopIteration as end:
            return end.value

    def _call(self, call: Call, options: Mapping[str, Any]) -> Any:
        node: Any = self._node(call.node)
        if not call.asking:
            return node.execute_command(*call.command, **options)
        pipeline = node.pipeline(transaction=False)
        pipeline.execute_command("ASKING")
        pipeline.execute_command(*call.command, **options)
        return pipeline.execute()[1]
