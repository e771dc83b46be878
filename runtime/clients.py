"""Redis for all who use it: one small pool of connections for the process, and a memory of its being away.

Redis never decides anything here: whoever asks it says what holds without an answer. Who needs a connection that waits
(a reader of streams) opens one of its own with `connect`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

T = TypeVar("T")

log = structlog.get_logger("runtime")

# 2,000 readers and all counters share these; a command takes a fraction of a millisecond.
CONNECTIONS = 2
# Nobody waits longer than this for Redis, and after a failure nobody asks it again for a while.
ANSWER_SECONDS = 1.0
AWAY_SECONDS = 2.0

_client: "tuple[asyncio.AbstractEventLoop, Redis] | None" = None
_away_until = 0.0


def connect(connections: int = CONNECTIONS, **options: object) -> Redis:
    """Return a client with connections of its own, to be closed by the caller; `options` are those of redis-py's."""
    bounds = {"socket_connect_timeout": ANSWER_SECONDS, "socket_timeout": ANSWER_SECONDS, **options}
    pool = BlockingConnectionPool.from_url(
        settings.REDIS_URL, max_connections=connections, timeout=ANSWER_SECONDS, **bounds
    )
    return Redis.from_pool(pool)


async def ask(question: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
    """Return Redis's answer; `otherwise` without REDIS_URL, and when it is away or too slow."""
    global _away_until
    if not settings.REDIS_URL or time.monotonic() < _away_until:
        return otherwise
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await question(_shared())
    except (RedisError, OSError, TimeoutError) as error:
        _away_until = time.monotonic() + AWAY_SECONDS
        log.warning("redis is away", error=type(error).__name__)
        return otherwise


def away() -> bool:
    """Whether Redis failed a moment ago."""
    return time.monotonic() < _away_until


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
