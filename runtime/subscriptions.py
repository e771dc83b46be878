"""The connections over which this process receives messages.

There is one to a server, and one to each primary of a cluster.
A cluster has sharded publish and subscribe: a channel belongs to a slot, and only the node that owns it passes on its
messages. When a slot moves, its former node ends the subscriptions; then all begin again with the new owners.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from runtime.redis_cluster import ClusterClient
from runtime.redis_urls import Address

# Where the connection to a server that is no cluster stands among connections.
_ONE = Address("", 0)


class Subscriptions:
    """Subscribes to channels at the nodes that have them."""

    def __init__(self, client: Redis, connections: Mapping[Address, PubSub]) -> None:
        self._cluster = client if isinstance(client, ClusterClient) else None
        self._by_node = connections
        self._of: dict[str, PubSub] = {}

    @property
    def connections(self) -> Iterable[PubSub]:
        """Return the connections, for one reader of each."""
        return self._by_node.values()

    async def subscribe(self, channels: Iterable[str]) -> None:
        if self._cluster is None:
            await self._by_node[_ONE].subscribe(*channels)
            return
        for channel in channels:  # one by one, because channels of one command must have the same slot
            connection = self._by_node.get(self._cluster.owner_of(channel))
            if connection is None:
                raise RedisConnectionError("a node has joined the cluster")
            self._of[channel] = connection
            await connection.ssubscribe(channel)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        if self._cluster is None:
            await self._by_node[_ONE].unsubscribe(*channels)
            return
        for channel in channels:
            await self._of.pop(channel).sunsubscribe(channel)

    def check(self, connection: PubSub, message: Mapping[str, Any]) -> None:
        """Raise an error when a message ends a subscription because its slot has moved."""
        if message["type"] == "sunsubscribe" and message["channel"] in connection.shard_channels:
            raise RedisConnectionError("a slot has moved")


@asynccontextmanager
async def subscriptions(client: Redis, first: str) -> AsyncGenerator[Subscriptions, None]:
    """Open the connections, and subscribe each to `first`: redis-py cannot read one without a subscription."""
    async with AsyncExitStack() as stack:
        nodes = await client.primaries() if isinstance(client, ClusterClient) else {_ONE: client}
        connections = {address: await stack.enter_async_context(node.pubsub()) for address, node in nodes.items()}
        for connection in connections.values():
            await connection.subscribe(first)
        yield Subscriptions(client, connections)
