"""The conditions that become alerts: dead keys, empty balances, open circuits and a full disk.

Everything is read from what is stored anyway; no request waits for it. Quotas have a source of their own in `quotas`.
"""

import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from providers.alerts.models import Alert
from providers.models import ApiKey, KeyTrouble, UpstreamTrouble
from providers.wire.openai.errors import NO_MONEY
from providers.wire.spark.errors import NO_VOLUME
from providers.wire.zhipu.errors import PLAN_EXPIRED

Kind = Alert.Kind

# Our own messages of verdicts that end when the operator pays.
UNPAID = frozenset({NO_MONEY.message, NO_VOLUME.message, PLAN_EXPIRED.message})
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that holds now. `details` has what its text needs."""

    kind: Kind
    subject: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """Finds conditions of some kinds, again after `seconds`.

    A source that is `everywhere` looks at something that each host has for itself; its subjects begin with `prefix`.
    All others are asked by one process only.
    """

    kinds: tuple[Kind, ...]
    find: Callable[[], list[Condition]]
    seconds: float
    everywhere: bool = False
    prefix: str = ""


def of_keys() -> list[Condition]:
    """Return the quarantined keys, each once, with the first reason."""
    rows = KeyTrouble.objects.filter(quarantined_at__isnull=False, key__enabled=True, key__upstream__enabled=True)
    found: dict[int, Condition] = {}
    for row in rows.select_related("key__upstream").order_by("model", "id"):
        kind = Kind.BALANCE_EMPTY if row.status_reason in UNPAID else Kind.KEY_DEAD
        details = {**_names(row.key), "model": row.model, "reason": row.status_reason}
        found.setdefault(row.key_id, Condition(kind, f"key {row.key_id}", details))
    return list(found.values())


def of_circuits() -> list[Condition]:
    """Return the circuits that are open, or half-open."""
    rows = UpstreamTrouble.objects.filter(cooldown_until__isnull=False, upstream__enabled=True)
    return [
        Condition(
            Kind.CIRCUIT_OPEN,
            f"circuit {row.upstream_id} {row.model}",
            {"upstream": row.upstream.slug, "model": row.model, "reason": row.status_reason},
        )
        for row in rows.select_related("upstream").order_by("id")
    ]


def of_disk() -> list[Condition]:
    """Return the disk of `VAR_DIR` when more of it is used than `ALERT_DISK_PERCENT`."""
    usage = shutil.disk_usage(settings.VAR_DIR)
    # What the system keeps for root is neither used nor free for us.
    percent = 100 * usage.used / ((usage.used + usage.free) or 1)
    if percent < settings.ALERT_DISK_PERCENT:
        return []
    details = {"host": host(), "percent": int(percent), "free_gib": round(usage.free / GIB, 1)}
    return [Condition(Kind.DISK_NEARLY_FULL, f"{host()} {settings.VAR_DIR}"[:400], details)]


def sources() -> list[Source]:
    """Return what this package looks at."""
    return [
        Source((Kind.KEY_DEAD, Kind.BALANCE_EMPTY), of_keys, 5.0),
        Source((Kind.CIRCUIT_OPEN,), of_circuits, 5.0, prefix="circuit "),
        Source((Kind.DISK_NEARLY_FULL,), of_disk, 30.0, everywhere=True, prefix=f"{host()} "),
    ]


def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def _names(key: ApiKey) -> dict[str, str]:
    return {"upstream": key.upstream.slug, "key": f"…{key.last4}" if key.last4 else key.fingerprint}
