"""Which models an upstream offers, and taking chosen ones up as models of ours.

OpenAI-compatible servers are asked; the others have no list, so what is known of them is offered.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from providers import keys, routing, setup, snapshot
from providers.models import ChatModel, Route, Upstream
from providers.wire.errors import UpstreamFailed
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.model_list import ModelList, OfferedModel
from providers.wire.spark.adapter import VERSIONS

_SLUG_CHARS = 100
_UNFIT = re.compile(r"[^A-Za-z0-9._:/-]+")
_SPARK = tuple(
    OfferedModel(name, version.context_tokens)
    for name, version in sorted(VERSIONS.items(), key=lambda item: item[1].legacy)
)
KNOWN: Mapping[str, tuple[OfferedModel, ...]] = {
    Upstream.Kind.SPARK: _SPARK,
    Upstream.Kind.SPARK_HTTP: _SPARK,
    Upstream.Kind.ZHIPU_V3: tuple(OfferedModel(name) for name in sorted(setup.ZHIPU_V3_MODELS)),
    Upstream.Kind.SCRIPTED: (OfferedModel("demo"),),
}

_when_added: list[Callable[[], None]] = []


@dataclass(frozen=True, slots=True)
class Entry:
    """One offered model: the models of ours that it answers for already, and what taking it up would do.

    `about` is what we know of it; `joins`: the model `slug` exists and gets another route, behind those it has.
    """

    offered: OfferedModel
    about: str
    models: tuple[str, ...]
    slug: str
    joins: bool


def when_added(hook: Callable[[], None]) -> None:
    """Call `hook` after models were added, in their transaction: layers above give them what they need of theirs."""
    _when_added.append(hook)


def added() -> None:
    """Tell those who asked that there are new models."""
    for hook in _when_added:
        hook()
    snapshot.changed()


async def fetch(upstream: snapshot.UpstreamConfig) -> ModelList:
    """Ask an upstream, with the first key that is usable now, what it offers; raise ProviderError."""
    if upstream.kind in KNOWN:
        return ModelList(KNOWN[upstream.kind])
    key = next((key for key in upstream.keys if keys.any_usable([key], keys.ANY_MODEL)), None)
    if key is None:
        raise UpstreamFailed("The upstream has no key that can be used now.", action="ops", vendor_code="no_key")
    provider = cast("OpenAICompatible", routing.KINDS[upstream.kind](upstream))
    try:
        return await provider.models(key.secret)
    finally:
        await provider.aclose()


def entries(upstream: Upstream, offered: Iterable[OfferedModel]) -> list[Entry]:
    """Return what is offered beside what we have."""
    plan = _Plan(upstream)
    return [plan.entry(model) for model in offered]


def add(upstream: Upstream, chosen: Iterable[OfferedModel]) -> list[Entry]:
    """Take models up; those that already have a route to this upstream are left alone. Return what was done."""
    with transaction.atomic():
        plan, done = _Plan(upstream), []
        for model in chosen:
            entry = plan.entry(model)
            if not entry.models:
                _add(upstream, entry)
                plan.taken(entry)
                done.append(entry)
        if done:
            added()
    return done


def _add(upstream: Upstream, entry: Entry) -> None:
    name, context_tokens = entry.offered
    used = ChatModel.objects.filter(position__lt=setup.DEMO_POSITION).aggregate(last=Max("position"))["last"]
    position = 0 if used is None else min(used + 1, setup.DEMO_POSITION - 1)
    values = setup.first_run_values(entry.slug, name, position, context_tokens)
    model, _created = ChatModel.objects.get_or_create(slug=entry.slug, defaults=values)
    last = model.routes.aggregate(last=Max("priority"))["last"]
    priority = 0 if last is None else last + 1
    Route.objects.get_or_create(model=model, upstream=upstream, upstream_model=name, defaults={"priority": priority})


class _Plan:
    """How the models of an upstream fit to ours: slugs in use, and the names that their upstreams know them by."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._spark = upstream.kind in {Upstream.Kind.SPARK, Upstream.Kind.SPARK_HTTP}
        self._names: dict[str, set[str]] = {slug: set() for slug in ChatModel.objects.values_list("slug", flat=True)}
        self._here: dict[str, list[str]] = {}
        for slug, upstream_id, name in Route.objects.values_list("model__slug", "upstream_id", "upstream_model"):
            self._names[slug].add(name)
            if upstream_id == upstream.pk:
                self._here.setdefault(name, []).append(slug)

    def entry(self, offered: OfferedModel) -> Entry:
        name = offered.name
        slug = self._slug(name)
        if slug in self._names and slug != name and name not in self._names[slug]:
            # Another model whose name became the same slug.
            slug = next(free for n in range(2, 1_000_000) if (free := f"{slug[:90]}-{n}") not in self._names)
        return Entry(offered, self._about(name), tuple(self._here.get(name, ())), slug, slug in self._names)

    def taken(self, entry: Entry) -> None:
        """Note that an entry was taken up."""
        self._names.setdefault(entry.slug, set()).add(entry.offered.name)
        self._here[entry.offered.name] = [entry.slug]

    def _about(self, name: str) -> str:
        version = VERSIONS.get(name) if self._spark else None
        if version is None:
            return ""
        return _("%(title)s, legacy") % {"title": version.title} if version.legacy else version.title

    def _slug(self, name: str) -> str:
        full = f"spark-{name}" if self._spark and not name.startswith("spark") else name
        fit = _UNFIT.sub("-", full).lstrip("-._:/")[:_SLUG_CHARS].rstrip("-")
        return fit or f"{self._upstream.slug}-model"[:_SLUG_CHARS]
