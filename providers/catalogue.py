"""The models that an upstream offers, and adding chosen ones as models of ours.

Upstreams with a list are asked for it; for the others the adapter's `known_models` are offered.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from providers import registry, setup
from providers.adapters import new_adapter
from providers.keys import ANY_MODEL, KeyPool
from providers.models import ChatModel, Route, Upstream
from providers.snapshot import NO_KEY, Configuration, UpstreamConfig
from providers.wire.base import ModelList, OfferedModel
from providers.wire.errors import UpstreamFailed

_SLUG_CHARS = 100
_UNFIT = re.compile(r"[^A-Za-z0-9._:/-]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that the upstream offers, and the effect of adding it.

    `about` describes it. `models` are our models with a route to it. With `joins`, our model `slug` exists, and the
    addition gives it another route with a lower priority than its present routes.
    """

    offered: OfferedModel
    about: str
    models: tuple[str, ...]
    slug: str
    joins: bool


class Catalogue:
    """Lists and adds models; calls the hooks of other apps after each addition."""

    def __init__(self, configuration: Configuration, pool: KeyPool) -> None:
        self._configuration, self._pool = configuration, pool
        self._added_hooks: list[Callable[[], None]] = []

    def on_added(self, hook: Callable[[], None]) -> None:
        """Call `hook` after each addition, in the same transaction, to create rows of other apps."""
        self._added_hooks.append(hook)

    def notify_added(self) -> None:
        """Call the hooks, because there are new models."""
        for hook in self._added_hooks:
            hook()
        self._configuration.changed()

    async def fetch(self, upstream: UpstreamConfig) -> ModelList:
        """Return the models that an upstream offers, asked with a usable key; raise ProviderError."""
        if upstream.adapter.known_models:
            return ModelList(upstream.adapter.known_models)
        key = next(iter(self._pool.usable(upstream.keys, ANY_MODEL)), None)
        if key is None:
            raise UpstreamFailed(NO_KEY, action="ops", vendor_code="no_key")
        adapter = new_adapter(upstream)
        try:
            return await adapter.list_models(key.secret)
        finally:
            await adapter.aclose()

    def add(self, upstream: Upstream, chosen: Iterable[OfferedModel]) -> list[Entry]:
        """Add models, except those with a route to this upstream; return what was added."""
        with transaction.atomic():
            plan, added = _Plan(upstream), []
            for model in chosen:
                entry = plan.entry(model)
                if not entry.models:
                    _add(upstream, entry)
                    plan.note_added(entry)
                    added.append(entry)
            if added:
                self.notify_added()
        return added


def entries(upstream: Upstream, offered: Iterable[OfferedModel]) -> list[Entry]:
    """Return the offered models beside those we have."""
    plan = _Plan(upstream)
    return [plan.entry(model) for model in offered]


def _add(upstream: Upstream, entry: Entry) -> None:
    used = ChatModel.objects.filter(position__lt=setup.DEMO_POSITION).aggregate(last=Max("position"))["last"]
    position = 0 if used is None else min(used + 1, setup.DEMO_POSITION - 1)
    values = setup.first_run_values(entry.slug, entry.offered.name, position, entry.offered.context_tokens)
    model, _created = ChatModel.objects.get_or_create(slug=entry.slug, defaults=values)
    last = model.routes.aggregate(last=Max("priority"))["last"]
    defaults = {"priority": 0 if last is None else last + 1}
    Route.objects.get_or_create(model=model, upstream=upstream, upstream_model=entry.offered.name, defaults=defaults)


class _Plan:
    """Matches the models of an upstream with ours."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        adapter = registry.ADAPTERS[upstream.kind]
        self._prefix = adapter.slug_prefix
        self._known = {model.name: model for model in (*adapter.known_models, *adapter.model_facts)}
        self._names: dict[str, set[str]] = {slug: set() for slug in ChatModel.objects.values_list("slug", flat=True)}
        self._routed: dict[str, list[str]] = {}
        for slug, upstream_id, name in Route.objects.values_list("model__slug", "upstream_id", "upstream_model"):
            self._names[slug].add(name)
            if upstream_id == upstream.pk:
                self._routed.setdefault(name, []).append(slug)

    def entry(self, offered: OfferedModel) -> Entry:
        name = offered.name
        slug = self._slug(name)
        if slug in self._names and slug != name and name not in self._names[slug]:
            # Another model's name became the same slug.
            slug = next(free for n in range(2, 1_000_000) if (free := f"{slug[:90]}-{n}") not in self._names)
        known = self._known.get(name, offered)
        about = _("%(title)s, legacy") % {"title": known.title} if known.legacy else known.title
        return Entry(offered, about, tuple(self._routed.get(name, ())), slug, slug in self._names)

    def note_added(self, entry: Entry) -> None:
        self._names.setdefault(entry.slug, set()).add(entry.offered.name)
        self._routed[entry.offered.name] = [entry.slug]

    def _slug(self, name: str) -> str:
        full = f"{self._prefix}-{name}" if self._prefix and not name.startswith(self._prefix) else name
        fit = _UNFIT.sub("-", full).lstrip("-._:/")[:_SLUG_CHARS].rstrip("-")
        return fit or f"{self._upstream.slug}-model"[:_SLUG_CHARS]
