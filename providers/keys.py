"""Lease the keys of an upstream to attempts, except those that are left out.

The health of keys is stored in the database, so all processes share it; `providers.health` decides about it.
`concurrency` counts the attempts that use each key.
"""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from django.utils import timezone

from providers.concurrency import ConcurrencyLimits, Slot

# Stands for all models in a key's troubles.
ANY_MODEL = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The trouble of a key or an upstream, as the configuration last read it.

    The fields are those of `providers.troubles.Trouble`.
    """

    cooldown_until: datetime | None = None
    quarantined: bool = False
    blame: str = ""
    hinted: bool = False
    probe_until: datetime | None = None
    next_probe_at: datetime | None = None
    reason: str = ""

    def is_cooling(self, now: datetime) -> bool:
        return self.cooldown_until is not None and self.cooldown_until > now

    def is_suspicion(self) -> bool:
        return not self.quarantined and self.cooldown_until is None

    def is_half_open(self, now: datetime) -> bool:
        """Return whether only a probe can put the part back to use."""
        ended = self.cooldown_until is not None and self.cooldown_until <= now
        return ended and not self.quarantined and self.blame != "rate"

    def excludes(self, now: datetime) -> bool:
        """Return whether no attempt may use the part."""
        return self.quarantined or self.is_cooling(now) or self.is_half_open(now)

    def bars_probes(self, now: datetime) -> bool:
        """Return whether no probe is of use now.

        That is so when the vendor or an earlier probe named the end, or only an operator can end it.
        """
        return self.quarantined or (self.is_cooling(now) and (self.blame not in {"rate", "upstream"} or self.hinted))

    def is_due(self, now: datetime) -> bool:
        """Return whether a probe in the background is due."""
        waits = (self.probe_until, self.next_probe_at)
        return (self.is_suspicion() or self.is_half_open(now)) and not any(end and end > now for end in waits)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as routing sees it.

    `id` 0 without a secret stands for an upstream that needs no key.
    """

    id: int
    secret: str | None
    max_concurrency: int | None = None
    troubles: Mapping[str, Trouble] = field(default_factory=dict)

    def troubles_with(self, model: str) -> list[Trouble]:
        """Return the troubles that concern a model; `model` is the upstream's name for it."""
        return [self.troubles[scope] for scope in (ANY_MODEL, model) if scope in self.troubles]

    def is_suspect(self, model: str) -> bool:
        return any(trouble.is_suspicion() for trouble in self.troubles_with(model))

    def seconds_excluded(self, model: str) -> float | None:
        """Return the seconds until the cooldown ends; None when no time ends it.

        That is so without a cooldown, and when only an operator can put the key back to use.
        """
        troubles = self.troubles_with(model)
        ends = [trouble.cooldown_until for trouble in troubles if trouble.cooldown_until]
        if not ends or any(trouble.quarantined for trouble in troubles):
            return None
        return max(0.0, (max(ends) - timezone.now()).total_seconds())


KEYLESS = Key(0, None)


class Lease:
    """A key in use for one attempt or probe."""

    __slots__ = ("_limits", "_slot", "key")

    def __init__(self, limits: ConcurrencyLimits, key: Key, slot: Slot) -> None:
        self.key = key
        self._limits, self._slot = limits, slot

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits.release(self._slot)


class KeyPool:
    """Leases keys to attempts; `limits` counts the attempts that use each key."""

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self.limits = limits

    def usable(self, keys: Collection[Key], model: str, tried: Collection[int] = ()) -> list[Key]:
        """Return the keys with which an attempt may begin now, suspects among them."""
        now = timezone.now()
        return [
            key
            for key in keys
            if key.id not in tried
            and (key.max_concurrency is None or self.limits.in_use[key.id] < key.max_concurrency)
            and not any(trouble.excludes(now) for trouble in key.troubles_with(model))
        ]

    async def lease(self, keys: Collection[Key], model: str, tried: Collection[int] = ()) -> Lease | None:
        """Return a key that may be used now, None when there is none.

        A suspect is taken only when there is no other. Among equals one with the fewest attempts is taken, by chance
        where several have as few.
        """
        usable = self.usable(keys, model, tried)
        while usable:
            preferred = [key for key in usable if not key.is_suspect(model)] or usable
            least = min(self.limits.in_use[key.id] for key in preferred)
            key = random.choice([key for key in preferred if self.limits.in_use[key.id] == least])  # noqa: S311
            if lease := await self.lease_key(key):
                return lease
            usable.remove(key)
        return None

    async def lease_key(self, key: Key) -> Lease | None:
        """Return this key, or None when it carries as many attempts as it may."""
        slot = await self.limits.acquire(key.id, key.max_concurrency)
        return Lease(self.limits, key, slot) if slot else None
