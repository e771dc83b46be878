"""From a model to its answer: routes, keys, providers, and the only retry loop.

The configuration is read from the database at most every `TABLE_SECONDS`; nothing here is asked per delta.
"""

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import structlog
from django.conf import settings
from django.db.models import Prefetch

from providers import keys
from providers.errors import ModelUnavailable
from providers.keys import KEYLESS, Key
from providers.models import ApiKey, ChatModel, Route, Upstream
from providers.wire.base import (
    ChatRequest,
    Clocks,
    Delta,
    Event,
    Notice,
    PromptMessage,
    Provider,
    Reasoning,
    Withdrawn,
    prompt_tokens,
    trim,
)
from providers.wire.errors import PromptTooLong, ProviderError, Retry
from providers.wire.openai_compatible import OpenAICompatible
from providers.wire.scripted import Scripted
from runtime import database

log = structlog.get_logger("providers")

# An admin's change is to be felt within five seconds in every process.
TABLE_SECONDS = 2.0
# The waits of one request, over all keys, and the longest single hint that is waited for.
MAX_WAIT_SECONDS, MAX_HINT_SECONDS = 60.0, 10.0
MAX_LEARNED = 3


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    slug: str
    kind: str
    base_url: str
    proxy: str
    clocks: Clocks
    keys: tuple[Key, ...]


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
    title: str
    description: str
    context_tokens: int
    parameters: Mapping[str, Any]
    token_cap_field: Literal["max_tokens", "max_completion_tokens", "none"]
    include_usage: bool
    routes: tuple[RouteConfig, ...]

    def available(self) -> bool:
        """Whether a route has a key that may be used now."""
        return any(keys.choose(route.upstream.keys) for route in self.routes)

    def check_available(self) -> None:
        """Raise ModelUnavailable unless it is available."""
        if self.available():
            return
        waits = [keys.seconds_until_usable(route.upstream.keys) for route in self.routes]
        raise ModelUnavailable(retry_after=min((wait for wait in waits if wait is not None), default=None))


# --- the table -------------------------------------------------------------------------------------------------------

_table: tuple[float, dict[str, ModelConfig]] | None = None
_table_lock = threading.Lock()


def table() -> dict[str, ModelConfig]:
    """Return the enabled models by slug, in the order of lists; synchronous, to be called where the database may be."""
    global _table
    with _table_lock:
        if _table is None or time.monotonic() - _table[0] > TABLE_SECONDS:
            _table = (time.monotonic(), _load())
        return _table[1]


def forget() -> None:
    """Read the configuration anew at the next question: after a change made in this process."""
    global _table
    _table = None


def _load() -> dict[str, ModelConfig]:
    usable_keys = ApiKey.objects.filter(enabled=True)
    routes = Route.objects.filter(upstream__enabled=True).select_related("upstream")
    models = (
        ChatModel.objects.filter(enabled=True)
        .order_by("position", "id")
        .prefetch_related(Prefetch("routes", routes), Prefetch("routes__upstream__keys", usable_keys, to_attr="usable"))
    )
    upstreams: dict[int, UpstreamConfig] = {}
    return {model.slug: _model_config(model, upstreams) for model in models}


def _model_config(model: ChatModel, upstreams: dict[int, UpstreamConfig]) -> ModelConfig:
    routes = []
    for route in model.routes.all():
        config = upstreams.get(route.upstream_id) or _upstream_config(route.upstream)
        upstreams[route.upstream_id] = config
        routes.append(RouteConfig(config, route.upstream_model, route.priority, route.weight))
    return ModelConfig(
        model.id,
        model.slug,
        model.title,
        model.description,
        model.context_tokens,
        model.parameters,
        cast('Literal["max_tokens", "max_completion_tokens", "none"]', model.token_cap_field),
        model.include_usage,
        tuple(routes),
    )


def _upstream_config(upstream: Upstream) -> UpstreamConfig:
    rows: list[ApiKey] = upstream.usable  # type: ignore[attr-defined]
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
    return UpstreamConfig(upstream.slug, upstream.kind, upstream.base_url, upstream.proxy, clocks, pool)


def _key(row: ApiKey) -> Key | None:
    secret = row.secret()
    if secret is None:
        log.error("key cannot be decrypted", key=row.fingerprint)
        return None
    return Key(row.id, secret, row.max_concurrency, row.cooldown_until, row.quarantined_at is not None)


# --- providers -------------------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[UpstreamConfig], Provider]] = {
    Upstream.Kind.OPENAI: lambda upstream: OpenAICompatible(upstream.base_url, upstream.proxy or None, upstream.clocks),
    Upstream.Kind.SCRIPTED: lambda upstream: Scripted(),
}
_providers: dict[tuple[str, str, str, Clocks], Provider] = {}


def provider_of(upstream: UpstreamConfig) -> Provider:
    """Return the one provider for this configuration; its connections are shared by all keys."""
    identity = (upstream.kind, upstream.base_url, upstream.proxy, upstream.clocks)
    provider = _providers.get(identity)
    if provider is None:
        provider = _providers[identity] = KINDS[upstream.kind](upstream)
    return provider


async def aclose() -> None:
    """Close the connections to all upstreams; the next stream opens new ones."""
    providers = list(_providers.values())
    _providers.clear()
    for provider in providers:
        await provider.aclose()


# --- the retry loop --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Attempts:
    """The way of one request through routes and keys, and what it has tried so far.

    `parameters` are sent as they are. `upstream` names the one tried last.
    """

    model: ModelConfig
    messages: tuple[PromptMessage, ...]
    parameters: Mapping[str, Any]
    generation: str
    upstream: str = ""
    visible: bool = False
    spoken: bool = False
    waited: float = 0.0
    learned: int = 0
    trimmed: bool = False
    tried: set[int] = field(default_factory=set)
    waits: int = 0
    failure: ProviderError | None = None

    async def run(self) -> AsyncGenerator[Event, None]:
        """Stream an answer: next key, then next route, as long as nothing visible has been said.

        Raises ProviderError, or ModelUnavailable when there was no key to try.
        """
        for route in _in_order(self.model.routes):
            self.tried.clear()
            while key := keys.choose(route.upstream.keys, self.tried):
                self.waits = 0
                async with aclosing(self._with_key(route, key)) as events:
                    async for event in events:
                        yield event
                if self.failure is None:
                    return
                self.tried.add(key.id)
        raise self.failure or ModelUnavailable()

    async def _with_key(self, route: RouteConfig, key: Key) -> AsyncGenerator[Event, None]:
        """Stream with one key, again and again as long as the failure says `wait`; leave any other in `failure`."""
        request = self._request(route)
        while True:
            try:
                with keys.lease(key):
                    stream = provider_of(route.upstream).stream(request, key.secret)
                    async with aclosing(cast("AsyncGenerator[Event, None]", stream)) as events:
                        async for event in events:
                            self._note(event)
                            yield event
                self.failure = None
                return
            except Retry as retry:
                request = await self._learn(retry)
                continue
            except ProviderError as error:
                if self.visible:
                    raise
                self.failure = error
            if self.spoken:
                self.spoken = False
                yield Withdrawn()
            if self._trim():
                request = self._request(route)
                continue
            pause = await self._pause(key, self.failure)
            if pause is None:
                return
            yield Notice("retrying", pause)
            await asyncio.sleep(pause)

    def _request(self, route: RouteConfig) -> ChatRequest:
        self.upstream = route.upstream.slug
        return ChatRequest(
            route.upstream_model,
            self.messages,
            self.parameters,
            self.generation,
            self.model.token_cap_field,
            self.model.include_usage,
        )

    def _note(self, event: Event) -> None:
        if not self.visible and isinstance(event, Delta | Reasoning):
            self.spoken = True
            self.visible = isinstance(event, Delta) and bool(event.text.strip())

    async def _learn(self, retry: Retry) -> ChatRequest:
        """Keep for the next requests what the upstream taught, and send the other request."""
        self.learned += 1
        if self.learned > MAX_LEARNED:
            raise retry.otherwise
        if retry.learned:
            await database.run(ChatModel.objects.filter(id=self.model.id).update, **retry.learned)
            self.model = replace(self.model, **cast("dict[str, Any]", retry.learned))
            forget()
        return retry.request

    def _trim(self) -> bool:
        """Halve a prompt that the upstream found too long, once."""
        if self.trimmed or not isinstance(self.failure, PromptTooLong):
            return False
        self.trimmed = True
        shorter = trim(self.messages, prompt_tokens(self.messages) // 2)
        fewer = len(shorter) < len(self.messages)
        self.messages = shorter
        return fewer

    async def _pause(self, key: Key, error: ProviderError) -> float | None:
        """Carry out what the failure asks for; return the seconds to wait for this key, None to go on to another."""
        log.warning(
            "attempt failed",
            generation=self.generation,
            upstream=self.upstream,
            action=error.action,
            status=error.status,
            vendor_code=error.vendor_code,
            vendor_request_id=error.vendor_request_id,
        )
        match error.action:
            case "user" | "ops":
                raise error
            case "disable":
                await keys.quarantine(key, str(error))
                forget()
                return None
            case "wait" if self.waits < error.attempts:
                return self._wait(_backoff(self.waits) if error.retry_after is None else error.retry_after)
            case _ if error.cooldown_s <= 0:
                return None
        others = self._others(key)
        if error.action == "switch" and not others and self.waits < 2 and error.cooldown_s <= MAX_HINT_SECONDS:
            return self._wait(error.cooldown_s)
        await keys.cool_down(key, error.cooldown_s, str(error))
        forget()
        return None

    def _others(self, key: Key) -> bool:
        tried = self.tried | {key.id}
        return any(keys.choose(route.upstream.keys, tried) for route in self.model.routes)

    def _wait(self, seconds: float) -> float | None:
        if seconds > MAX_HINT_SECONDS or self.waited + seconds > MAX_WAIT_SECONDS:
            return None
        self.waits += 1
        self.waited += seconds
        return seconds


def _backoff(attempt: int) -> float:
    return min(8.0, 0.5 * float(2**attempt)) * random.uniform(0.75, 1.25)  # noqa: S311


def _in_order(routes: tuple[RouteConfig, ...]) -> Iterator[RouteConfig]:
    """Yield routes by priority; among equals by lot, weighted."""
    left = list(routes)
    while left:
        first = min(route.priority for route in left)
        equals = [route for route in left if route.priority == first]
        chosen = random.choices(equals, [route.weight for route in equals])[0]  # noqa: S311
        left.remove(chosen)
        yield chosen
