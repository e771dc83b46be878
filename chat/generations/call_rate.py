"""Limit how many calls of /v1 each user starts within a minute.

Redis counts the calls of all processes together. Without Redis, and while it is away, each process counts its own.
"""

import secrets
import time
from collections import defaultdict, deque

from django.conf import settings
from redis.asyncio import Redis

from accounts.token_limits import TokenLimits
from runtime.redis_clients import RedisClients

WINDOW_MS = 60_000
# Users whose calls a process remembers at most, before it forgets those without a recent call.
MAX_USERS = 1_000

# One atomic step: forget old calls, then add one if there is room. It returns the milliseconds to wait, or 0. All times
# are those of Redis, so that the clocks of the processes need not agree.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] + window - now
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], window)
return 0
"""


class CallRate:
    """Counts the calls that each user started within the last minute."""

    def __init__(self, redis: RedisClients) -> None:
        self._redis = redis
        # Times of this process's calls by user, in milliseconds, oldest first.
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)

    async def take(self, user_id: int) -> float:
        """Count a call and return 0; beyond API_REQUESTS_PER_MINUTE only return the seconds to wait."""
        return await self._take(str(user_id), settings.API_REQUESTS_PER_MINUTE)

    async def take_with(self, token: TokenLimits) -> float:
        """Do the same for an API token, up to its own limit."""
        return await self._take(f"token-{token.id}", token.requests_per_minute or 0)

    async def _take(self, who: str, limit: int) -> float:
        if not limit:
            return 0.0
        wait_ms = await self._redis.ask(lambda redis: _take(redis, self._redis.tag(who), limit), None)
        return (self._take_here(who, limit) if wait_ms is None else wait_ms) / 1000

    def _take_here(self, who: str, limit: int) -> float:
        now = time.monotonic() * 1000
        if len(self._calls) > MAX_USERS:
            for other in [other for other, calls in self._calls.items() if calls[-1] <= now - WINDOW_MS]:
                del self._calls[other]
        calls = self._calls[who]
        while calls and calls[0] <= now - WINDOW_MS:
            calls.popleft()
        if len(calls) >= limit:
            return calls[0] + WINDOW_MS - now
        calls.append(now)
        return 0.0


async def _take(redis: Redis, who: str, limit: int) -> float:
    name = f"rivulet:api-calls:{who}"
    return float(await redis.eval(_TAKE, 1, name, secrets.token_hex(8), limit, WINDOW_MS))
