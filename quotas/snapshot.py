"""Quotas as users see them: titles, limits and models, read every `SNAPSHOT_SECONDS` at most.

The ledger's own statements decide what a limit allows, never this copy.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from django.db.models import Prefetch
from django.utils import translation
from django_stubs_ext import StrOrPromise

from providers import access
from providers.apps import providers_app
from providers.snapshot import ModelConfig
from quotas.models import Quota, QuotaGroupLimit
from runtime.ttl_cache import Ahead, TTLCache

# Seconds for which a copy is used. The contract allows five between an admin's change and its effect in every process.
SNAPSHOT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """A quota, its limits by group (None: no limit), and its enabled models in order."""

    id: int
    slug: str
    title: StrOrPromise
    daily_limit: int | None
    group_limits: Mapping[int, int | None]
    models: tuple[ModelConfig, ...]

    def limit_for(self, groups: Set[int]) -> int | None:
        """Return the best limit of these groups, or the quota's own where none has one."""
        limits = [limit for group, limit in self.group_limits.items() if group in groups]
        if not limits:
            return self.daily_limit
        return None if None in limits else max(limit for limit in limits if limit is not None)

    def slugs_for(self, groups: Set[int]) -> list[str]:
        """Return the slugs of the models that a member of these groups may use."""
        return [model.slug for model in self.models if model.open_to(groups)]


@dataclass(frozen=True, slots=True)
class QuotaTable:
    """All quotas by id in order of creation, and quota ids by model slug."""

    quotas: Mapping[int, QuotaConfig]
    quota_of: Mapping[str, int]
    # Whether any limit or model depends on the user's groups.
    by_group: bool
    # Titles by quota and language, as far as they were asked for.
    _titles: dict[tuple[int, str], str] = field(default_factory=dict)

    def groups_of(self, user_id: int) -> frozenset[int]:
        """Return a user's groups, without a query where groups change nothing."""
        return access.groups_of(user_id) if self.by_group else frozenset()

    def title(self, quota: QuotaConfig, language: str | None) -> str:
        """Return a quota's title in a language, None for the active one."""
        if language is None:
            return str(quota.title)
        title = self._titles.get((quota.id, language))
        if title is None:
            with translation.override(language):
                title = self._titles[quota.id, language] = str(quota.title)
        return title


class QuotaSnapshot(TTLCache[QuotaTable]):
    """The current `QuotaTable` of this process."""

    def __init__(self, ahead: Ahead | None = None) -> None:
        super().__init__(_load, SNAPSHOT_SECONDS, ahead)

    def quota(self, quota_id: int) -> QuotaConfig:
        """Return one quota, even if it is newer than the copy; raise Quota.DoesNotExist."""
        if quota_id not in self.current().quotas:
            self.forget()
        try:
            return self.current().quotas[quota_id]
        except KeyError:
            raise Quota.DoesNotExist(quota_id) from None


def _load() -> QuotaTable:
    models = providers_app().configuration.models()
    position = {model.id: (number, model) for number, model in enumerate(models.values())}
    rows = Quota.objects.order_by("id").prefetch_related(
        "links", Prefetch("group_limits", QuotaGroupLimit.objects.order_by("id"))
    )
    quotas = {}
    for row in rows:
        covered = sorted(position[link.model_id] for link in row.links.all() if link.model_id in position)
        limits = {limit.group_id: limit.daily_limit for limit in row.group_limits.all()}
        in_order = tuple(model for _, model in covered)
        quotas[row.pk] = QuotaConfig(row.pk, row.slug, row.shown_title, row.daily_limit, limits, in_order)
    return QuotaTable(
        quotas,
        {model.slug: config.id for config in quotas.values() for model in config.models},
        any(config.group_limits for config in quotas.values()) or any(model.groups for model in models.values()),
    )
