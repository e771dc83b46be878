"""Redis counters beside the ledger: they refuse early and show what remains, and never decide.

A counter is one value for a user and a day: the figures of all quotas, and when the ledger gave them (`read_at`).
Redis keeps it for half a minute. A change puts an empty value in its place once it is committed. docs/adr/0016 gives
the reasons.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from django.db import connection
from django.utils import timezone
from pydantic import Field, TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from quotas import days
from quotas.snapshot import QuotaSnapshot
from quotas.statements import MOST
from runtime import database
from runtime.process import ServingProcess
from runtime.redis_clients import RedisClients

# Seconds after which a counter is ignored, and after which Redis drops it.
TRUSTED_SECONDS = 30
# Seconds by which the clocks of two hosts may differ. A counter that is further ahead is ignored.
CLOCK_SKEW_SECONDS = 5
# Seconds after a change in which Redis accepts no counter, so that a reader cannot store figures from before it.
CHANGED_SECONDS = 2

Whole = Annotated[int, Field(ge=0, le=MOST)]


@dataclass(frozen=True, slots=True)
class Figures:
    """One user's figures for a quota and a day (limit None: no limit)."""

    used: Whole
    limit: Whole | None
    credits: Whole

    @property
    def exhausted(self) -> bool:
        return self.limit is not None and self.used >= self.limit and not self.credits

    @property
    def remaining(self) -> int | None:
        """Return the day's rest and the credits; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used) + self.credits


@dataclass(frozen=True, slots=True)
class Counter:
    """The value in Redis: figures by quota id, and their Unix second."""

    read_at: int
    quotas: dict[int, Figures]


_JSON = TypeAdapter(Counter)


class QuotaHints:
    """The counters of all users. Without REDIS_URL, and while Redis is away, there are none."""

    def __init__(self, redis: RedisClients, process: ServingProcess, snapshot: QuotaSnapshot) -> None:
        self._redis, self._process, self._snapshot = redis, process, snapshot
        # Commands of database threads that Redis has not replied to.
        self._pending: set[Future[Any]] = set()

    async def exhausted(self, user_id: int, model: str) -> bool:
        """Return whether the user's counter shows nothing left for a model (its slug).

        Because a counter may be old, only `ledger.confirm_exhausted` refuses.
        """
        table = self._snapshot.last() if self._redis.url else None
        quota_id = table.quota_of.get(model) if table else None
        if quota_id is None:
            return False
        figures = (await self.read(user_id)).get(quota_id)
        return figures is not None and figures.exhausted

    async def read(self, user_id: int) -> dict[int, Figures]:
        """Return today's figures by quota id; empty without a counter that is fresh."""
        now = timezone.now()
        value = await self._ask(lambda redis: redis.get(self._key(user_id, now)))
        try:
            counter = _JSON.validate_json(value or b"")
        except ValidationError:
            return {}
        fresh = -CLOCK_SKEW_SECONDS <= now.timestamp() - counter.read_at < TRUSTED_SECONDS
        return counter.quotas if fresh else {}

    def read_from_thread(self, user_id: int) -> dict[int, Figures]:
        """Return the same to synchronous code; empty where it must not wait for Redis."""
        return self._redis.from_thread(lambda: self.read(user_id), {}) if self._redis.url and _may_wait() else {}

    def store(self, user_id: int, figures: Mapping[int, Figures], read_at: datetime) -> None:
        """Store the ledger's figures of `read_at`, unless a counter or recent change is there."""
        value = _JSON.dump_json(Counter(int(read_at.timestamp()), dict(figures)))
        self._send(lambda redis: redis.set(self._key(user_id, read_at), value, nx=True, ex=TRUSTED_SECONDS))

    def changed(self, user_id: int) -> None:
        """Delete the user's counter after a committed change, and keep it away a moment."""
        self._send(lambda redis: redis.set(self._key(user_id, timezone.now()), b"", ex=CHANGED_SECONDS))

    async def sent(self) -> None:
        """Return when Redis has replied to all commands of database threads, or is away.

        A client that learns of a change then finds it in every process.
        """
        # A command that failed is a lost hint, never a lost generation.
        if self._pending:
            await asyncio.gather(*map(asyncio.wrap_future, list(self._pending)), return_exceptions=True)

    def _send(self, command: Callable[[Redis], Awaitable[Any]]) -> None:
        """Send a command, and wait for its reply where that is allowed."""
        if not self._redis.url:
            return
        if _may_wait():
            self._redis.from_thread(lambda: self._ask(command), None)
        elif self._process.loop and self._process.loop.is_running():
            pending = asyncio.run_coroutine_threadsafe(self._ask(command), self._process.loop)
            self._pending.add(pending)
            pending.add_done_callback(self._pending.discard)

    def _key(self, user_id: int, now: datetime) -> str:
        return key(self._redis.tag(user_id), now)

    async def _ask(self, command: Callable[[Redis], Awaitable[Any]]) -> Any:
        return await self._redis.ask(lambda redis: _tolerate(command(redis)), None)


def key(user: int | str, now: datetime) -> str:
    """Return the counter's name in Redis, for a user's id or its tag."""
    return f"rivulet:quota:{user}:{days.day_of(now)}"


def _may_wait() -> bool:
    """Return whether this thread may wait for Redis: no database thread, no transaction."""
    return not database.inside() and not connection.in_atomic_block


async def _tolerate(reply: Awaitable[Any]) -> Any:
    """Return Redis's reply; None for a full memory or a key of another type."""
    try:
        return await reply
    except ResponseError:
        return None
