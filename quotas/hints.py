"""Redis counters beside the ledger: what it last said, so that pages and refusals need not ask it. They decide nothing.

One hash for each user, quota and day, kept past midnight. Its fields (`counts.py`) are replaced by one script only,
and only by a copy whose revision is at least as new, so copies may arrive in any order. Why that is enough, and what
happens to counters that are lost, late or changed by hand: docs/adr/0010.

The ledger notes what it changed or read (`note`), after the commit; whoever crossed into the database then awaits
`flush`. No transaction and no database thread ever waits for Redis.
"""

import asyncio
import threading
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from django.conf import settings
from django.utils import timezone
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from quotas import counts, days, snapshot
from quotas.counts import NOTHING, Counts, Found, Raw
from runtime import database
from runtime.apps import runtime

# A counter that nobody has compared with the ledger for so long is compared before it is believed.
TRUSTED_SECONDS = 30
# How far the clocks of two hosts may be apart.
CLOCK_SKEW_SECONDS = 5
# How long a counter outlives its day: its last answers end after midnight, and clocks are set back.
AFTERLIFE_SECONDS = 7200
# Told to Redis at once; remembered here. What is dropped beyond that is found out by comparing.
BATCH, MOST = 100, 10_000
# What Redis knows already is told again after so long, so that it stays trusted.
TELL_AGAIN_SECONDS = 10
# Nonsense that comes back as fast as we replace it is somebody's experiment.
ROUNDS = 3

# KEYS: counters. ARGV: seconds to live, then for each counter the new and the doubted value of both fields.
_TELL = """
local stored = {}
for number, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key)['ok']
  if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
  for place, field in ipairs({'used', 'credits'}) do
    local at = 4 * number + 2 * place - 4
    local new, doubted = ARGV[at], ARGV[at + 1]
    local found = redis.call('HGET', key, field)
    local revision = found and tonumber(string.match(found, '^%d+'))
    if not revision or found == doubted or revision <= tonumber(string.match(new, '^%d+')) then
      redis.call('HSET', key, field, new)
      found = new
    end
    stored[#stored + 1] = found
  end
  redis.call('EXPIRE', key, ARGV[1])
end
return stored
"""

FIELDS = ["used", "credits"]

Entry = tuple[Counts, Raw]


# What Redis has not been told yet, with what is to be doubted there; pages and database threads add to it.
_untold: dict[str, Entry] = {}
# What Redis was told last, or had instead: spares asking it again about those who ask question after question.
_told: dict[str, Entry] = {}
_guard = threading.Lock()
_turn: "tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None" = None


# --- telling Redis what the ledger said ------------------------------------------------------------------------------


def note(read: Iterable[Counts], seen: Mapping[int, Found]) -> None:
    """Take note of what the ledger said, after the commit. Counters `seen` before it was read give way if they differ.

    On a page's thread, and in a command, it returns once Redis knows or has failed; behind the database door at once.
    """
    with _guard:
        for one in read:
            if one.quota in seen:
                _add(one, seen[one.quota].raw)
            elif not _knows(one):
                _add(one, NOTHING)
    if not database.inside():
        runtime().redis.from_thread(flush, None)


def _add(one: Counts, doubted: Raw) -> None:
    if earlier := _untold.pop(one.key, None):
        one, doubted = one.merged(earlier[0]), doubted if any(doubted) else earlier[1]
    _untold[one.key] = (one, doubted)
    _bound(_untold)


def _knows(one: Counts) -> bool:
    """Whether Redis was told the same a moment ago, or what is newer: that would be news only to one that lost it.

    An answer that ends well was counted when it began.
    """
    told = _told.get(one.key)
    if told is None:
        return False
    again = told[0].same(one) and 0 <= one.read_at - told[0].read_at < TELL_AGAIN_SECONDS
    return again or told[0].outdates(one)


def _bound(memory: dict[str, Any]) -> None:
    if len(memory) > MOST:
        del memory[next(iter(memory))]


async def flush() -> None:
    """Tell Redis all that was noted; return when it knows, or when it is away. Also a timer, for when it is back."""
    async with _one_at_a_time():
        while (batch := _next_batch()) and await _tell(batch):
            pass


def _next_batch() -> dict[str, Entry]:
    with _guard:
        return dict(islice(_untold.items(), BATCH))


def _one_at_a_time() -> asyncio.Lock:
    """Whoever waits here finds that the one before has told theirs too."""
    global _turn
    loop = asyncio.get_running_loop()
    if _turn is None or _turn[0] is not loop:
        _turn = (loop, asyncio.Lock())
    return _turn[1]


async def _tell(batch: Mapping[str, Entry]) -> bool:
    """Tell Redis, and again where it keeps what is not ours; return whether it knows."""
    wanted = batch
    for _round in range(ROUNDS):
        stored = await runtime().redis.ask(partial(_run_script, entries=wanted), None)
        if stored is None:
            return False
        wanted = {name: entry for name, raw in stored.items() if (entry := _remember(wanted[name][0], raw))}
        if not wanted:
            break
    with _guard:
        for name, entry in batch.items():
            if _untold.get(name) is entry:  # else there is news
                del _untold[name]
    return True


def _remember(one: Counts, raw: Raw) -> Entry | None:
    """Remember what Redis has now; return what to tell it again, with what is not ours there, if there is any."""
    said = counts.read(one.user, one.quota, one.day, raw)
    if said is None:
        return one, counts.not_ours(one.key, raw)
    with _guard:
        _told.pop(one.key, None)
        _told[one.key] = (said, raw)
        _bound(_told)
    return None


async def _run_script(redis: Redis, entries: Mapping[str, Entry]) -> dict[str, Raw]:
    lifetime = int(days.seconds_to_reset(timezone.now())) + AFTERLIFE_SECONDS
    values = [
        value
        for one, doubted in entries.values()
        for new, old in zip(one.written(), doubted, strict=True)
        for value in (new, old)
    ]
    answer: list[bytes] = await redis.register_script(_TELL)(keys=list(entries), args=[lifetime, *values])
    texts = [_text(value) for value in answer]
    return dict(zip(entries, zip(texts[::2], texts[1::2], strict=True), strict=True))


# --- asking Redis ----------------------------------------------------------------------------------------------------


async def look(user_id: int, quota_ids: Collection[int], now: datetime) -> dict[int, Found]:
    """Return what is counted today, by quota; nothing while Redis is away, and without it."""
    day = days.day_of(now)
    names = [counts.key(user_id, quota_id, day) for quota_id in quota_ids]
    answers = await runtime().redis.ask(partial(_read, names=names), None) or []
    found = {}
    for quota_id, name, raw in zip(quota_ids, names, answers, strict=False):
        said, untold, told = counts.read(user_id, quota_id, day, raw), _untold.get(name), _told.get(name)
        if untold:  # this process knows better
            found[quota_id] = Found(untold[0], False, raw)
        else:
            # Redis may have lost what it was told, and have heard old news since.
            outdated = said is not None and told is not None and told[0].outdates(said)
            found[quota_id] = Found(said, said is not None and not outdated and _recent(said, now), raw)
    return found


def look_from_thread(user_id: int, quota_ids: Collection[int], now: datetime) -> dict[int, Found]:
    """Do the same from a page's thread."""
    if not settings.REDIS_URL or database.inside():
        return {}
    return runtime().redis.from_thread(lambda: look(user_id, quota_ids, now), {})


async def seems_exhausted(user_id: int, model: str) -> Found | None:
    """Return the counter that says that nothing is left for a question to this model (its slug), else None.

    The ledger has the last word (`ledger.check`); that is why here what was told lately is as good as what Redis has.
    """
    known, now = snapshot.last(), timezone.now()
    quota_id = known.quota_of.get(model) if known and settings.REDIS_URL else None
    if quota_id is None:
        return None
    told = _told.get(counts.key(user_id, quota_id, days.day_of(now)))
    if told and _recent(told[0], now):
        return Found(told[0], False, told[1]) if told[0].none_left else None
    found = (await look(user_id, [quota_id], now)).get(quota_id)
    return found if found and found.counts and found.counts.none_left else None


def _recent(said: Counts, now: datetime) -> bool:
    return -CLOCK_SKEW_SECONDS <= now.timestamp() - said.read_at < TRUSTED_SECONDS


async def _read(redis: Redis, names: list[str]) -> list[Raw]:
    """Return both fields of each; a key of which somebody made something else is no counter."""
    if len(names) == 1:  # the hot path: half the cost of a pipeline
        try:
            return [_fields(await redis.hmget(names[0], FIELDS))]
        except ResponseError:
            return [NOTHING]
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.hmget(name, FIELDS)
    return [_fields(answer) for answer in await pipeline.execute(raise_on_error=False)]


def _fields(answer: Any) -> Raw:
    return (_text(answer[0]), _text(answer[1])) if isinstance(answer, list) else NOTHING


async def clear() -> int | None:
    """Take all counters away, those of other days too; return how many there were, None when Redis is away."""
    cursor = count = 0
    _told.clear()
    while True:
        step = await runtime().redis.ask(partial(_clear_some, cursor=cursor), None)
        if step is None:
            return None
        cursor, count = step[0], count + step[1]
        if not cursor:
            return count


async def _clear_some(redis: Redis, cursor: int) -> tuple[int, int]:
    following, names = await redis.scan(cursor, match=counts.key("*", "*", "*"), count=1000)
    return int(following), int(await redis.unlink(*names)) if names else 0


def untold() -> int:
    """Return how many counters wait to be told to Redis."""
    return len(_untold)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
