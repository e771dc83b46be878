"""Lease the keys of an upstream to attempts, and leave out keys that fail.

The health of keys is stored in the database, so all processes share it. `concurrency` counts the attempts that use each
key. A key whose cooldown has passed is half-open: one attempt at a time probes it, and the first visible character puts
it back to full use.
"""

import random
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

import structlog
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from providers.concurrency import ConcurrencyLimits, Slot
from providers.models import ApiKey, KeyTrouble, KeyTroubleQuerySet, Upstream
from runtime import database
from runtime.tasks import TaskSet

# Time for which only one attempt may probe a key. Then another may, because the first one's process may have died.
PROBE_LEASE = timedelta(seconds=120)
# Stands for all models in a key's troubles.
ANY_MODEL = ""

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger("providers")


@dataclass(frozen=True, slots=True)
class Trouble:
    """The reason why a key is left out, as the configuration last read it."""

    cooldown_until: datetime | None
    quarantined: bool
    probe_until: datetime | None
    reason: str = ""

    def excludes(self, now: datetime) -> bool:
        """Return whether no attempt may use the key, not even to probe it."""
        being_probed = self.probe_until is not None and self.probe_until > now
        return self.quarantined or being_probed or (self.cooldown_until is not None and self.cooldown_until > now)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as routing sees it; `id` 0: the upstream needs no key."""

    id: int
    secret: str | None
    max_concurrency: int | None = None
    troubles: Mapping[str, Trouble] = field(default_factory=dict)

    def troubles_with(self, model: str) -> dict[str, Trouble]:
        """Return the troubles that concern a model, by their scope."""
        return {scope: self.troubles[scope] for scope in (ANY_MODEL, model) if scope in self.troubles}

    def seconds_excluded(self, model: str) -> float | None:
        """Return the seconds until the cooldown ends; None when no time ends it."""
        troubles = self.troubles_with(model).values()
        ends = [trouble.cooldown_until for trouble in troubles if trouble.cooldown_until]
        if not ends or any(trouble.quarantined for trouble in troubles):
            return None
        return max(0.0, (max(ends) - timezone.now()).total_seconds())


KEYLESS = Key(0, None)


class Lease(AbstractAsyncContextManager["Lease"]):
    """A key in use for one attempt; `scopes` names the troubles that this attempt probes."""

    def __init__(self, pool: "KeyPool", key: Key, slot: Slot, scopes: Collection[str] = ()) -> None:
        self.key = key
        self._pool, self._slot, self._scopes = pool, slot, tuple(scopes)

    @property
    def probing(self) -> bool:
        return bool(self._scopes)

    def mark_recovered(self) -> None:
        """Put a probed key back to use, in a task: the stream does not wait."""
        scopes, self._scopes = self._scopes, ()
        self._pool.tasks.start(_store(_rows(self.key.id, scopes).filter(quarantined_at=None).delete))

    async def __aexit__(self, *error: object) -> None:
        self._pool.limits.release(self._slot)
        if self._scopes:  # the attempt ended before visible text: the next one may probe
            scopes, self._scopes = self._scopes, ()
            self._pool.tasks.start(_store(_rows(self.key.id, scopes).update, probe_until=None))


class KeyPool:
    """Leases keys to attempts, within `limits`, and stores how the attempts ended."""

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self.limits = limits
        self.tasks = TaskSet()

    def usable(self, keys: Collection[Key], model: str, tried: Collection[int] = ()) -> list[Key]:
        """Return the keys with which an attempt may begin now, if only as a probe."""
        now = timezone.now()
        return [
            key
            for key in keys
            if key.id not in tried
            and (key.max_concurrency is None or self.limits.in_use[key.id] < key.max_concurrency)
            and not any(trouble.excludes(now) for trouble in key.troubles_with(model).values())
        ]

    async def lease(self, keys: Collection[Key], model: str, tried: Collection[int] = ()) -> Lease | None:
        """Return a key that may be used now, None when there is none.

        A key that waits for its probe comes first, because it would never come back while others carry the load. Among
        healthy keys one with the fewest attempts is taken, by chance where several have as few.
        """
        usable = self.usable(keys, model, tried)
        for key in usable:
            if key.troubles_with(model) and (probing := await self._probe(key, model)):
                return probing
        healthy = [key for key in usable if not key.troubles_with(model)]
        while healthy:
            least = min(self.limits.in_use[key.id] for key in healthy)
            key = random.choice([key for key in healthy if self.limits.in_use[key.id] == least])  # noqa: S311
            if slot := await self.limits.acquire(key.id, key.max_concurrency):
                return Lease(self, key, slot)
            healthy.remove(key)
        return None

    async def _probe(self, key: Key, model: str) -> Lease | None:
        slot = await self.limits.acquire(key.id, key.max_concurrency)
        if slot is None:
            return None
        claimed = None
        try:
            claimed = await _store(_claim_probe, key.id, list(key.troubles_with(model)))
        finally:
            if claimed is None:
                self.limits.release(slot)
        return None if claimed is None else Lease(self, key, slot, claimed)

    async def lower_concurrency(self, key: Key) -> int:
        """Lower `max_concurrency` to one attempt less than now, until an operator raises it."""
        limit = max(1, self.limits.in_use[key.id] - 1)
        higher = Q(max_concurrency=None) | Q(max_concurrency__gt=limit)
        if key.id:
            await _store(ApiKey.objects.filter(higher, id=key.id).update, max_concurrency=limit)
        return limit


async def cool_down(key: Key, model: str, seconds: float, reason: str) -> None:
    """Leave the key out for a while, for one model or for `ANY_MODEL`."""
    if key.id:
        until = timezone.now() + timedelta(seconds=seconds)
        await _store(_change, key.id, model, lambda rows: rows.cool_down(until, reason[:200]))


async def cool_down_upstream(slug: str, seconds: float, reason: str) -> None:
    """Leave an upstream out for a while, whatever the key; repeating is safe."""
    until = timezone.now() + timedelta(seconds=seconds)
    await _store(Upstream.objects.filter(slug=slug).cool_down, until, reason[:200])


async def quarantine(key: Key, model: str, reason: str) -> None:
    """Leave the key out until an operator clears it; the first reason stays."""
    if key.id:
        values = {"quarantined_at": timezone.now(), "status_reason": reason[:200]}
        await _store(_change, key.id, model, lambda rows: rows.filter(quarantined_at=None).update(**values))


async def clear_trouble(key_ids: Collection[int], model: str) -> None:
    """Put keys back to use after a failure that was not theirs."""
    await _store(KeyTrouble.objects.filter(key_id__in=key_ids, model=model).delete)


async def _store(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Change the health of a key; return None while the database is away.

    Because a completion matters more than the health of a key, it goes on without the change.
    """
    try:
        return await database.run(function, *args, **kwargs)
    except (OperationalError, InterfaceError, IntegrityError) as error:  # or the key was deleted meanwhile
        log.error("health of a key not stored", error=type(error).__name__)
        return None


def _rows(key_id: int, scopes: Collection[str]) -> QuerySet[KeyTrouble]:
    return KeyTrouble.objects.filter(key_id=key_id, model__in=scopes)


def _change(key_id: int, model: str, change: Callable[[KeyTroubleQuerySet], int]) -> None:
    with transaction.atomic():
        KeyTrouble.objects.bulk_create([KeyTrouble(key_id=key_id, model=model)], ignore_conflicts=True)
        rows = KeyTrouble.objects.of(key_id, model)
        change(rows)
        rows.update(probe_until=None)


def _claim_probe(key_id: int, scopes: list[str]) -> list[str] | None:
    """Claim the right to probe all troubles of a key; None when another has it."""
    now = timezone.now()
    with transaction.atomic():
        left = list(_rows(key_id, scopes).values_list("model", flat=True))
        if all(KeyTrouble.objects.of(key_id, scope).claim_probe(now, now + PROBE_LEASE) for scope in left):
            return left
        transaction.set_rollback(True)
    return None
