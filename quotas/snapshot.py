"""Quotas as people see them: titles, limits and models. Read from the database at most every `TABLE_SECONDS`.

What a limit allows is decided by the ledger's own statements, never by this table.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from django.db.models import Prefetch
from django_stubs_ext import StrOrPromise

from providers import access
from providers.apps import providers_app
from providers.snapshot import ModelConfig
from quotas.models import Quota, QuotaGroupLimit
from runtime.ttl_cache import Remembered

# An admin's change is to be felt within five seconds in every process.
TABLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """A quota, its limits by group, and its enabled models in the order of lists. A limit of None: no limit."""

    id: int
    slug: str
    title: StrOrPromise
    daily_limit: int | None
    group_limits: Mapping[int, int | None]
    models: tuple[ModelConfig, ...]

    def limit_for(self, groups: Set[int]) -> int | None:
        """Return the daily limit of a member of these groups: the best of theirs that are named, else everybody's."""
        theirs = [limit for group, limit in self.group_limits.items() if group in groups]
        if not theirs:
            return self.daily_limit
        return None if None in theirs else max(limit for limit in theirs if limit is not None)

    def slugs_for(self, groups: Set[int]) -> list[str]:
        """Return the slugs of the models that a member of these groups may use."""
        return [model.slug for model in self.models if model.open_to(groups)]


@dataclass(frozen=True, slots=True)
class Table:
    """All quotas by id, in the order of creation, and the quota's id for each enabled model's slug."""

    quotas: Mapping[int, QuotaConfig]
    quota_of: Mapping[str, int]
    # Whether it matters in which groups somebody is.
    by_group: bool

    def groups_of(self, user_id: int) -> frozenset[int]:
        """Return a user's groups, without asking the database where it does not matter."""
        return access.groups_of(user_id) if self.by_group else frozenset()


def current() -> Table:
    """Return the table; synchronous, to be called where the database may be."""
    return _table.current()


def last() -> Table | None:
    """Return the table as it was when it was last read, however long ago; for the event loop, which cannot read it."""
    return _table.last()


def quota(quota_id: int) -> QuotaConfig:
    """Return one quota, also one that was made a moment ago; raise Quota.DoesNotExist."""
    known = current().quotas
    if quota_id not in known:
        forget()
        known = current().quotas
    if quota_id not in known:
        raise Quota.DoesNotExist(quota_id)
    return known[quota_id]


def forget() -> None:
    """Read the table anew at the next question: after a change made in this process."""
    _table.forget()


def changed() -> None:
    """Forget, now and once the transaction that is open can be seen: others may read the old rows until then."""
    _table.changed()


def _load() -> Table:
    models = providers_app().configuration.models()
    position = {model.id: (number, model) for number, model in enumerate(models.values())}
    rows = Quota.objects.order_by("id").prefetch_related(
        "links", Prefetch("group_limits", QuotaGroupLimit.objects.order_by("id"))
    )
    quotas = {row.pk: _config(row, position) for row in rows}
    return Table(
        quotas,
        {model.slug: config.id for config in quotas.values() for model in config.models},
        any(config.group_limits for config in quotas.values()) or any(model.groups for model in models.values()),
    )


_table = Remembered(_load, TABLE_SECONDS)


def _config(row: Quota, position: Mapping[int, tuple[int, ModelConfig]]) -> QuotaConfig:
    covered = sorted(position[link.model_id] for link in row.links.all() if link.model_id in position)
    limits = {limit.group_id: limit.daily_limit for limit in row.group_limits.all()}
    return QuotaConfig(row.pk, row.slug, row.shown_title, row.daily_limit, limits, tuple(model for _, model in covered))
