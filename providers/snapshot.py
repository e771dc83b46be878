"""The configuration as routing sees it: models, their routes, the upstreams and keys behind them.

Read from the database at most every `TABLE_SECONDS`; nothing here is asked per delta.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

import structlog
from django.conf import settings
from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from providers import keys
from providers.errors import ModelUnavailable
from providers.keys import KEYLESS, Key, Trouble
from providers.models import ApiKey, ChatModel, Route, Upstream
from providers.wire.base import Clocks
from providers.wire.spark import adapter as spark
from providers.wire.zhipu import adapter as zhipu
from runtime.ttl_cache import Remembered
from web.refusals import InvalidRequest

log = structlog.get_logger("providers")

# An admin's change is to be felt within five seconds in every process.
TABLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    slug: str
    kind: str
    base_url: str
    proxy: str
    clocks: Clocks
    keys: tuple[Key, ...]
    cooldown_until: datetime | None = None
    trusted: bool = False
    sign_host: str = ""
    raw_key: bool = False

    def keys_now(self) -> tuple[Key, ...]:
        """Return the keys, none of them while the whole upstream cools down."""
        cooling = self.cooldown_until is not None and self.cooldown_until > timezone.now()
        return () if cooling else self.keys


@dataclass(frozen=True, slots=True)
class RouteConfig:
    upstream: UpstreamConfig
    upstream_model: str
    priority: int
    weight: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    id: int
    slug: str
    title: StrOrPromise
    description: StrOrPromise
    context_tokens: int
    parameters: Mapping[str, Any]
    token_cap_field: Literal["max_tokens", "max_completion_tokens", "none"]
    include_usage: bool
    routes: tuple[RouteConfig, ...]
    # To whom it is reserved; nobody named: everybody.
    groups: frozenset[int] = frozenset()

    def open_to(self, groups: Set[int]) -> bool:
        """Whether a member of these groups may use it."""
        return not self.groups or not self.groups.isdisjoint(groups)

    def available(self) -> bool:
        """Whether a route has a key that may be used now."""
        return any(keys.any_usable(route.upstream.keys_now(), route.upstream_model) for route in self.routes)

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Raise InvalidRequest for a temperature that no upstream of this model takes."""
        temperature = parameters.get("temperature")
        if temperature is None or not self.routes:
            return
        if not any(_takes_temperature(route, temperature) for route in self.routes):
            raise InvalidRequest(details={"temperature": [_("The model does not take this temperature.")]})

    def check_available(self) -> None:
        """Raise ModelUnavailable unless it is available."""
        if self.available():
            return
        waits = [_seconds_until_usable(route) for route in self.routes]
        raise ModelUnavailable(retry_after=min((wait for wait in waits if wait is not None), default=None))


def _takes_temperature(route: RouteConfig, temperature: float) -> bool:
    """Whether the vendor's own bounds admit it; servers that publish none decide by themselves."""
    match route.upstream.kind:
        case Upstream.Kind.SPARK:
            return spark.takes_temperature(route.upstream_model, temperature)
        case Upstream.Kind.ZHIPU | Upstream.Kind.ZHIPU_V3:
            return temperature <= zhipu.MAX_TEMPERATURE
    return True


def _seconds_until_usable(route: RouteConfig) -> float | None:
    until = route.upstream.cooldown_until
    if until is not None and until > timezone.now():
        return (until - timezone.now()).total_seconds()
    return keys.seconds_until_usable(route.upstream.keys, route.upstream_model)


def models() -> dict[str, ModelConfig]:
    """Return the enabled models by slug, in the order of lists; synchronous, to be called where the database may be."""
    return _models.current()


def forget() -> None:
    """Read the configuration anew at the next question: after a change made in this process."""
    _models.forget()


def changed() -> None:
    """Forget, now and once the transaction that is open can be seen: others may read the old rows until then."""
    _models.changed()


def upstream_now(upstream_id: int) -> UpstreamConfig:
    """Return an upstream as it is stored at this moment, with its enabled keys."""
    keys_of_it = Prefetch("keys", _enabled_keys(), to_attr="usable")
    return upstream_config(Upstream.objects.prefetch_related(keys_of_it).get(pk=upstream_id))


def _enabled_keys() -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(enabled=True).prefetch_related("troubles")


def _load() -> dict[str, ModelConfig]:
    routes = Route.objects.filter(upstream__enabled=True).select_related("upstream")
    rows = (
        ChatModel.objects.filter(enabled=True)
        .order_by("position", "id")
        .prefetch_related(
            "groups", Prefetch("routes", routes), Prefetch("routes__upstream__keys", _enabled_keys(), to_attr="usable")
        )
    )
    upstreams: dict[int, UpstreamConfig] = {}
    return {model.slug: _model_config(model, upstreams) for model in rows}


_models = Remembered(_load, TABLE_SECONDS)


def _model_config(model: ChatModel, upstreams: dict[int, UpstreamConfig]) -> ModelConfig:
    routes = []
    for route in model.routes.all():
        config = upstreams.get(route.upstream_id) or upstream_config(route.upstream)
        upstreams[route.upstream_id] = config
        routes.append(RouteConfig(config, route.upstream_model, route.priority, route.weight))
    return ModelConfig(
        model.id,
        model.slug,
        model.shown_title,
        model.shown_description,
        model.context_tokens,
        model.parameters,
        cast('Literal["max_tokens", "max_completion_tokens", "none"]', model.token_cap_field),
        model.include_usage,
        tuple(routes),
        frozenset(group.pk for group in model.groups.all()),
    )


def upstream_config(upstream: Upstream) -> UpstreamConfig:
    """Return an upstream as routing sees it, with its enabled keys."""
    rows: list[ApiKey] = upstream.usable if hasattr(upstream, "usable") else []
    pool = tuple(key for key in map(_key, rows) if key)
    # Without any key row the upstream needs none; with rows that are all disabled it has none to offer.
    keyless = not pool and not upstream.keys.exists()
    clocks = Clocks(
        settings.UPSTREAM_CONNECT_SECONDS,
        upstream.first_seconds or settings.UPSTREAM_FIRST_SECONDS,
        upstream.idle_seconds or settings.UPSTREAM_IDLE_SECONDS,
        upstream.total_seconds or settings.UPSTREAM_TOTAL_SECONDS,
    )
    pool = (KEYLESS,) if keyless else pool
    return UpstreamConfig(
        upstream.slug,
        upstream.kind,
        upstream.base_url,
        upstream.proxy,
        clocks,
        pool,
        upstream.cooldown_until,
        trusted=from_environment(upstream),
        sign_host=upstream.sign_host,
        raw_key=upstream.raw_key,
    )


def from_environment(upstream: Upstream) -> bool:
    """Whether the operator named this address: then it may be a private one."""
    named = upstream.environment.get("values", {})
    return bool(named) and all(named.get(name) == getattr(upstream, name) for name in ("base_url", "proxy"))


def _key(row: ApiKey) -> Key | None:
    secret = row.secret()
    if secret is None:
        log.error("key cannot be decrypted", key=row.fingerprint)
        return None
    troubles = {
        trouble.model: Trouble(
            trouble.cooldown_until, trouble.quarantined_at is not None, trouble.probe_until, trouble.status_reason
        )
        for trouble in row.troubles.all()
    }
    return Key(row.id, secret, row.max_concurrency, troubles)
