"""Connections to the primary that sentinels watch; each new connection asks them where it is.

After a failover the sentinels close the connections to the old primary, and a write that reaches it nevertheless closes
its connection, so that pools fill with connections to the new one.
"""

import socket
from collections.abc import Iterator
from typing import Any

import redis
from redis import asyncio as aredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError

from runtime.redis_urls import Address, RedisUrl

# Seconds for one sentinel, and for all of them, before a caller gives up.
ONE_SECONDS, ALL_SECONDS = 0.3, 0.9


class Sentinels:
    """The sentinels of REDIS_URL. Threads may share it."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        # The one that is asked first in front.
        self._addresses = url.addresses
        timeout = min(ONE_SECONDS, ALL_SECONDS / max(1, len(url.addresses)))
        self._timeouts: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service)

    @property
    def primary_url(self) -> str:
        """The primary's URL but for its address, in whose place a sentinel's stands."""
        return self._url.server(self._url.addresses[0])

    async def primary(self) -> Address:
        """Return where the primary is, from the first sentinel that knows."""
        for url in self._in_turn():
            client: Any = aredis.Redis.from_url(url, **self._timeouts)
            try:
                found = await client.execute_command(*self._question)
            except (RedisError, OSError):
                continue
            finally:
                await client.aclose()
            if found:
                return _address(found)
        raise RedisConnectionError("no sentinel knows the primary")

    def primary_in_thread(self) -> Address:
        """Do the same without an event loop."""
        for url in self._in_turn():
            with redis.Redis.from_url(url, **self._timeouts) as client:
                try:
                    found = client.execute_command(*self._question)
                except (RedisError, OSError):
                    continue
            if found:
                return _address(found)
        raise RedisConnectionError("no sentinel knows the primary")

    def _in_turn(self) -> Iterator[str]:
        """Yield the URL of each sentinel once.

        One that did not help the caller comes last from then on.
        """
        for address in self._addresses:
            yield self._url.sentinel(address)
            self._addresses = (*(other for other in self._addresses if other != address), address)


class PrimaryConnection(aredis.Connection):
    """A connection to the primary."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)

    async def _connect(self) -> None:
        self.host, self.port = await self._sentinels.primary()
        await super()._connect()  # type: ignore[no-untyped-call]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ReadOnlyError as error:
            await self.disconnect()
            raise RedisConnectionError("the former primary is a replica now") from error


class PrimarySSLConnection(PrimaryConnection, aredis.SSLConnection):
    """The same with TLS."""


class BlockingPrimaryConnection(redis.Connection):
    """A connection to the primary for threads."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        self.host, self.port = self._sentinels.primary_in_thread()
        return super()._connect()  # type: ignore[no-untyped-call, no-any-return]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except ReadOnlyError as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError("the former primary is a replica now") from error


class BlockingPrimarySSLConnection(BlockingPrimaryConnection, redis.SSLConnection):
    """The same with TLS."""


def pool(sentinels: Sentinels, **bounds: Any) -> aredis.BlockingConnectionPool:
    """Return a pool of connections to the primary; `bounds` are redis-py's options."""
    made = aredis.BlockingConnectionPool.from_url(sentinels.primary_url, sentinels=sentinels, **bounds)
    tls = issubclass(made.connection_class, aredis.SSLConnection)
    made.connection_class = PrimarySSLConnection if tls else PrimaryConnection
    return made


def blocking_pool(sentinels: Sentinels, **bounds: Any) -> redis.BlockingConnectionPool:
    """Return the same for threads."""
    made = redis.BlockingConnectionPool.from_url(sentinels.primary_url, sentinels=sentinels, **bounds)
    tls = issubclass(made.connection_class, redis.SSLConnection)
    made.connection_class = BlockingPrimarySSLConnection if tls else BlockingPrimaryConnection
    return made


def _address(found: Any) -> Address:
    host, port = found
    return Address(host.decode(), int(port))
