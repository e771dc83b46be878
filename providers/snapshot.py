"""Read the configuration that routing uses: models, routes, upstreams and keys."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, cast

import structlog
from django.conf import settings
from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from django_stubs_ext import StrOrPromise

from providers import registry
from providers.errors import ModelUnavailable
from providers.keys import KEYLESS, Key, KeyPool, Trouble
from providers.known_models import not_taken
from providers.learned import NOTHING_LEARNED, Learned
from providers.models import ApiKey, ChatModel, KeyTrouble, Route, Upstream, UpstreamTrouble
from providers.wire.base import EMBEDDINGS, IMAGES, PASSED_ON, Clocks, Endpoint, Provider, TokenCapField
from runtime.ttl_cache import Ahead, TTLCache
from web.refusals import InvalidRequest

log = structlog.get_logger("providers")

NO_KEY = gettext_noop("The upstream has no key that can be used now.")

# What a name in a model's `takes` includes, because it makes no sense alone.
_INCLUDED = {"tools": ("tool_choice", "parallel_tool_calls"), "logprobs": ("top_logprobs",)}
# Seconds for which a process reuses what it has read. An admin's change must take effect everywhere within five.
TABLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """An upstream with its enabled keys; a `trusted` one, of the environment, may be private."""

    slug: str
    kind: str
    endpoint: Endpoint
    keys: tuple[Key, ...]
    trusted: bool = False
    id: int = 0
    # The circuits that are not closed, by the upstream's name for the model.
    troubles: Mapping[str, Trouble] = field(default_factory=dict)

    @property
    def adapter(self) -> type[Provider]:
        return registry.ADAPTERS[self.kind]

    def keys_for(self, model: str) -> tuple[Key, ...]:
        """Return the keys, none of them while the circuit for this model is not closed."""
        trouble = self.troubles.get(model)
        return () if trouble and trouble.excludes(timezone.now()) else self.keys

    def seconds_until_usable(self, model: str) -> float | None:
        """Return the seconds until a key may be used again; None when unknown.

        An open circuit counts first, then the shortest of the keys' cooldowns. It is None when there is no cooldown, or
        when only an operator can put a key back to use.
        """
        trouble = self.troubles.get(model)
        if trouble and trouble.cooldown_until and trouble.is_cooling(timezone.now()):
            return (trouble.cooldown_until - timezone.now()).total_seconds()
        waits = (key.seconds_excluded(model) for key in self.keys)
        return min((wait for wait in waits if wait is not None), default=None)


@dataclass(frozen=True, slots=True)
class RouteConfig:
    upstream: UpstreamConfig
    upstream_model: str
    priority: int
    weight: int
    id: int = 0
    # Fields of the body for this route, and fields that it never has.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    # None: those of the upstream.
    clocks: Clocks | None = None
    learned: Learned = NOTHING_LEARNED
    # Why requests passed it over, stored since it last served one; empty: it is in use.
    passed_over: str = ""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of the upstream, none of them while its circuit is not closed."""
        return self.upstream.keys_for(self.upstream_model)

    def why_unusable(self) -> str:
        """Return why no attempt may begin; empty for limits, which pass, and when one may."""
        now, model = timezone.now(), self.upstream_model
        if not self.upstream.keys:
            return NO_KEY
        troubles = [*(trouble for key in self.upstream.keys for trouble in key.troubles_with(model))]
        if circuit := self.upstream.troubles.get(model):
            troubles.insert(0, circuit)
        reasons = (trouble.reason for trouble in troubles if trouble.excludes(now) and trouble.blame != "rate")
        return next(reasons, "")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model and its routes; `pool` knows which keys can be used now."""

    id: int
    slug: str
    title: StrOrPromise
    description: StrOrPromise
    context_tokens: int
    parameters: Mapping[str, Any]
    token_cap_field: TokenCapField
    include_usage: bool
    routes: tuple[RouteConfig, ...]
    pool: KeyPool
    # Ids of the groups that it is reserved to; empty: every user may use it.
    groups: frozenset[int] = frozenset()
    think_tags: bool = True
    # Types of tools beside `function` that callers of /v1 may use.
    allowed_tool_types: frozenset[str] = frozenset()
    # What the model accepts of `PASSED_ON` and `IMAGES`; None: as much as the adapter of a route.
    takes: frozenset[str] | None = None

    def taken_by(self, route: RouteConfig) -> frozenset[str]:
        """Return the names of `PASSED_ON`, and `IMAGES`, that this model accepts through a route."""
        taken = route.upstream.adapter.takes_of(route.upstream_model) - route.drop
        # `takes` lists fields of completions; a request to embed is none.
        return taken if self.takes is None else taken & (self.takes | {EMBEDDINGS})

    def takes_of_routes(self) -> list[str]:
        """Return the names that at least one route accepts, as far as that is known."""
        known = (
            self.taken_by(route) - (not_taken(route.upstream_model) if self.takes is None else frozenset())
            for route in self.routes
        )
        taken = frozenset[str]().union(*known)
        return [name for name in (IMAGES, *PASSED_ON) if name in taken]

    def open_to(self, groups: Set[int]) -> bool:
        """Return whether a member of these groups may use it."""
        return not self.groups or not self.groups.isdisjoint(groups)

    def with_routes_of(self, other: "ModelConfig") -> "ModelConfig":
        """Return this model with only those routes that another configuration of it has too."""
        wanted = {(route.upstream.id, route.upstream_model) for route in other.routes}
        routes = tuple(route for route in self.routes if (route.upstream.id, route.upstream_model) in wanted)
        return replace(self, routes=routes)

    def available(self) -> bool:
        """Return whether a route has a key that may be used now."""
        return any(self.pool.usable(route.keys, route.upstream_model) for route in self.routes)

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Raise InvalidRequest for a temperature that no upstream of this model takes."""
        temperature = parameters.get("temperature")
        if temperature is None or not self.routes:
            return
        if not any(
            route.upstream.adapter.takes_temperature(route.upstream_model, temperature) for route in self.routes
        ):
            raise InvalidRequest(details={"temperature": [_("The model does not take this temperature.")]})

    def check_tools(self, extras: Mapping[str, Any]) -> None:
        """Raise InvalidRequest for a tool of a type that the model's row does not allow.

        Only functions run at the caller. The vendor runs the others, and may charge for them.
        """
        for place, tool in enumerate(extras.get("tools", ())):
            if tool["type"] not in {"function", *self.allowed_tool_types}:
                raise InvalidRequest(
                    details={f"tools[{place}].type": [_("The model does not allow this type of tool.")]}
                )

    def check_available(self) -> None:
        """Raise NoUsableRoute unless it is available."""
        if self.available():
            return
        waits = [route.upstream.seconds_until_usable(route.upstream_model) for route in self.routes]
        raise NoUsableRoute(self, min((wait for wait in waits if wait is not None), default=None))


class NoUsableRoute(ModelUnavailable):
    """The refusal of a model whose routes are all left out.

    Probes of `model` may show that one works again.
    """

    def __init__(self, model: ModelConfig, retry_after: float | None = None) -> None:
        super().__init__(retry_after=retry_after)
        self.model = model


class Configuration:
    """The enabled models, read from the database at most every `TABLE_SECONDS`; not asked per delta."""

    def __init__(self, pool: KeyPool, ahead: Ahead | None = None) -> None:
        self._pool = pool
        self._cache = TTLCache(self._load, TABLE_SECONDS, ahead)

    def models(self) -> dict[str, ModelConfig]:
        """Return the models by slug, in the order of lists; may query the database."""
        return self._cache.current()

    def last_models(self) -> dict[str, ModelConfig]:
        """Return the models as they were last read, without a query."""
        return self._cache.last() or {}

    def forget(self) -> None:
        """Read the database at the next call, because this process has changed it."""
        self._cache.forget()

    def changed(self) -> None:
        """Forget the rows now and after the transaction: until then other threads read old ones."""
        self._cache.changed()

    def _load(self) -> dict[str, ModelConfig]:
        routes = Route.objects.filter(upstream__enabled=True).select_related("upstream")
        keys = Prefetch("routes__upstream__keys", _enabled_keys(), to_attr="usable")
        rows = ChatModel.objects.filter(enabled=True).order_by("position", "id")
        upstreams: dict[int, UpstreamConfig] = {}
        return {
            model.slug: self._model_config(model, upstreams)
            for model in rows.prefetch_related("groups", Prefetch("routes", routes), keys, "routes__upstream__troubles")
        }

    def _model_config(self, model: ChatModel, upstreams: dict[int, UpstreamConfig]) -> ModelConfig:
        routes = []
        for route in model.routes.all():
            config = upstreams.get(route.upstream_id) or upstream_config(route.upstream)
            upstreams[route.upstream_id] = config
            overrides = model.overrides() | route.overrides()
            routes.append(
                RouteConfig(
                    config,
                    route.upstream_model,
                    route.priority,
                    route.weight,
                    route.pk,
                    route.parameters,
                    frozenset(route.drop),
                    replace(config.endpoint.clocks, **overrides) if overrides else None,
                    Learned.of(route.learned),
                    route.passed_over_reason,
                )
            )
        return ModelConfig(
            model.id,
            model.slug,
            model.shown_title,
            model.shown_description,
            model.context_tokens,
            model.parameters,
            cast("TokenCapField", model.token_cap_field),
            model.include_usage,
            tuple(routes),
            self._pool,
            frozenset(group.pk for group in model.groups.all()),
            model.think_tags,
            frozenset(model.allowed_tool_types),
            _with_included(model.takes),
        )


def _with_included(takes: list[str] | None) -> frozenset[str] | None:
    return None if takes is None else frozenset(part for name in takes for part in (name, *_INCLUDED.get(name, ())))


def upstream_now(upstream_id: int) -> UpstreamConfig:
    """Return an upstream as it is stored at this moment, with its enabled keys."""
    keys = Prefetch("keys", _enabled_keys(), to_attr="usable")
    return upstream_config(Upstream.objects.prefetch_related(keys).get(pk=upstream_id))


def _enabled_keys() -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(enabled=True).prefetch_related("troubles")


def upstream_config(upstream: Upstream) -> UpstreamConfig:
    """Return an upstream as routing sees it, with its enabled keys."""
    rows: list[ApiKey] = getattr(upstream, "usable", [])
    keys = tuple(key for key in map(_key, rows) if key)
    # An upstream without any key row needs no key; one whose rows are all disabled has none to offer.
    keyless = not keys and not upstream.keys.exists()
    clocks = Clocks(
        settings.UPSTREAM_CONNECT_SECONDS,
        settings.UPSTREAM_FIRST_SECONDS,
        settings.UPSTREAM_IDLE_SECONDS,
        settings.UPSTREAM_TOTAL_SECONDS,
    )
    return UpstreamConfig(
        upstream.slug,
        upstream.kind,
        Endpoint(
            upstream.base_url,
            upstream.proxy_url() or None,
            replace(clocks, **upstream.overrides()),
            sign_host=upstream.sign_host or None,
            raw_key=upstream.raw_key,
            headers=tuple(upstream.headers.items()),
            query=tuple(upstream.query.items()),
        ),
        (KEYLESS,) if keyless else keys,
        from_environment(upstream),
        upstream.pk,
        {row.model: _trouble(row) for row in upstream.troubles.all()},
    )


def from_environment(upstream: Upstream) -> bool:
    """Return whether the environment names this address, which may then be a private one."""
    named = upstream.environment.get("values", {})
    return bool(named) and all(named.get(name) == getattr(upstream, name) for name in ("base_url", "proxy"))


def _key(row: ApiKey) -> Key | None:
    secret = row.secret()
    if secret is None:
        log.error("key cannot be decrypted: check KEY_ENCRYPTION_KEYS", key=row.fingerprint)
        return None
    return Key(row.id, secret, row.max_concurrency, {found.model: _trouble(found) for found in row.troubles.all()})


def _trouble(row: KeyTrouble | UpstreamTrouble) -> Trouble:
    quarantined = isinstance(row, KeyTrouble) and row.quarantined_at is not None
    return Trouble(
        row.cooldown_until,
        quarantined,
        row.blame,
        row.hinted,
        row.probe_until,
        row.next_probe_at,
        row.status_reason,
    )
