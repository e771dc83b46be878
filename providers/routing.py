"""From a model to its completion: routes, keys, adapters, and the only retry loop."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings

from providers import requests
from providers.adapters import Adapters
from providers.errors import ModelUnavailable
from providers.failover import Failovers, PassedOver, note_failed_attempt
from providers.health import Health
from providers.keys import Key, KeyPool
from providers.learned import ABOUT_THE_MODEL, Learned, merged, store_lesson
from providers.observer import UNOBSERVED, AttemptObserver
from providers.probe import MAX_RESENDS
from providers.snapshot import Configuration, ModelConfig, RouteConfig
from providers.verdicts import store
from providers.wire.base import (
    EMBEDDINGS,
    JSON,
    ChatRequest,
    Delta,
    Event,
    Finished,
    Notice,
    PromptMessage,
    Reasoning,
    Sources,
    Take,
    ToolCallDelta,
    Withdrawn,
    prompt_tokens,
    trim,
)
from providers.wire.errors import ContentBlocked, PromptTooLong, ProviderError, Retry
from providers.wire.images import CompletionImages
from providers.wire.text_taker import TextTaker

# What a reader gets, so that another attempt must withdraw it, or cannot follow it.
_SHOWN = (Delta, Reasoning, ToolCallDelta, CompletionImages, Sources)
# Seconds that one request may wait in all, over all its keys, before the first visible character.
MAX_WAIT_SECONDS = 30.0
# Seconds of the longest single wait; a longer `Retry-After` goes on to another key instead.
MAX_HINT_SECONDS = 10.0
# How many short cooldowns of the only key one request waits for.
MAX_SWITCH_WAITS = 2
# The HTTP status of a body that is too large. A shorter prompt may not help, so it is not tried.
BODY_TOO_LARGE = 413


class Routing:
    """Gives attempts the configuration, the key pool, the adapters, and the health of these."""

    def __init__(self, configuration: Configuration, pool: KeyPool, adapters: Adapters, health: Health) -> None:
        self.configuration, self.pool, self.adapters, self.health = configuration, pool, adapters, health
        self.failovers = Failovers(configuration, health.tasks)

    async def aclose(self) -> None:
        """Finish the probes and close the connections to all upstreams.

        The next stream opens new ones.
        """
        self.failovers.flush()
        await self.health.finish()
        await self.pool.limits.tasks.wait()
        await self.adapters.aclose()


@dataclass(slots=True)
class Attempts:
    """The attempts of one request, through routes and keys, until one succeeds.

    `parameters` are sent as they are; `extras` and `whole` are those of `ChatRequest`. `upstream` names the last one
    tried.
    """

    routing: Routing
    model: ModelConfig
    messages: tuple[PromptMessage, ...]
    parameters: Mapping[str, Any]
    generation: str
    extras: Mapping[str, JSON] = field(default_factory=dict)
    whole: bool = False
    user: int = 0
    # The names of those parameters that the caller set.
    given: frozenset[str] = frozenset()
    # Masks the messages before the first attempt, when that takes so long that it was not done yet.
    mask: Callable[[tuple[PromptMessage, ...]], Awaitable[tuple[PromptMessage, ...]]] | None = None
    # Takes most deltas past the generators, for a reader of which each costs as little as possible.
    take: Take | None = None
    text_taker: TextTaker | None = None
    observer: AttemptObserver = UNOBSERVED
    upstream: str = ""
    # What the log says about the request that this belongs to.
    origin: Mapping[str, object] = field(default_factory=dict)
    # Whether this attempt has sent any text or sources, and whether any text was no white space. Reasoning counts,
    # because it is charged.
    any_text: bool = False
    visible_text: bool = False
    # The requests that were sent, those in another form among them.
    calls: int = 0
    seconds_waited: float = 0.0
    resends: int = 0
    prompt_cut: bool = False
    # What the upstreams of routes taught this request, by the route's id.
    learned: dict[int, Learned] = field(default_factory=dict)
    # Lessons to store once a request that follows them succeeds, by the route's id.
    lessons: dict[int, Mapping[str, JSON]] = field(default_factory=dict)
    # The routes after the current one, and the vendors' hosts at which the request itself was at fault.
    later: Sequence[RouteConfig] = ()
    refusing_hosts: list[str] = field(default_factory=list)
    # The ids of this route's keys that failed, and whether another key was tried after a failure of the upstream.
    failed_keys: list[int] = field(default_factory=list)
    switched: bool = False
    # How many times this key was waited for.
    waits: int = 0
    failure: ProviderError | None = None
    # The routes that did not serve it, with the reasons that an operator should know.
    passed_over: list[PassedOver] = field(default_factory=list)

    async def run(self) -> AsyncGenerator[Event, None]:
        """Stream a completion; after a failure, try the next key, then the next route.

        It stops trying once visible text was sent. Raises ProviderError, or ModelUnavailable when there was no key to
        try.
        """
        if self.mask is not None:
            self.messages = await self.mask(self.messages)
        routes = _in_order(self.model.routes)
        self.routing.health.tend(routes, embeds=EMBEDDINGS in self.extras)
        for is_last in (False, True):
            self.passed_over.clear()
            for place, route in enumerate(routes):
                self.later, calls = routes[place + 1 :], self.calls
                async with aclosing(self._through(route)) as events:
                    async for event in events:
                        yield event
                if self.calls and self.failure is None:
                    return
                self.passed_over += self._passed_over(route, called=self.calls > calls)
            self.routing.failovers.note(self.model, self.passed_over, None)
            recovered = None if self.calls or is_last else await self.routing.health.recover(self.model)
            if recovered is None:
                break
            routes = _in_order(recovered.routes)
        raise self.failure or ModelUnavailable()

    async def _through(self, route: RouteConfig) -> AsyncGenerator[Event, None]:
        """Stream through one route, key after key; the last failure is left in `failure`.

        The last call is left to a later route, because keys of one upstream often fail for one reason.
        """
        self.failed_keys.clear()
        self.switched = False
        while (
            self._may_call(route)
            and not (self.failed_keys and self._calls_left() == 1 and self._has_later())
            and (lease := await self.routing.pool.lease(route.keys, route.upstream_model, self.failed_keys))
        ):
            self.waits = 0
            async with lease, aclosing(self._with_key(route, lease.key)) as events:
                async for event in events:
                    yield event
            if self.failure is None:
                return
            self.failed_keys.append(lease.key.id)
            if self.failure.blame == "request":
                # Another vendor may take the request, another key of this one does not.
                if isinstance(self.failure, ContentBlocked):
                    raise self.failure
                self.refusing_hosts.append(_host(route))
            elif self.failure.blame == "upstream":
                if self.switched or self.failure.scope == "all":
                    return
                self.switched = True

    def _passed_over(self, route: RouteConfig, *, called: bool) -> list[PassedOver]:
        """Return what an operator should know about a route that did not serve the request.

        Limits, and requests that are at fault themselves, are nothing to report.
        """
        if not called:
            reason = route.why_unusable() if self._may_call(route) else ""
            return [PassedOver(route, reason)] if reason else []
        if self.failure is None or self.failure.blame == "rate" or self.failure.action == "user":
            return []
        return [PassedOver(route, str(self.failure), is_certain=self.failure.blame != "request")]

    def _may_call(self, route: RouteConfig) -> bool:
        return self._calls_left() > 0 and _host(route) not in self.refusing_hosts

    def _calls_left(self) -> int:
        return settings.MAX_UPSTREAM_ATTEMPTS - self.calls

    async def _with_key(self, route: RouteConfig, key: Key) -> AsyncGenerator[Event, None]:
        """Stream with one key, and try again as long as waiting for it helps.

        Any other failure is left in `failure`.
        """
        request = self._request(route)
        health = self.routing.health
        while True:
            self.calls += 1
            request = self.observer.began(route, request)
            try:
                stream = self.routing.adapters.of(route.upstream).stream(request, key.secret)
                async with aclosing(cast("AsyncGenerator[Event, None]", stream)) as events:
                    async for event in events:
                        self._note(event)
                        if isinstance(event, Finished):
                            # Before the reader gets it, because readers close this generator then.
                            self.failure = None
                            health.note_success(route, key, self.generation, self.user)
                            self.routing.failovers.note(self.model, self.passed_over, route)
                            await self._store_lesson(route)
                        yield event
                return
            except (Retry, ProviderError) as problem:
                # Drop the traceback, because its frames would keep the upstream's data in memory.
                self.failure = (problem.otherwise if isinstance(problem, Retry) else problem).with_traceback(None)
                self.observer.failed(self.failure)
                if self.visible_text:
                    self._note_failed(self.failure)
                    if self.failure.blame != "rate":  # it has no meaning for a stream that has begun
                        await health.note_failure(route, key, self.failure, self.generation, self.user)
                    raise
                better = await self._better(route, problem)
            if self.any_text:
                self.any_text = False
                yield Withdrawn()
            if better is not None:
                request = better
                continue
            pause = await self._pause(route, key, self.failure)
            if pause is None:
                return
            yield Notice("retrying", pause)
            await asyncio.sleep(pause)

    def _request(self, route: RouteConfig) -> ChatRequest:
        self.upstream = route.upstream.slug
        request = ChatRequest(
            route.upstream_model,
            self.messages,
            self.parameters,
            self.generation,
            extras=self.extras,
            whole=self.whole,
            think_tags=self.model.think_tags,
            given=self.given,
            take=self._pass_on if self.take else None,
            text_taker=self.text_taker,
        )
        return requests.through(self.model, route, self._learned(route), request)

    def _learned(self, route: RouteConfig) -> Learned:
        return self.learned.get(route.id, route.learned)

    def _pass_on(self, events: Sequence[Event]) -> bool:
        for event in events:
            self._note(event)
        return self.take is None or self.take(events)

    def _note(self, event: Event) -> None:
        if self.visible_text or not isinstance(event, _SHOWN):
            return
        self.any_text = True
        if isinstance(event, Delta | Reasoning):
            self.visible_text = bool(event.text.strip())
        else:
            self.visible_text = not isinstance(event, Sources)

    async def _better(self, route: RouteConfig, problem: Retry | ProviderError) -> ChatRequest | None:
        """Return a request that avoids the upstream's complaint; None when there is none.

        The prompt is shortened at most once.
        """
        if not self._may_call(route):
            return None
        if isinstance(problem, Retry):
            return await self._learn(route, problem)
        if self.prompt_cut or self.whole or not isinstance(problem, PromptTooLong) or problem.status == BODY_TOO_LARGE:
            return None
        shorter = trim(self.messages, prompt_tokens(self.messages) // 2)
        fewer = len(shorter) < len(self.messages)
        self.prompt_cut, self.messages = True, shorter
        return self._request(route) if fewer else None

    async def _learn(self, route: RouteConfig, retry: Retry) -> ChatRequest | None:
        """Keep what the upstream teaches about its model; return the request to send instead.

        Returns None when the request was already sent too often, or the prompt already shortened.
        """
        self.resends += 1
        too_long = isinstance(retry.otherwise, PromptTooLong)
        if self.resends > MAX_RESENDS or (too_long and (self.prompt_cut or self.whole)):
            return None
        if too_long:
            self.prompt_cut, self.messages = True, retry.request.messages
        if retry.learned:
            self.learned[route.id] = self._learned(route).with_lesson(retry.learned)
            if lasting := self._lasting(retry.learned):
                self.lessons[route.id] = merged(self.lessons.get(route.id, {}), lasting)
        return retry.request

    def _lasting(self, lesson: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """Return the part of a lesson that holds for the requests of other callers too.

        The caller's own fields may be why the upstream refused another one.
        """
        if not (self.extras or self.given):
            return lesson
        return {name: value for name, value in lesson.items() if name in ABOUT_THE_MODEL}

    async def _store_lesson(self, route: RouteConfig) -> None:
        """Store what the upstream taught, because the request that follows it succeeded."""
        if lesson := self.lessons.pop(route.id, None):
            # While the database is away the next request learns it again.
            await store(store_lesson, route.id, lesson)
            self.routing.configuration.forget()

    def _note_failed(self, error: ProviderError) -> None:
        origin = {"generation": self.generation, "user": self.user or None, **self.origin}
        note_failed_attempt(self.upstream, error, **origin)

    async def _pause(self, route: RouteConfig, key: Key, error: ProviderError) -> float | None:
        """Note the failure; return the seconds to wait for this key.

        Returns None when another key is to be tried instead.
        """
        self._note_failed(error)
        seconds = self._seconds_to_wait(route, key, error)
        if seconds is not None and self.seconds_waited + seconds > MAX_WAIT_SECONDS:
            seconds = None
        if seconds is None or error.blame != "rate":  # a limit that is waited for concerns no other request
            await self.routing.health.note_failure(route, key, error, self.generation, self.user)
        if seconds is not None:
            self.waits += 1
            self.seconds_waited += seconds
        return seconds

    def _seconds_to_wait(self, route: RouteConfig, key: Key, error: ProviderError) -> float | None:
        """Return the seconds to wait for the same key.

        Returns None when waiting does not help, would take too long, or another key or route can be tried at once.
        """
        if not self._may_call(route) or (error.blame != "request" and self._has_other(route, key, error)):
            return None
        if error.action == "wait" and self.waits < error.attempts:
            seconds = _backoff(self.waits) if error.retry_after is None else error.retry_after
        elif error.action != "switch" or error.blame == "key":
            return None
        elif error.waits:
            return error.waits[self.waits] if self.waits < len(error.waits) else None
        elif self.waits < MAX_SWITCH_WAITS:
            seconds = error.cooldown_s
        else:
            return None
        return seconds if seconds <= MAX_HINT_SECONDS else None

    def _has_other(self, route: RouteConfig, key: Key, error: ProviderError) -> bool:
        """Return whether another key or a later route could be tried now."""
        usable = self.routing.pool.usable
        helps = error.blame != "upstream" or not (self.switched or error.scope == "all")
        if helps and usable(route.keys, route.upstream_model, [*self.failed_keys, key.id]):
            return True
        return self._has_later()

    def _has_later(self) -> bool:
        """Return whether a later route could be tried now."""
        usable = self.routing.pool.usable
        return any(usable(later.keys, later.upstream_model) for later in self.later if self._may_call(later))


def _host(route: RouteConfig) -> str:
    """Return the host and port that the route leads to, which stand for its vendor."""
    return urlsplit(route.upstream.endpoint.base_url).netloc.lower() or route.upstream.slug


def _backoff(attempt: int) -> float:
    return min(8.0, 0.5 * float(2**attempt)) * random.uniform(0.75, 1.25)  # noqa: S311


def _in_order(routes: Collection[RouteConfig]) -> list[RouteConfig]:
    """Return routes by priority; routes of equal priority by chance, weighted."""
    if len(routes) == 1:
        return [*routes]
    left, ordered = list(routes), []
    while left:
        first = min(route.priority for route in left)
        equals = [route for route in left if route.priority == first]
        ordered += random.choices(equals, [route.weight for route in equals])  # noqa: S311
        left.remove(ordered[-1])
    return ordered
