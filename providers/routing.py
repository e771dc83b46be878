"""From a model to its completion: routes, keys, providers, and the only retry loop."""

import asyncio
import random
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

import structlog
from prometheus_client import Counter

from providers import keys
from providers.addresses import admitting
from providers.errors import ModelUnavailable, Unsupported
from providers.keys import ANY_MODEL, Key, KeyPool, Lease
from providers.models import ChatModel
from providers.snapshot import Configuration, ModelConfig, RouteConfig, UpstreamConfig
from providers.wire.base import (
    JSON,
    ChatRequest,
    Delta,
    Endpoint,
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
from runtime import database

log = structlog.get_logger("providers")

ALERTS = Counter(
    "rivulet_upstream_alerts", "Upstream failures that an operator should look into", ["upstream", "vendor_code"]
)

# Seconds that one request may wait in all, over all its keys.
MAX_WAIT_SECONDS = 60.0
# Seconds of the longest single wait; a longer `Retry-After` goes on to another key instead.
MAX_HINT_SECONDS = 10.0
# How many times one request is sent in another form that an upstream asked for.
MAX_RESENDS = 3
# How many short cooldowns of the only key one request waits for.
MAX_SWITCH_WAITS = 2
# The HTTP status of a body that is too large. A shorter prompt may not help, so it is not tried.
BODY_TOO_LARGE = 413


def new_provider(upstream: UpstreamConfig) -> Provider:
    """Return an adapter of its own for this upstream, to be closed by the caller."""
    admits = None if upstream.trusted else admitting(upstream.endpoint.base_url)
    return upstream.adapter(replace(upstream.endpoint, admits=admits))


class Routing:
    """Owns the adapters of this process, and what attempts need."""

    def __init__(self, configuration: Configuration, pool: KeyPool) -> None:
        self.configuration, self.pool = configuration, pool
        self._providers: dict[tuple[str, Endpoint, bool], Provider] = {}

    def provider_of(self, upstream: UpstreamConfig) -> Provider:
        """Return the one adapter for this configuration; its connections are shared by all keys."""
        identity = (upstream.kind, upstream.endpoint, upstream.trusted)
        if identity not in self._providers:
            self._providers[identity] = new_provider(upstream)
        return self._providers[identity]

    async def aclose(self) -> None:
        """Close the connections to all upstreams; the next stream opens new ones."""
        providers = list(self._providers.values())
        self._providers.clear()
        for provider in providers:
            await provider.aclose()


def able(model: ModelConfig, wanted: Collection[str]) -> ModelConfig:
    """Return the model with only the routes that accept all of `wanted`; raise Unsupported."""
    routes = tuple(route for route in model.routes if route.upstream.adapter.takes.issuperset(wanted))
    if model.routes and not routes:
        taken_by_all = frozenset.intersection(*(route.upstream.adapter.takes for route in model.routes))
        raise Unsupported([name for name in wanted if name not in taken_by_all])
    return model if len(routes) == len(model.routes) else replace(model, routes=routes)


@dataclass(slots=True)
class Attempts:
    """The attempts of one request, through routes and keys; `upstream` names the last one."""

    routing: Routing
    model: ModelConfig
    messages: tuple[PromptMessage, ...]
    parameters: Mapping[str, Any]
    generation: str
    extras: Mapping[str, JSON] = field(default_factory=dict)
    whole: bool = False
    upstream: str = ""
    # Whether this attempt has sent any text, and whether any of it was no white space. Reasoning counts: it is charged.
    any_text: bool = False
    visible_text: bool = False
    seconds_waited: float = 0.0
    resends: int = 0
    prompt_cut: bool = False
    # The ids of this route's keys that failed, and those failures for which the keys may not be at fault.
    failed_keys: set[int] = field(default_factory=set)
    suspects: dict[int, ProviderError] = field(default_factory=dict)
    # How many times this key was waited for.
    waits: int = 0
    failure: ProviderError | None = None

    async def run(self) -> AsyncGenerator[Event, None]:
        """Stream a completion; after a failure, try the next key, then the next route.

        It stops trying once visible text was sent. Raises ProviderError, or ModelUnavailable when there was no key to
        try.
        """
        for route in _in_order(self.model.routes):
            self.failed_keys.clear()
            self.suspects.clear()
            while lease := await self.routing.pool.lease(
                route.upstream.keys_now(), route.upstream_model, self.failed_keys
            ):
                self.waits = 0
                async with lease, aclosing(self._with_key(route, lease)) as events:
                    async for event in events:
                        yield event
                if self.failure is None:
                    return
                self.failed_keys.add(lease.key.id)
                # No other key helps when the whole upstream failed, or only asked to wait and sets no cooldown.
                if self.failure.scope == "all" or (self.failure.action == "wait" and self.failure.cooldown_s <= 0):
                    break
            await self._clear_if_all_failed_alike(route)
        raise self.failure or ModelUnavailable()

    async def _with_key(self, route: RouteConfig, lease: Lease) -> AsyncGenerator[Event, None]:
        """Stream with one key, as long as failures say `wait`; leave others in `failure`."""
        request = self._request(route)
        while True:
            try:
                stream = self.routing.provider_of(route.upstream).stream(request, lease.key.secret)
                async with aclosing(cast("AsyncGenerator[Event, None]", stream)) as events:
                    async for event in events:
                        self._note(event)
                        yield event
                        if self.visible_text and lease.probing:
                            lease.mark_recovered()
                            self.routing.configuration.forget()
                self.failure = None
                return
            except (Retry, ProviderError) as problem:
                if self.visible_text:
                    raise
                # Drop the traceback, because its frames would keep the upstream's data in memory.
                self.failure = (problem.otherwise if isinstance(problem, Retry) else problem).with_traceback(None)
                better = await self._better(route, problem)
            if self.any_text:
                self.any_text = False
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
            self.model.think_tags,
        )

    def _note(self, event: Event) -> None:
        if not self.visible_text and isinstance(event, Delta | Reasoning | ToolCallDelta):
            self.any_text = True
            self.visible_text = isinstance(event, ToolCallDelta) or bool(event.text.strip())

    async def _better(self, route: RouteConfig, problem: Retry | ProviderError) -> ChatRequest | None:
        """Return a request that avoids the upstream's complaint; shorten the prompt at most once."""
        if isinstance(problem, Retry):
            return await self._learn(problem)
        if self.prompt_cut or self.whole or not isinstance(problem, PromptTooLong) or problem.status == BODY_TOO_LARGE:
            return None
        shorter = trim(self.messages, prompt_tokens(self.messages) // 2)
        fewer = len(shorter) < len(self.messages)
        self.prompt_cut, self.messages = True, shorter
        return self._request(route) if fewer else None

    async def _learn(self, retry: Retry) -> ChatRequest | None:
        """Store the `learned` fields of a model; return the request to send instead.

        Returns None when the request was already sent too often, or the prompt already shortened.
        """
        self.resends += 1
        too_long = isinstance(retry.otherwise, PromptTooLong)
        if self.resends > MAX_RESENDS or (too_long and (self.prompt_cut or self.whole)):
            return None
        if too_long:
            self.prompt_cut, self.messages = True, retry.request.messages
        if retry.learned:
            await database.run(ChatModel.objects.filter(id=self.model.id).update, **retry.learned)
            self.model = replace(self.model, **cast("dict[str, Any]", retry.learned))
            self.routing.configuration.forget()
        return retry.request

    async def _pause(self, route: RouteConfig, key: Key, error: ProviderError) -> float | None:
        """Do what the failure asks for; return the seconds to wait, None for another key."""
        trouble = key.troubles.get(_scope(route, error))
        persists = trouble is not None and trouble.reason == str(error)
        if error.alerts or (error.alerts_if_persistent and persists):
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
            limit = await self.routing.pool.lower_concurrency(key)
            log.warning("max_concurrency of a key lowered", upstream=self.upstream, key=key.id, max_concurrency=limit)
            self.routing.configuration.forget()
        seconds = self._seconds_to_wait(route, key, error)
        if seconds is not None and self.seconds_waited + seconds <= MAX_WAIT_SECONDS:
            self.waits += 1
            self.seconds_waited += seconds
            return seconds
        await self._leave_out(route, key, error)
        return None

    def _seconds_to_wait(self, route: RouteConfig, key: Key, error: ProviderError) -> float | None:
        """Return the seconds to wait for the same key; None when that does not help."""
        if error.action == "wait" and self.waits < error.attempts:
            backoff = min(8.0, 0.5 * 2.0**self.waits) * random.uniform(0.75, 1.25)  # noqa: S311
            seconds = backoff if error.retry_after is None else error.retry_after
        elif error.action != "switch" or self._has_other_key(route, key):
            return None
        elif error.waits:
            return error.waits[self.waits] if self.waits < len(error.waits) else None
        elif self.waits < MAX_SWITCH_WAITS:
            seconds = error.cooldown_s
        else:
            return None
        return seconds if seconds <= MAX_HINT_SECONDS else None

    async def _leave_out(self, route: RouteConfig, key: Key, error: ProviderError) -> None:
        """Leave out this key, or the whole upstream, in all processes."""
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
        self.routing.configuration.forget()

    async def _clear_if_all_failed_alike(self, route: RouteConfig) -> None:
        """Put the keys back to use when all of several keys failed alike.

        Because then our configuration is wrong, and not the keys. A key that was left out for the same reason when this
        request began also counts as failed: when many requests run at once, each one tries only some of the keys.
        """
        pool = route.upstream.keys
        if not self.suspects or len(pool) < 2 or len({error.vendor_code for error in self.suspects.values()}) > 1:
            return
        error = next(iter(self.suspects.values()))
        scope = _scope(route, error)
        alike = {key.id for key in pool if scope in key.troubles and key.troubles[scope].reason == str(error)}
        if len(alike | self.suspects.keys()) < len(pool):
            return
        await keys.clear_trouble(alike | self.suspects.keys(), scope)
        self.routing.configuration.forget()
        self._alert(error)

    def _alert(self, error: ProviderError) -> None:
        ALERTS.labels(self.upstream, error.vendor_code).inc()
        log.error("upstream needs attention", upstream=self.upstream, reason=str(error), vendor_code=error.vendor_code)

    def _has_other_key(self, route: RouteConfig, key: Key) -> bool:
        """Return whether another key, of this route or of another one, could be tried now."""
        tried = self.failed_keys | {key.id}
        return any(
            self.routing.pool.usable(other.upstream.keys_now(), other.upstream_model, tried)
            for other in self.model.routes
            if other is route or other.upstream.slug != route.upstream.slug
        )


def _scope(route: RouteConfig, error: ProviderError) -> str:
    return route.upstream_model if error.scope == "key_model" else ANY_MODEL


def _in_order(routes: tuple[RouteConfig, ...]) -> Iterator[RouteConfig]:
    """Yield routes by priority; routes of equal priority by chance, weighted."""
    left = list(routes)
    while left:
        first = min(route.priority for route in left)
        equals = [route for route in left if route.priority == first]
        chosen = random.choices(equals, [route.weight for route in equals])[0]  # noqa: S311
        left.remove(chosen)
        yield chosen
