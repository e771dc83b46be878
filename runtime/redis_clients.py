"""Redis for all packages: one small pool of connections for the process, which remembers that Redis is away.

Redis never decides anything here: each caller says what holds without a reply. A caller that needs a connection that
waits (a reader of streams) opens its own with `connect`. After a failure no caller asks Redis until a timer has found
it back.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from runtime.process import ServingProcess

T = TypeVar("T")

log = structlog.get_logger("runtime")

# Connections of the shared pool: enough for 2,000 readers, because a command takes a fraction of a millisecond.
CONNECTIONS = 2
# Seconds that a caller waits for Redis at most.
REPLY_SECONDS = 1.0
# Seconds after a failure in which no caller asks Redis. Where timers run, `probe` ends them earlier.
AWAY_SECONDS = 3.0
# Seconds between two attempts of the timer to reach a Redis that is away.
PROBE_SECONDS = 1.0


class RedisClients:
    def __init__(self, url: str, process: ServingProcess) -> None:
        # Empty: there is no Redis, and every question gets its `otherwise`.
        self.url = url
        self._process = process
        self._client: tuple[asyncio.AbstractEventLoop, Redis] | None = None
        # Before this time, on the monotonic clock, no caller asks Redis; 0 while Redis replies.
        self._away_until = 0.0
        # Threads without a serving loop ask one at a time: each runs a loop, and there is one shared client.
        self._thread_turn = threading.Lock()

    def connect(self, connections: int = CONNECTIONS, **options: object) -> Redis:
        """Return a client with connections of its own, to be closed by the caller; `options` are those of redis-py."""
        bounds = {"socket_connect_timeout": REPLY_SECONDS, "socket_timeout": REPLY_SECONDS, **options}
        return Redis.from_pool(
            BlockingConnectionPool.from_url(self.url, max_connections=connections, timeout=REPLY_SECONDS, **bounds)
        )

    async def ask(self, question: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
        """Return the reply of Redis; `otherwise` without a URL, and when Redis is away or too slow."""
        return await self._reply(question, otherwise) if self.url and self.may_ask() else otherwise

    async def probe(self) -> None:
        """Find out whether Redis is back, so that no request has to wait for it. A timer."""
        if self._away_until:
            await self._reply(_ping, None)

    async def _reply(self, question: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                reply = await question(self._shared())
        except (RedisError, OSError, TimeoutError) as error:
            self.failed(error)
            return otherwise
        self.succeeded()
        return reply

    def _shared(self) -> Redis:
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            self._client = (loop, self.connect())
        return self._client[1]

    def from_thread(self, call: Callable[[], Coroutine[Any, Any, T]], otherwise: T) -> T:
        """Await `call()` on the serving loop, from a page's thread; `otherwise` when that takes too long.

        A command has no serving loop and runs one for this call. The serving loop must not wait for such a thread.
        """
        loop = self._process.loop
        if _on_a_loop():
            return otherwise
        if loop is None or not loop.is_running():
            with self._thread_turn:
                return asyncio.run(self._call_and_close(call))
        reply = asyncio.run_coroutine_threadsafe(call(), loop)
        try:
            return reply.result(2 * REPLY_SECONDS)
        except TimeoutError:
            reply.cancel()
            return otherwise

    async def _call_and_close(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await call()
        finally:
            await self.aclose()

    @property
    def away(self) -> bool:
        """Whether Redis failed a moment ago."""
        return time.monotonic() < self._away_until

    def may_ask(self) -> bool:
        """Return whether to ask Redis now; a caller with its own client then reports `failed` or `succeeded`.

        After a failure no caller may ask for a while. Then one caller may, unless a timer has found Redis back before.
        """
        if not self._away_until:
            return True
        now = time.monotonic()
        if now < self._away_until:
            return False
        self._away_until = now + REPLY_SECONDS
        return True

    def failed(self, error: BaseException) -> None:
        """Leave Redis alone for a while, because it did not reply."""
        if not self._away_until:
            log.warning("redis is away", error=type(error).__name__)
        self._away_until = time.monotonic() + AWAY_SECONDS

    def succeeded(self) -> None:
        """Let all callers ask again, because Redis replied."""
        if self._away_until:
            self._away_until = 0.0
            log.info("redis is back")

    async def aclose(self) -> None:
        """Close the shared connections; the next question opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client[1].aclose()


async def _ping(redis: Redis) -> None:
    await redis.ping()


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
