"""Redis for all packages: one small connection pool with a circuit breaker.

On a cluster there is one pool for each node.
Redis never decides anything here: each caller passes the value that holds without a reply. A caller that needs a
blocking connection (a stream reader) opens its own with `connect`. After a failure no caller uses Redis until a timer
has reached it again.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import redis
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from runtime import redis_sentinel, redis_urls
from runtime.process import ServingProcess
from runtime.redis_cluster import BlockingClusterClient, ClusterClient
from runtime.redis_slots import Slots

T = TypeVar("T")

log = structlog.get_logger("runtime")

# Connections of the shared pool: enough for 2,000 readers, because a command takes a fraction of a millisecond.
CONNECTIONS = 2
# Seconds that a caller waits for Redis; after that it continues without a reply.
REPLY_SECONDS = 1.0
# Seconds after a failure in which no caller uses Redis. Where timers run, `probe` shortens this.
AWAY_SECONDS = 3.0
# Seconds between two attempts of the timer to reach Redis after a failure.
PROBE_SECONDS = 1.0

_TIMEOUTS = {"socket_connect_timeout": REPLY_SECONDS, "socket_timeout": REPLY_SECONDS}


class RedisClients:
    """Connections to Redis of one process, and whether Redis replied to the last command."""

    def __init__(self, url: str, process: ServingProcess) -> None:
        self._for_threads: redis.Redis | None = None
        self.url = url
        self._process = process
        self._client: tuple[asyncio.AbstractEventLoop, Redis] | None = None
        # Until this time on the monotonic clock no caller uses Redis; 0 while Redis replies.
        self._away_until = 0.0
        # Threads without a serving loop take turns: each runs its own loop, and there is one shared client.
        self._thread_turn, self._thread_lock = threading.Lock(), threading.Lock()

    @property
    def url(self) -> str:
        """REDIS_URL; empty: there is no Redis, and every command returns its default."""
        return self._url

    @url.setter
    def url(self, url: str) -> None:
        self._url, self._parsed = url, redis_urls.parse(url or "redis://")
        # What one client of this process learns about nodes and sentinels holds for all of them.
        self._slots, self._sentinels = Slots(self._parsed.addresses), redis_sentinel.Sentinels(self._parsed)
        if self._for_threads is not None:
            self._for_threads.close()
        self._for_threads = None

    def tag(self, name: object) -> str:
        """Return the part of a key that alone decides on its slot in a cluster.

        On other servers it is the name as it is, which earlier releases use too.
        """
        return f"{{{name}}}" if self._parsed.kind == "cluster" else str(name)

    def connect(self, connections: int = CONNECTIONS, **options: object) -> Redis:
        """Return a client with its own connections, for the caller to close; `options` are redis-py's.

        On a cluster it has as many connections to each node.
        """
        bounds: dict[str, Any] = {"max_connections": connections, "timeout": REPLY_SECONDS, **_TIMEOUTS, **options}

        def connect_to(url: str) -> Redis:
            return Redis.from_pool(BlockingConnectionPool.from_url(url, **bounds))

        if self._parsed.kind == "cluster":
            return ClusterClient(self._slots, lambda node: connect_to(self._parsed.server(node)))
        if self._parsed.kind == "sentinel":
            return Redis.from_pool(redis_sentinel.pool(self._sentinels, **bounds))
        return connect_to(self.url)

    def for_threads(self) -> redis.Redis:
        """Return the client that all threads share.

        It has one connection, for which a thread waits `REPLY_SECONDS`.
        """
        with self._thread_lock:
            if self._for_threads is None:
                self._for_threads = self._connect_for_threads()
            return self._for_threads

    def _connect_for_threads(self) -> redis.Redis:
        bounds: dict[str, Any] = {"max_connections": 1, "timeout": REPLY_SECONDS, **_TIMEOUTS}

        def connect_to(url: str) -> redis.Redis:
            return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, **bounds))

        if self._parsed.kind == "cluster":
            return BlockingClusterClient(self._slots, lambda node: connect_to(self._parsed.server(node)))
        if self._parsed.kind == "sentinel":
            return redis.Redis.from_pool(redis_sentinel.blocking_pool(self._sentinels, **bounds))
        return connect_to(self.url)

    async def ask(self, command: Callable[[Redis], Awaitable[T]], default: T) -> T:
        """Return the reply of Redis, or `default` when there is none in time."""
        return await self._reply(command, default) if self.url and self.may_ask() else default

    async def probe(self) -> None:
        """Check whether Redis replies again; a timer calls this, so no request waits."""
        if self._away_until:
            await self._reply(ping, False)

    async def _reply(self, command: Callable[[Redis], Awaitable[T]], default: T) -> T:
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                reply = await command(self._shared())
        except (RedisError, OSError, TimeoutError) as error:
            self.failed(error)
            return default
        self.succeeded()
        return reply

    def _shared(self) -> Redis:
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            self._client = (loop, self.connect())
        return self._client[1]

    def from_thread(self, call: Callable[[], Coroutine[Any, Any, T]], default: T) -> T:
        """Await `call()` on the serving loop, from a view's thread; return `default` after a timeout.

        A management command has no serving loop, so this runs one for the call. The serving loop itself gets `default`,
        because it would wait for itself.
        """
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            return default
        loop = self._process.loop
        if loop is None or not loop.is_running():

            async def call_and_close() -> T:
                async with aclosing(self):
                    return await call()

            with self._thread_turn:
                return asyncio.run(call_and_close())
        reply = asyncio.run_coroutine_threadsafe(call(), loop)
        try:
            return reply.result(2 * REPLY_SECONDS)
        except TimeoutError:
            reply.cancel()
            return default

    @property
    def away(self) -> bool:
        """Whether Redis failed within the last seconds."""
        return time.monotonic() < self._away_until

    def may_ask(self) -> bool:
        """Return whether a caller may use Redis now.

        A caller with its own client reports `failed` or `succeeded` afterwards. After a failure no caller may for
        `AWAY_SECONDS`. Then one caller may try, unless the timer was first.
        """
        if not self._away_until:
            return True
        now = time.monotonic()
        if now < self._away_until:
            return False
        self._away_until = now + REPLY_SECONDS
        return True

    def failed(self, error: BaseException) -> None:
        """Note that Redis did not reply: no caller uses it for a while."""
        if not self._away_until:
            log.warning("redis is down, continuing without it", error=type(error).__name__)
        self._away_until = time.monotonic() + AWAY_SECONDS

    def succeeded(self) -> None:
        """Note that Redis replied: all callers may use it."""
        if self._away_until:
            self._away_until = 0.0
            log.info("redis replies again")

    async def aclose(self) -> None:
        """Close the shared connections; the next command opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client[1].aclose()


async def ping(client: Redis) -> bool:
    return bool(await client.ping())
