"""From a model to its answer: routes, keys, providers, and the only retry loop."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

import structlog
from prometheus_client import Counter

from providers import keys, snapshot
from providers.addresses import admitting
from providers.errors import ModelUnavailable, Unsupported
from providers.keys import ANY_MODEL, Key, Lease
from providers.models import ChatModel, Upstream
from providers.snapshot import ModelConfig, RouteConfig, UpstreamConfig
from providers.wire.base import (
    JSON,
    ChatRequest,
    Clocks,
    Delta,
    Event,
    Notice,
    PromptMessage,
    Provider,
    Reasoning,
    ToolCallDelta,
    Withdrawn,
    prompt_tokens,
    trim,
)
from providers.wire.errors import PromptTooLong, ProviderError, Retry
from providers.wire.net.dial import AddressCheck
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.scripted import Scripted
from providers.wire.spark.adapter import Spark
from providers.wire.spark.http import SparkHTTP
from providers.wire.zhipu.adapter import Zhipu
from providers.wire.zhipu.v3 import ZhipuV3
from runtime import database

log = structlog.get_logger("providers")

ALERTS = Counter("rivulet_upstream_alerts", "What an operator should look into", ["upstream", "vendor_code"])

# The waits of one request, over all keys, and the longest single hint that is waited for.
MAX_WAIT_SECONDS, MAX_HINT_SECONDS = 60.0, 10.0
MAX_LEARNED = 3
# How often a short cooldown is waited for when there is no other key.
MAX_SWITCH_WAITS = 2
BODY_TOO_LARGE = 413


KINDS: dict[str, Callable[[UpstreamConfig], Provider]] = {
    Upstream.Kind.OPENAI: lambda upstream: OpenAICompatible(*_way(upstream), admits=_admits(upstream)),
    Upstream.Kind.SPARK: lambda upstream: Spark(
        *_way(upstream), admits=_admits(upstream), sign_host=upstream.sign_host or None
    ),
    Upstream.Kind.SPARK_HTTP: lambda upstream: SparkHTTP(*_way(upstream), admits=_admits(upstream)),
    Upstream.Kind.ZHIPU: lambda upstream: Zhipu(*_way(upstream), admits=_admits(upstream), raw_key=upstream.raw_key),
    Upstream.Kind.ZHIPU_V3: lambda upstream: ZhipuV3(*_way(upstream), admits=_admits(upstream)),
    Upstream.Kind.SCRIPTED: lambda upstream: Scripted(),
}
# What their upstreams take beside text, of what a program may want passed on.
TAKES: dict[str, frozenset[str]] = {
    Upstream.Kind.OPENAI: OpenAICompatible.takes,
    Upstream.Kind.SPARK: Spark.takes,
    Upstream.Kind.SPARK_HTTP: SparkHTTP.takes,
    Upstream.Kind.ZHIPU: Zhipu.takes,
    Upstream.Kind.ZHIPU_V3: ZhipuV3.takes,
    Upstream.Kind.SCRIPTED: Scripted.takes,
}
_providers: dict[tuple[str, str, str, Clocks, bool, str, bool], Provider] = {}


def _way(upstream: UpstreamConfig) -> tuple[str, str | None, Clocks]:
    return upstream.base_url, upstream.proxy or None, upstream.clocks


def _admits(upstream: UpstreamConfig) -> AddressCheck | None:
    return None if upstream.trusted else admitting(upstream.base_url)


def provider_of(upstream: UpstreamConfig) -> Provider:
    """Return the one provider for this configuration; its connections are shared by all keys."""
    way = (upstream.kind, upstream.base_url, upstream.proxy, upstream.clocks, upstream.trusted)
    identity = (*way, upstream.sign_host, upstream.raw_key)
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


def able(model: ModelConfig, wanted: Collection[str]) -> ModelConfig:
    """Return the model with those of its routes that take all of `wanted`; raise Unsupported when none does."""
    routes = tuple(route for route in model.routes if TAKES[route.upstream.kind].issuperset(wanted))
    if model.routes and not routes:
        taken_by_all = frozenset.intersection(*(TAKES[route.upstream.kind] for route in model.routes))
        raise Unsupported([name for name in wanted if name not in taken_by_all])
    return model if len(routes) == len(model.routes) else replace(model, routes=routes)


@dataclass(slots=True)
class Attempts:
    """The way of one request through routes and keys, and what it has tried so far.

    `parameters` are sent as they are; `extras` and `whole` are those of `ChatRequest`. `upstream` names the one tried
    last.
    """

    model: ModelConfig
    messages: tuple[PromptMessage, ...]
    parameters: Mapping[str, Any]
    generation: str
    extras: Mapping[str, JSON] = field(default_factory=dict)
    whole: bool = False
    upstream: str = ""
    visible: bool = False
    spoken: bool = False
    waited: float = 0.0
    learned: int = 0
    trimmed: bool = False
    tried: set[int] = field(default_factory=set)
    waits: int = 0
    failure: ProviderError | None = None
    # Of the keys of this route: those that failed, and how, as far as it may turn out not to be their fault.
    suspects: dict[int, ProviderError] = field(default_factory=dict)

    async def run(self) -> AsyncGenerator[Event, None]:
        """Stream an answer: next key, then next route, as long as nothing visible has been said.

        Raises ProviderError, or ModelUnavailable when there was no key to try.
        """
        for route in _in_order(self.model.routes):
            self.tried.clear()
            self.suspects.clear()
            while lease := await keys.lease(route.upstream.keys_now(), route.upstream_model, self.tried):
                self.waits = 0
                async with lease, aclosing(self._with_key(route, lease)) as events:
                    async for event in events:
                        yield event
                if self.failure is None:
                    return
                self.tried.add(lease.key.id)
                if not _another_key_helps(self.failure):
                    break
            await self._judge(route)
        raise self.failure or ModelUnavailable()

    async def _with_key(self, route: RouteConfig, lease: Lease) -> AsyncGenerator[Event, None]:
        """Stream with one key, again and again as long as the failure says `wait`; leave any other in `failure`."""
        request = self._request(route)
        while True:
            try:
                stream = provider_of(route.upstream).stream(request, lease.key.secret)
                async with aclosing(cast("AsyncGenerator[Event, None]", stream)) as events:
                    async for event in events:
                        self._note(event)
                        yield event
                        if self.visible and lease.probing:
                            lease.recovered()
                            snapshot.forget()
                self.failure = None
                return
            except (Retry, ProviderError) as problem:
                if self.visible:
                    raise
                # Its traceback would keep the frames, and what the upstream sent in them, as long as this is kept.
                self.failure = (problem.otherwise if isinstance(problem, Retry) else problem).with_traceback(None)
                better = await self._better(route, problem)
            if self.spoken:
                self.spoken = False
                yield Withdrawn()
            if better is not None:
                request = better
                continue
            pause = await self._pause(route, lease.key, self.failure)
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
            self.extras,
            self.whole,
        )

    def _note(self, event: Event) -> None:
        if not self.visible and isinstance(event, Delta | Reasoning | ToolCallDelta):
            self.spoken = True
            self.visible = isinstance(event, ToolCallDelta) or (isinstance(event, Delta) and bool(event.text.strip()))

    async def _better(self, route: RouteConfig, problem: Retry | ProviderError) -> ChatRequest | None:
        """Return a request that answers the upstream's complaint, None when there is none. A prompt is cut once."""
        if isinstance(problem, Retry):
            return await self._learn(problem)
        # What a server finds too large is the body, not the prompt.
        if self.trimmed or self.whole or not isinstance(problem, PromptTooLong) or problem.status == BODY_TOO_LARGE:
            return None
        shorter = trim(self.messages, prompt_tokens(self.messages) // 2)
        fewer = len(shorter) < len(self.messages)
        self.trimmed, self.messages = True, shorter
        return self._request(route) if fewer else None

    async def _learn(self, retry: Retry) -> ChatRequest | None:
        """Keep for the next requests what the upstream taught, and return the one that it asks for."""
        self.learned += 1
        too_long = isinstance(retry.otherwise, PromptTooLong)
        if self.learned > MAX_LEARNED or (too_long and (self.trimmed or self.whole)):
            return None
        if too_long:
            self.trimmed, self.messages = True, retry.request.messages
        if retry.learned:
            await database.run(ChatModel.objects.filter(id=self.model.id).update, **retry.learned)
            self.model = replace(self.model, **cast("dict[str, Any]", retry.learned))
            snapshot.forget()
        return retry.request

    async def _pause(self, route: RouteConfig, key: Key, error: ProviderError) -> float | None:
        """Carry out what the failure asks for; return the seconds to wait for this key, None to go on to another."""
        if error.alerts or (error.alerts_if_persistent and _persists(route, key, error)):
            self._alert(error)
        log.warning(
            "attempt failed",
            generation=self.generation,
            upstream=self.upstream,
            action=error.action,
            status=error.status,
            vendor_code=error.vendor_code,
            vendor_request_id=error.vendor_request_id,
        )
        if error.action in {"user", "ops"}:
            raise error
        if error.crowded:
            limit = await keys.lower_concurrency(key)
            log.warning("a key carries too much at once", upstream=self.upstream, key=key.id, at_once=limit)
            snapshot.forget()
        seconds = self._seconds_to_wait(route, key, error)
        if seconds is not None and self.waited + seconds <= MAX_WAIT_SECONDS:
            self.waits += 1
            self.waited += seconds
            return seconds
        await self._leave_out(route, key, error)
        return None

    def _seconds_to_wait(self, route: RouteConfig, key: Key, error: ProviderError) -> float | None:
        """Return how long to wait for the same key, None where that is no use or too long."""
        if error.action == "wait" and self.waits < error.attempts:
            seconds = _backoff(self.waits) if error.retry_after is None else error.retry_after
        elif error.action != "switch" or self._others(route, key):
            return None
        elif error.waits:
            return error.waits[self.waits] if self.waits < len(error.waits) else None
        elif self.waits < MAX_SWITCH_WAITS:
            seconds = error.cooldown_s
        else:
            return None
        return seconds if seconds <= MAX_HINT_SECONDS else None

    async def _leave_out(self, route: RouteConfig, key: Key, error: ProviderError) -> None:
        """Tell all processes that this key, or the whole upstream, is not to be used for a while or at all."""
        model = _scope(route, error)
        if error.unanimous:
            self.suspects[key.id] = error
        if error.action == "disable":
            await keys.quarantine(key, model, str(error))
        elif error.cooldown_s > 0 and error.scope == "all":
            await keys.cool_down_upstream(route.upstream.slug, error.cooldown_s, str(error))
        elif error.cooldown_s > 0:
            await keys.cool_down(key, model, error.cooldown_s, str(error))
        else:
            return
        snapshot.forget()

    async def _judge(self, route: RouteConfig) -> None:
        """Acquit the keys when all of several failed alike: it is our configuration that is wrong, not each of them.

        A key that was left out for the same reason when this request began counts as one that failed: of many requests
        at once, each meets only some of the keys.
        """
        pool = route.upstream.keys
        if not self.suspects or len(pool) < 2 or len({error.vendor_code for error in self.suspects.values()}) > 1:
            return
        error = next(iter(self.suspects.values()))
        scope = _scope(route, error)
        alike = {key.id for key in pool if scope in key.troubles and key.troubles[scope].reason == str(error)}
        if len(alike | self.suspects.keys()) < len(pool):
            return
        await keys.acquit(alike | self.suspects.keys(), scope)
        snapshot.forget()
        self._alert(error)

    def _alert(self, error: ProviderError) -> None:
        ALERTS.labels(self.upstream, error.vendor_code).inc()
        log.error("upstream needs attention", upstream=self.upstream, reason=str(error), vendor_code=error.vendor_code)

    def _others(self, route: RouteConfig, key: Key) -> bool:
        """Whether another key, of this route or of another one, could be tried now."""
        tried = self.tried | {key.id}
        return any(
            keys.any_usable(other.upstream.keys_now(), other.upstream_model, tried)
            for other in self.model.routes
            if other is route or other.upstream.slug != route.upstream.slug
        )


def _another_key_helps(error: ProviderError) -> bool:
    """Whether the failure may be the key's own: one that only asked to wait stands when that was in vain."""
    return error.scope != "all" and (error.action != "wait" or error.cooldown_s > 0)


def _persists(route: RouteConfig, key: Key, error: ProviderError) -> bool:
    """Whether this key has rested for the same reason just before."""
    trouble = key.troubles.get(_scope(route, error))
    return trouble is not None and trouble.reason == str(error)


def _scope(route: RouteConfig, error: ProviderError) -> str:
    return route.upstream_model if error.scope == "key_model" else ANY_MODEL


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
