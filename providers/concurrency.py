"""How many attempts a key carries at this moment: in this process, and with Redis in all of them together.

Every process counts its own. Only for a key with `max_concurrency` is Redis asked as well: a sorted set for each key
holds one member for each attempt, worth until its score, which its process renews. Redis away: each process keeps
the limit by itself.
"""

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from runtime.apps import runtime

# The attempts of a process that died stop counting after this.
LEASE_SECONDS = 60
RENEW_SECONDS = 20.0

# One atomic step: forget the dead, take a place if there is one. Times are those of Redis, so clocks need not agree.
_TAKE = """
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

in_use: Counter[int] = Counter()
_held: "set[Slot]" = set()
_tasks: set["asyncio.Task[object]"] = set()


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One attempt's place among those of its key; `shared` where Redis counts it too."""

    key_id: int
    token: str
    shared: bool


async def take(key_id: int, limit: int | None) -> Slot | None:
    """Take a place; None when all processes together have as many attempts with the key as it takes."""
    token = secrets.token_hex(8)
    granted = (
        None if limit is None else await runtime().redis.ask(lambda redis: _take(redis, key_id, token, limit), None)
    )
    if granted is False or (limit is not None and in_use[key_id] >= limit):
        return None
    in_use[key_id] += 1
    slot = Slot(key_id, token, shared=granted is True)
    _held.add(slot)
    return slot


def leave(slot: Slot) -> None:
    """Give the place back; nobody waits for Redis to hear of it. Repeating is safe."""
    if slot not in _held:
        return
    _held.discard(slot)
    in_use[slot.key_id] -= 1
    if slot.shared:
        task = asyncio.get_running_loop().create_task(runtime().redis.ask(lambda redis: _leave(redis, slot), None))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


async def renew() -> None:
    """Say that the attempts of this process go on. A timer."""
    for slot in [slot for slot in _held if slot.shared]:
        await runtime().redis.ask(partial(_renew, slot=slot), None)


async def _take(redis: Redis, key_id: int, token: str, limit: int) -> bool:
    return bool(await _eval(redis, _TAKE, key_id, token, limit, LEASE_SECONDS))


async def _leave(redis: Redis, slot: Slot) -> None:
    await redis.zrem(_name(slot.key_id), slot.token)


async def _renew(redis: Redis, slot: Slot) -> None:
    await _eval(redis, _RENEW, slot.key_id, slot.token, LEASE_SECONDS)


async def _eval(redis: Redis, script: str, key_id: int, *values: str | int) -> object:
    return await redis.eval(script, 1, _name(key_id), *values)


def _name(key_id: int) -> str:
    return f"rivulet:key:{key_id}:attempts"
