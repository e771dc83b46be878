"""Count the attempts that use each key now, to keep to its `max_concurrency`.

Every process counts its own attempts. Redis counts those of all processes together, but only for keys with a
`max_concurrency`. A sorted set for each key holds one member for each attempt. A member counts until its score, which
is a time that the attempt's process keeps moving forward. While Redis is away, each process keeps the limit alone.
"""

import secrets
from collections import Counter
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from runtime.redis_clients import RedisClients
from runtime.tasks import TaskSet

# Seconds after which the attempts of a process that died no longer count.
LEASE_SECONDS = 60
# Seconds between two renewals of the attempts of this process; three fit into a lease.
RENEW_SECONDS = 20.0

# One atomic step: remove ended leases, then add one if there is room. All times are those of Redis, so that the clocks
# of the processes need not agree.
_ACQUIRE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[3]) * 2)
return 1
"""
_RENEW = """
local ends = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], ends, ARGV[1])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]) * 2)
"""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One attempt's place among those of its key; `shared` where Redis counts its `token` too."""

    key_id: int
    token: str
    shared: bool


class ConcurrencyLimits:
    """Counts the attempts of each key and keeps `max_concurrency`; `lease_seconds` is that of Redis's members."""

    def __init__(self, redis: RedisClients, lease_seconds: int = LEASE_SECONDS) -> None:
        self._redis, self._lease_seconds = redis, lease_seconds
        # Attempts of this process by key id.
        self.in_use: Counter[int] = Counter()
        self._slots: set[Slot] = set()
        self.tasks = TaskSet()

    async def acquire(self, key_id: int, limit: int | None) -> Slot | None:
        """Return a slot; None when all processes together have `limit` attempts with the key."""
        if limit is not None and self.in_use[key_id] >= limit:
            return None
        # Counted before Redis is asked, so that attempts that ask at the same time count each other.
        self.in_use[key_id] += 1
        shared = limit is not None and bool(self._redis.url)
        slot = Slot(key_id, secrets.token_hex(8) if shared else "", shared)
        self._slots.add(slot)
        granted: object = 0
        try:
            granted = await self._granted(slot, limit)
        finally:
            if granted == 0:  # also when the caller was cancelled, whatever Redis has counted
                self.release(slot)
        return None if granted == 0 else slot

    def release(self, slot: Slot) -> None:
        """Give a slot back without waiting for Redis; repeating is safe."""
        if slot not in self._slots:
            return
        self._slots.discard(slot)
        self.in_use[slot.key_id] -= 1
        if slot.shared:
            self.tasks.start(self._redis.ask(lambda redis: redis.zrem(_name(slot.key_id), slot.token), None))

    async def renew(self) -> None:
        """Renew in Redis the attempts of this process. A timer."""
        for slot in [slot for slot in self._slots if slot.shared]:
            if slot in self._slots:  # it may have been released while an earlier one was renewed
                await self._redis.ask(partial(self._renew, slot), None)

    async def _granted(self, slot: Slot, limit: int | None) -> object:
        """Return 0 when Redis refuses the slot, None when it cannot be asked."""
        if limit is None or not slot.shared:
            return None
        return await self._redis.ask(
            lambda redis: _eval(redis, _ACQUIRE, slot.key_id, slot.token, limit, self._lease_seconds), None
        )

    async def _renew(self, slot: Slot, redis: Redis) -> object:
        return await _eval(redis, _RENEW, slot.key_id, slot.token, self._lease_seconds)


async def _eval(redis: Redis, script: str, key_id: int, *values: str | int) -> object:
    return await redis.eval(script, 1, _name(key_id), *values)


def _name(key_id: int) -> str:
    return f"rivulet:key:{key_id}:attempts"
