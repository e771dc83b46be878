"""The key pool: which keys of an upstream may be used now, and one key in use for one attempt.

The health of keys is in the database, so all processes share it; how many attempts a key carries is known to each
process by itself.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from providers.models import ApiKey
from runtime import database

_in_use: Counter[int] = Counter()


@dataclass(frozen=True, slots=True)
class Key:
    """A key as routing sees it; `id` 0 with no secret stands for an upstream that needs none."""

    id: int
    secret: str | None
    max_concurrency: int | None = None
    cooldown_until: datetime | None = None
    quarantined: bool = False

    def usable(self, now: datetime) -> bool:
        return (
            not self.quarantined
            and (self.cooldown_until is None or self.cooldown_until <= now)
            and (self.max_concurrency is None or _in_use[self.id] < self.max_concurrency)
        )


KEYLESS = Key(0, None)


def choose(keys: Collection[Key], tried: Collection[int] = ()) -> Key | None:
    """Return the usable key that carries the fewest attempts, any of them when several do; None when there is none."""
    now = timezone.now()
    usable = [key for key in keys if key.id not in tried and key.usable(now)]
    if not usable:
        return None
    least = min(_in_use[key.id] for key in usable)
    return random.choice([key for key in usable if _in_use[key.id] == least])  # noqa: S311


@contextmanager
def lease(key: Key) -> Iterator[Key]:
    """Hold a key for one attempt."""
    _in_use[key.id] += 1
    try:
        yield key
    finally:
        _in_use[key.id] -= 1


def seconds_until_usable(keys: Collection[Key]) -> float | None:
    """Return when the first cooling key comes back; None when no clock brings one back."""
    ends = [key.cooldown_until for key in keys if key.cooldown_until and not key.quarantined]
    return max(0.0, (min(ends) - timezone.now()).total_seconds()) if ends else None


async def cool_down(key: Key, seconds: float, reason: str) -> None:
    """Leave the key out for a while, in every process; repeating is safe."""
    if key.id:
        until = timezone.now() + timedelta(seconds=seconds)
        await database.run(_rows(key).cool_down, until, reason)


async def quarantine(key: Key, reason: str) -> None:
    """Leave the key out until an operator clears it; repeating is safe."""
    if key.id:
        await database.run(_rows(key).quarantine, reason)


def _rows(key: Key):  # type: ignore[no-untyped-def]
    return ApiKey.objects.filter(id=key.id)
