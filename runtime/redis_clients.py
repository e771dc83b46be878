"""Redis for all who use it: one small pool of connections for the process, and a memory of its being away.

Redis never decides anything here: whoever asks it says what holds without an answer. Who needs a connection that waits
(a reader of streams) opens one of its own with `connect`. After a failure everybody goes without Redis until a timer
has found it back.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from runtime import process

T = TypeVar("T")

log = structlog.get_logger("runtime")

# 2,000 readers and all counters share these; a command takes a fraction of a millisecond.
CONNECTIONS = 2
# Nobody waits longer than this for Redis, and after a failure nobody asks it again for a while. Where timers run, one
# of them finds out earlier than that whether it is back.
ANSWER_SECONDS = 1.0
AWAY_SECONDS = 3.0
PROBE_SECONDS = 1.0

_client: "tuple[asyncio.AbstractEventLoop, Redis] | None" = None
_away_until = 0.0
_alone_turn = threading.Lock()


def connect(connections: int = CONNECTIONS, **options: object) -> Redis:
    """Return a client with connections of its own, to be closed by the caller; `options` are those of redis-py's."""
    bounds = {"socket_connect_timeout": ANSWER_SECONDS, "socket_timeout": ANSWER_SECONDS, **options}
    pool = BlockingConnectionPool.from_url(
        settings.REDIS_URL, max_connections=connections, timeout=ANSWER_SECONDS, **bounds
    )
    return Redis.from_pool(pool)


async def ask(question: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
    """Return Redis's answer; `otherwise` without REDIS_URL, and when it is away or too slow."""
    if not settings.REDIS_URL or not may_ask():
        return otherwise
    return await _answer(question, otherwise)


async def probe() -> None:
    """Find out whether Redis is back, so that no request has to wait for that. A timer."""
    if _away_until:
        await _answer(_ping, None)


async def _ping(redis: Redis) -> None:
    await redis.ping()


async def _answer(question: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await question(_shared())
    except (RedisError, OSError, TimeoutError) as error:
        failed(error)
        return otherwise
    answered()
    return answer


def from_thread(call: Callable[[], Coroutine[Any, Any, T]], otherwise: T) -> T:
    """Await `call()` on the serving loop, from a page's thread; `otherwise` when that takes too long.

    A command, which has no loop, runs one for this call. Never to be used by what the loop itself waits for.
    """
    loop = process.loop
    if _on_a_loop():
        return otherwise
    if loop is None or not loop.is_running():
        with _alone_turn:
            return asyncio.run(_alone(call))
    answer = asyncio.run_coroutine_threadsafe(call(), loop)
    try:
        return answer.result(2 * ANSWER_SECONDS)
    except TimeoutError:
        answer.cancel()
        return otherwise


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _alone(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return await call()
    finally:
        await aclose()


def away() -> bool:
    """Whether Redis failed a moment ago."""
    return time.monotonic() < _away_until


def may_ask() -> bool:
    """Whether to ask Redis now; for those who ask with a client of their own, and then say how it went.

    After a failure nobody asks for a while; then, where no timer has found out meanwhile, one caller does.
    """
    global _away_until
    if not _away_until:
        return True
    now = time.monotonic()
    if now < _away_until:
        return False
    _away_until = now + ANSWER_SECONDS
    return True


def failed(error: BaseException) -> None:
    """Redis did not answer: leave it alone for a while."""
    global _away_until
    if not _away_until:
        log.warning("redis is away", error=type(error).__name__)
    _away_until = time.monotonic() + AWAY_SECONDS


def answered() -> None:
    """Redis did answer."""
    global _away_until
    if _away_until:
        _away_until = 0.0
        log.info("redis is back")


async def aclose() -> None:
    """Close the shared connections; the next question opens new ones."""
    global _client
    client, _client = _client, None
    if client is not None:
        await client[1].aclose()


def _shared() -> Redis:
    global _client
    loop = asyncio.get_running_loop()
    if _client is None or _client[0] is not loop:
        _client = (loop, connect())
    return _client[1]
