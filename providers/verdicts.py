"""Store what is decided about keys and upstreams, so that all processes share it.

Plain synchronous functions for a database thread; `store` runs them. `providers.health` decides when to call them.
`model` is the upstream's name for a model, and a `scope` is such a name or `ANY_MODEL`.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import ParamSpec, TypeVar

import structlog
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from providers.evidence import Evidence
from providers.keys import ANY_MODEL
from providers.models import KeyTrouble, UpstreamTrouble
from providers.troubles import Trouble
from providers.wire.errors import ProviderError
from runtime import database

# Seconds of the longest cooldown for one hint of a vendor about its limits.
MAX_HINT_SECONDS = 300.0
# Seconds of the first cooldown after a limit without a hint, where the table has none, and of the longest. Each
# repetition doubles it.
RATE_SECONDS, MAX_RATE_SECONDS = 5.0, 60.0
# Seconds for which a circuit is open: at first, and at most. Each failed probe of a half-open one doubles them.
OPEN_SECONDS, MAX_OPEN_SECONDS = 10.0, 300.0
# Seconds until a suspicion that a probe could not decide is probed again: at first, and at most.
UNDECIDED_SECONDS, MAX_UNDECIDED_SECONDS = 5.0, 300.0
# Seconds for which only one probe may run, longer than one takes: its process may die meanwhile.
CLAIM_SECONDS = 15.0
# Seconds between two probes of the same key or upstream, in all processes together.
SPACING_SECONDS = 1.0

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger("providers")


async def store(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Run a change of a verdict; return None while the database is away.

    Because a completion matters more than the health of a key, it goes on without the change.
    """
    try:
        return await database.run(function, *args, **kwargs)
    except (OperationalError, InterfaceError, IntegrityError) as error:  # or the key was deleted meanwhile
        log.error("health of an upstream not stored", error=type(error).__name__)
        return None


def suspect_key(key_id: int, scope: str, reason: str, evidence: Evidence) -> None:
    """Store a suspicion, unless there is a verdict already; repeating updates the evidence."""
    values = {"blame": Trouble.Blame.KEY, "cooldown_until": None, "status_reason": reason[:200], **evidence.values()}
    with transaction.atomic():
        KeyTrouble.objects.bulk_create([KeyTrouble(key_id=key_id, model=scope, **values)], ignore_conflicts=True)
        ended = Q(blame=Trouble.Blame.RATE, cooldown_until__lte=timezone.now())
        rows = KeyTrouble.objects.filter(Q(cooldown_until=None) | ended, key_id=key_id, model=scope)
        rows.filter(quarantined_at=None).update(**values)


def limit_key(key_id: int, scope: str, seconds: float, reason: str, *, hinted: bool) -> None:
    """Leave a key out after a limit; without a hint the seconds double on repetition.

    Limits that requests meet at the same time count once. A later cooldown never shortens a longer one.
    """
    now = timezone.now()
    with transaction.atomic():
        row = _row(KeyTrouble.objects.filter(key_id=key_id, model=scope), KeyTrouble(key_id=key_id, model=scope))
        if row.quarantined_at or (row.blame == Trouble.Blame.KEY and row.cooldown_until):
            return
        if row.blame != Trouble.Blame.RATE:
            row.times = 0
        if not row.is_cooling and not hinted:
            seconds *= 2.0**row.times
            row.times += 1
        until = now + timedelta(seconds=min(seconds, MAX_HINT_SECONDS if hinted else MAX_RATE_SECONDS))
        if row.is_cooling and (not hinted or (row.cooldown_until and row.cooldown_until >= until)):
            return
        row.blame, row.cooldown_until, row.hinted = Trouble.Blame.RATE, until, hinted
        row.status_reason, row.since = reason[:200], row.since or now
        row.save()


def claim_probe(upstream_id: int, key_id: int, model: str, suspicion: tuple[str, Evidence] | None = None) -> bool:
    """Claim the right to probe a key and its upstream, unless another probe has it.

    A `suspicion` of the upstream, a reason and its evidence, is stored first.
    """
    now = timezone.now()
    until, recently = now + timedelta(seconds=CLAIM_SECONDS), now - timedelta(seconds=SPACING_SECONDS)
    free = Q(probe_until=None) | Q(probe_until__lte=now)
    rested = Q(last_probe_at=None) | Q(last_probe_at__lte=recently)
    with transaction.atomic():
        if suspicion is not None:
            row = UpstreamTrouble(upstream_id=upstream_id, model=model, blame=Trouble.Blame.UPSTREAM)
            row.status_reason = suspicion[0][:200]
            for name, value in suspicion[1].values().items():
                setattr(row, name, value)
            UpstreamTrouble.objects.bulk_create([row], ignore_conflicts=True)
        for rows in _concerned(upstream_id, key_id, model):
            if (
                rows.filter(free, rested).update(probe_until=until, last_probe_at=now, next_probe_at=None)
                < rows.count()
            ):
                transaction.set_rollback(True)
                return False
    return True


def pass_probe(upstream_id: int, key_id: int, model: str) -> None:
    """Put a key and its upstream back to full use, because a probe succeeded.

    A limit whose end the vendor named stays until then.
    """
    keys, upstreams = _concerned(upstream_id, key_id, model)
    with transaction.atomic():
        keys.filter(_limited()).update(probe_until=None)
        keys.exclude(_limited()).delete()
        upstreams.delete()


def condemn_key(upstream_id: int, key_id: int, model: str, error: ProviderError, evidence: Evidence | None) -> bool:
    """Quarantine a key, or leave it out for the table's time, after a probe.

    Returns whether this is news. The upstream is in order, because it has answered.
    """
    scope = ANY_MODEL if error.scope == "key" else model
    with transaction.atomic():
        keys, upstreams = _concerned(upstream_id, key_id, model)
        keys.exclude(_limited()).exclude(model=scope).delete()
        upstreams.delete()
        row = _row(KeyTrouble.objects.filter(key_id=key_id, model=scope), KeyTrouble(key_id=key_id, model=scope))
        if row.quarantined_at:
            return False
        news = row.blame != Trouble.Blame.KEY or row.cooldown_until is None
        now = timezone.now()
        if error.action == "disable":
            row.quarantined_at, row.cooldown_until = now, None
        else:
            row.cooldown_until = row.next_probe_at = now + timedelta(seconds=error.cooldown_s)
        row.blame, row.hinted, row.probe_until, row.status_reason = Trouble.Blame.KEY, False, None, str(error)[:200]
        row.last_probe_at, row.since = now, row.since or now
        for name, value in (evidence.values() if evidence else {}).items():
            setattr(row, name, value)
        row.save()
    return news


def open_circuit(upstream_id: int, model: str, reason: str, evidence: Evidence | None) -> bool:
    """Leave an upstream out for one model; return whether this is news.

    A circuit that is still open keeps its end. One that was half-open stays open twice as long as before.
    """
    now = timezone.now()
    with transaction.atomic():
        empty = UpstreamTrouble(upstream_id=upstream_id, model=model)
        row = _row(UpstreamTrouble.objects.filter(upstream_id=upstream_id, model=model), empty)
        news = row.cooldown_until is None
        if not row.is_cooling:
            seconds = min(OPEN_SECONDS * 2.0**row.times, MAX_OPEN_SECONDS)
            row.times += 1
            row.cooldown_until = row.next_probe_at = now + timedelta(seconds=seconds)
        row.blame, row.probe_until, row.status_reason = Trouble.Blame.UPSTREAM, None, reason[:200]
        row.since = row.since or now
        for name, value in (evidence.values() if evidence else {}).items():
            setattr(row, name, value)
        row.save()
    return news


def leave_undecided(upstream_id: int, key_id: int, model: str) -> None:
    """End a probe that decided nothing.

    A key that is only suspected is probed again after a pause that grows.
    """
    now = timezone.now()
    keys, upstreams = _concerned(upstream_id, key_id, model)
    upstreams.update(probe_until=None, next_probe_at=now + timedelta(seconds=UNDECIDED_SECONDS))
    keys.exclude(cooldown_until=None).update(probe_until=None)
    for row in keys.filter(cooldown_until=None):
        pause = min(UNDECIDED_SECONDS * 2.0**row.times, MAX_UNDECIDED_SECONDS)
        next_probe_at = now + timedelta(seconds=pause)
        keys.filter(pk=row.pk).update(probe_until=None, next_probe_at=next_probe_at, times=row.times + 1)


def end_limits(key_id: int, model: str) -> None:
    """Forget the limits of a key whose time has ended, because a request succeeded."""
    rows = KeyTrouble.objects.filter(key_id=key_id, model__in=[ANY_MODEL, model], quarantined_at=None)
    rows.filter(blame=Trouble.Blame.RATE, cooldown_until__lte=timezone.now()).delete()


def _concerned(upstream_id: int, key_id: int, model: str) -> tuple[QuerySet[KeyTrouble], QuerySet[UpstreamTrouble]]:
    """Return the rows that a probe with this key decides about."""
    keys = KeyTrouble.objects.filter(key_id=key_id, model__in=[ANY_MODEL, model], quarantined_at=None)
    return keys, UpstreamTrouble.objects.filter(upstream_id=upstream_id, model=model)


def _limited() -> Q:
    """Return the condition for limits whose end the vendor named and that have not ended."""
    return Q(blame=Trouble.Blame.RATE, hinted=True, cooldown_until__gt=timezone.now())


T = TypeVar("T", KeyTrouble, UpstreamTrouble)


def _row(rows: QuerySet[T], empty: T) -> T:
    """Return the one row, created if missing and locked."""
    rows.bulk_create([empty], ignore_conflicts=True)
    return rows.select_for_update().get()
