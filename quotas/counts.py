"""What the ledger said of a user, a quota and a day, and how it is written into a counter and read back. Pure.

A counter has two fields, `used` and `credits`, each the copy of one row of the books: the row's revision, the figures,
when they were read, and a seal that only this installation can make (from SECRET_KEY).
"""

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

from django.conf import settings

# Both fields of a counter as they are written, empty where there is none.
Raw = tuple[str, str]
NOTHING: Raw = ("", "")


@dataclass(frozen=True, slots=True)
class Counts:
    """The two rows of the books and the limit that held; `read_at` in Unix seconds, a limit of None is no limit."""

    user: int
    quota: int
    day: date
    used: int
    used_revision: int
    limit: int | None
    credits: int
    credits_revision: int
    read_at: int

    @property
    def key(self) -> str:
        return key(self.user, self.quota, self.day)

    @property
    def none_left(self) -> bool:
        return self.limit is not None and self.used >= self.limit and not self.credits

    def same(self, other: "Counts | None") -> bool:
        """Whether the other says the same, whenever it was read."""
        return other is not None and replace(other, read_at=self.read_at) == self

    def outdates(self, other: "Counts") -> bool:
        """Whether each row here is at least as new as the other's, and one of them newer."""
        revisions = (self.used_revision - other.used_revision, self.credits_revision - other.credits_revision)
        return min(revisions) >= 0 < max(revisions)

    def merged(self, other: "Counts") -> "Counts":
        """Return the newer copy of each row: they may come in another order than they were read."""
        newer = self if self.used_revision >= other.used_revision else other
        richer = self if self.credits_revision >= other.credits_revision else other
        return replace(newer, credits=richer.credits, credits_revision=richer.credits_revision)

    def written(self) -> Raw:
        """Return both fields as they are stored."""
        limit = -1 if self.limit is None else self.limit
        used = f"{self.used_revision} {self.used} {limit} {self.read_at}"
        credit = f"{self.credits_revision} {self.credits} {self.read_at}"
        return f"{used} {_seal(self.key, 'used', used)}", f"{credit} {_seal(self.key, 'credits', credit)}"


@dataclass(frozen=True, slots=True)
class Found:
    """A counter as it was found: what it says, if under our seal; whether to believe that; what is written there."""

    counts: Counts | None
    trusted: bool
    raw: Raw


def key(user: object, quota: object, day: object) -> str:
    """Return the name of a counter; with "*" a pattern of names."""
    return f"rivulet:quota:{user}:{quota}:{day}"


def read(user: int, quota: int, day: date, raw: Raw) -> Counts | None:
    """Return what a counter says; None when a field is missing or bears no seal of ours."""
    name = key(user, quota, day)
    used, credit = _figures(name, "used", raw[0]), _figures(name, "credits", raw[1])
    if used is None or credit is None:
        return None
    limit = None if used[2] < 0 else used[2]
    return Counts(user, quota, day, used[1], used[0], limit, credit[1], credit[0], min(used[3], credit[2]))


def not_ours(name: str, raw: Raw) -> Raw:
    """Return the fields that bear no seal of ours, empty for those that do."""
    used, credit = raw
    return "" if _figures(name, "used", used) else used, "" if _figures(name, "credits", credit) else credit


def _figures(name: str, field: str, text: str) -> list[int] | None:
    figures, _space, seal = text.rpartition(" ")
    genuine = hmac.compare_digest(seal.encode(), _seal(name, field, figures).encode())
    return [int(figure) for figure in figures.split()] if genuine else None


def _seal(name: str, field: str, figures: str) -> str:
    return hmac.digest(_sealing_key(settings.SECRET_KEY), f"{name} {field} {figures}".encode(), "sha256").hex()[:16]


@lru_cache(maxsize=2)
def _sealing_key(secret: str) -> bytes:
    return hashlib.sha256(b"quotas.counters " + secret.encode()).digest()
