"""The key pool: which keys of an upstream may be used now, what happens to a failing one, and how it comes back.

The health of keys is in the database, so all processes share it; how many attempts a key carries at this moment is
counted in `slots`. A key that has cooled down is half-open: one attempt at a time probes it, and the first
visible character puts it back to full use.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from providers import concurrency
from providers.concurrency import Slot
from providers.models import ApiKey, KeyTrouble, Upstream
from runtime import database

# A probe whose process died gives the right to probe back after this.
PROBE_LEASE = timedelta(seconds=120)
# Trouble with all models of a key.
ANY_MODEL = ""

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger("providers")

_tasks: set["asyncio.Task[Any]"] = set()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a key is left out, as it was read with the rest of the configuration."""

    cooldown_until: datetime | None
    quarantined: bool
    probe_until: datetime | None
    reason: str = ""

    def shut(self, now: datetime) -> bool:
        """Whether nobody may use the key, not even to probe it."""
        being_probed = self.probe_until is not None and self.probe_until > now
        return self.quarantined or being_probed or (self.cooldown_until is not None and self.cooldown_until > now)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as routing sees it; `id` 0 with no secret stands for an upstream that needs none."""

    id: int
    secret: str | None
    max_concurrency: int | None = None
    troubles: Mapping[str, Trouble] = field(default_factory=dict)

    def troubled(self, model: str) -> list[tuple[str, Trouble]]:
        """Return the troubles that matter for a model (the upstream's name for it)."""
        return [(scope, self.troubles[scope]) for scope in (ANY_MODEL, model) if scope in self.troubles]

    def usable(self, model: str, now: datetime) -> bool:
        """Whether an attempt may begin now, be it a probe."""
        full = self.max_concurrency is not None and concurrency.in_use[self.id] >= self.max_concurrency
        return not full and not any(trouble.shut(now) for _scope, trouble in self.troubled(model))


KEYLESS = Key(0, None)


class Lease:
    """A key in use for one attempt. `probes` names the troubles that this attempt may end."""

    def __init__(self, key: Key, slot: Slot, probes: Collection[str] = ()) -> None:
        self.key, self._slot, self._probes = key, slot, tuple(probes)

    @property
    def probing(self) -> bool:
        return bool(self._probes)

    def recovered(self) -> None:
        """Put a probed key back to full use, in every process; the answer does not wait for it."""
        probes, self._probes = self._probes, ()
        _later(_kept(_forget, self.key.id, probes))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        concurrency.leave(self._slot)
        if self._probes:  # it did not come to an answer: the next one may probe
            probes, self._probes = self._probes, ()
            _later(_kept(_end_probe, self.key.id, probes))


def any_usable(keys: Collection[Key], model: str, tried: Collection[int] = ()) -> bool:
    now = timezone.now()
    return any(key.id not in tried and key.usable(model, now) for key in keys)


async def lease(keys: Collection[Key], model: str, tried: Collection[int] = ()) -> Lease | None:
    """Return a key that may be used now, None when there is none.

    One that waits to be probed comes first, or it would never come back while others carry the load; then the healthy
    key that carries the fewest attempts, any of them when several do.
    """
    now = timezone.now()
    usable = [key for key in keys if key.id not in tried and key.usable(model, now)]
    for key in usable:
        if key.troubled(model) and (probing := await _probe(key, model)):
            return probing
    healthy = [key for key in usable if not key.troubled(model)]
    while healthy:
        least = min(concurrency.in_use[key.id] for key in healthy)
        key = random.choice([key for key in healthy if concurrency.in_use[key.id] == least])  # noqa: S311
        if slot := await concurrency.take(key.id, key.max_concurrency):
            return Lease(key, slot)
        healthy.remove(key)
    return None


async def _probe(key: Key, model: str) -> Lease | None:
    slot = await concurrency.take(key.id, key.max_concurrency)
    if slot is None:
        return None
    claimed = None
    try:
        claimed = await _kept(_claim_probe, key.id, [scope for scope, _trouble in key.troubled(model)])
    finally:
        if claimed is None:
            concurrency.leave(slot)
    return None if claimed is None else Lease(key, slot, claimed)


def seconds_until_usable(keys: Collection[Key], model: str) -> float | None:
    """Return when the first cooling key comes back; None when no clock brings one back."""
    waits = [wait for key in keys if (wait := _seconds_shut(key, model)) is not None]
    return min(waits, default=None)


def _seconds_shut(key: Key, model: str) -> float | None:
    troubles = [trouble for _scope, trouble in key.troubled(model)]
    ends = [trouble.cooldown_until for trouble in troubles if trouble.cooldown_until]
    if not ends or any(trouble.quarantined for trouble in troubles):
        return None
    return max(0.0, (max(ends) - timezone.now()).total_seconds())


async def cool_down(key: Key, model: str, seconds: float, reason: str) -> None:
    """Leave the key out for a while, for this model or `ANY_MODEL`, in every process; repeating is safe."""
    if key.id:
        until = timezone.now() + timedelta(seconds=seconds)
        await _kept(_change, key.id, model, lambda rows: rows.cool_down(until, reason[:200]))


async def cool_down_upstream(slug: str, seconds: float, reason: str) -> None:
    """Leave an upstream out for a while, whatever the key; repeating is safe."""
    until = timezone.now() + timedelta(seconds=seconds)
    await _kept(Upstream.objects.filter(slug=slug).cool_down, until, reason[:200])


async def quarantine(key: Key, model: str, reason: str) -> None:
    """Leave the key out until an operator clears it; the first reason stays; repeating is safe."""
    if key.id:
        values = {"quarantined_at": timezone.now(), "status_reason": reason[:200]}
        await _kept(_change, key.id, model, lambda rows: rows.filter(quarantined_at=None).update(**values))


async def acquit(key_ids: Collection[int], model: str) -> None:
    """Let keys be used again that were left out for what turned out not to be their fault; repeating is safe."""
    await _kept(KeyTrouble.objects.filter(key_id__in=key_ids, model=model).delete)


async def lower_concurrency(key: Key) -> int:
    """Let the key carry one attempt less than it does now, in every process, until an operator allows more."""
    limit = max(1, concurrency.in_use[key.id] - 1)
    higher = Q(max_concurrency=None) | Q(max_concurrency__gt=limit)
    if key.id:
        await _kept(ApiKey.objects.filter(higher, id=key.id).update, max_concurrency=limit)
    return limit


async def _kept(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Keep the books; while the database is away an answer is worth more than they are."""
    try:
        return await database.run(function, *args, **kwargs)
    except (OperationalError, InterfaceError) as error:
        log.error("health of a key not stored", error=type(error).__name__)
        return None


def _later(keeping: Coroutine[Any, Any, Any]) -> None:
    task = asyncio.get_running_loop().create_task(keeping)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _change(key_id: int, model: str, change: "Callable[..., int]") -> None:
    with transaction.atomic():
        KeyTrouble.objects.bulk_create([KeyTrouble(key_id=key_id, model=model)], ignore_conflicts=True)
        rows = KeyTrouble.objects.of(key_id, model)
        change(rows)
        rows.update(probe_until=None)


def _claim_probe(key_id: int, scopes: list[str]) -> list[str] | None:
    """Claim those troubles that a key still has, all or none; None when somebody else is probing it."""
    now = timezone.now()
    with transaction.atomic():
        left = list(KeyTrouble.objects.filter(key_id=key_id, model__in=scopes).values_list("model", flat=True))
        if all(KeyTrouble.objects.of(key_id, scope).claim_probe(now, now + PROBE_LEASE) for scope in left):
            return left
        transaction.set_rollback(True)
    return None


def _end_probe(key_id: int, scopes: Collection[str]) -> None:
    KeyTrouble.objects.filter(key_id=key_id, model__in=scopes).update(probe_until=None)


def _forget(key_id: int, scopes: Collection[str]) -> None:
    KeyTrouble.objects.filter(key_id=key_id, model__in=scopes, quarantined_at=None).delete()
