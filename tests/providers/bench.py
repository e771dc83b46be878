"""Routing on a bench: real rows and a real database, a scripted vendor instead of sockets, and no waiting."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import MappingProxyType
from typing import Any, cast

import pytest

from providers import routing
from providers.adapters import Adapters
from providers.concurrency import ConcurrencyLimits
from providers.encryption import fingerprint
from providers.health import Health
from providers.keys import KeyPool
from providers.models import ChatModel, KeyTrouble, Upstream, UpstreamTrouble
from providers.routing import Attempts, Routing
from providers.snapshot import Configuration, ModelConfig
from providers.wire.base import ChatRequest, Delta, Event, Finished, PromptMessage, Provider
from providers.wire.errors import UpstreamFailed
from runtime import database
from runtime.apps import runtime
from tests import factories

COMPLETION = (Delta("hello"), Finished("stop"))
PROMPT = (PromptMessage("user", "a user's prompt"),)
Script = list[tuple[Event | Exception, ...]]


def failure(action: Any, **facts: Any) -> UpstreamFailed:
    return UpstreamFailed("no", action=action, **facts)


class Vendor:
    """Adapters and their upstream in one: each key plays its script, call by call; the last part repeats.

    Neutral probes play `probes`, and complete where a key has none. Calls of requests and of probes are recorded apart.
    """

    name = "vendor"

    def __init__(self) -> None:
        self.scripts: Mapping[str, Script] = {}
        # Scripts for single prompts, instead of `scripts`.
        self.by_prompt: dict[str, Mapping[str, Script]] = {}
        self.probes: dict[str, Script] = {}
        self.calls: list[str] = []
        self.requests: list[ChatRequest] = []
        self.probe_calls: list[str] = []
        self.probe_requests: list[ChatRequest] = []
        # Probes wait for it.
        self.probing = asyncio.Event()
        self.probing.set()

    def of(self, _upstream: object) -> Provider:
        return cast("Provider", self)

    async def stream(self, request: ChatRequest, key: str | None) -> AsyncGenerator[Event, None]:
        name = key or "keyless"
        if request.messages and request.messages[-1].content == "Hi":
            self.probe_calls.append(name)
            self.probe_requests.append(request)
            await self.probing.wait()
            script = self.probes.get(name, [COMPLETION])
        else:
            self.calls.append(name)
            self.requests.append(request)
            prompt = request.messages[-1].content if request.messages else ""
            script = self.by_prompt.get(prompt, self.scripts)[name]
        for event in script.pop(0) if len(script) > 1 else script[0]:
            if isinstance(event, Exception):
                raise event
            yield event

    async def aclose(self) -> None:
        """Nothing to close."""


class Bench:
    """One process: its configuration, keys, health and routing."""

    def __init__(self) -> None:
        self.vendor = Vendor()
        self.pool = KeyPool(ConcurrencyLimits(runtime().redis))
        self.configuration = Configuration(self.pool)
        adapters = cast("Adapters", self.vendor)
        self.health = Health(self.configuration, adapters, self.pool)
        self.routing = Routing(self.configuration, self.pool, adapters, self.health)
        self.waits: list[float] = []
        self.events: list[Event] = []
        self._generations = count(1)

    async def config(self) -> ModelConfig:
        self.configuration.forget()
        return (await database.run(self.configuration.models))["m"]

    async def ask(
        self,
        scripts: Mapping[str, Script],
        user: int = 1,
        messages: tuple[PromptMessage, ...] = PROMPT,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> list[Event]:
        """Make one request; the events that came before a failure are in `events`."""
        self.vendor.scripts = scripts
        self.vendor.calls.clear()
        self.vendor.requests.clear()
        self.events = events = []
        generation = f"g{next(self._generations)}"
        attempts = Attempts(self.routing, await self.config(), messages, parameters, generation, user=user, **options)
        async for event in attempts.run():
            events.append(event)
        return events

    async def settle(self) -> None:
        """Return when all probes are decided and all verdicts stored."""
        await self.health.tasks.wait()

    async def fails(self, scripts: Mapping[str, Script], user: int = 1, **options: Any) -> Exception:
        """Make one request that fails, let the probes decide, and return the failure."""
        try:
            await self.ask(scripts, user, **options)
        except Exception as error:
            await self.settle()
            return error
        raise AssertionError("the request did not fail")


@contextmanager
def no_pauses(bench: Bench) -> Iterator[None]:
    """Let the pauses between attempts take no time, and record them."""
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        bench.waits.append(seconds)
        await sleep(0)

    class Quick:
        def __getattr__(self, name: str) -> Any:
            return record if name == "sleep" else getattr(asyncio, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "asyncio", Quick())
        yield


@pytest.fixture
async def bench() -> AsyncGenerator[Bench, None]:
    made = Bench()
    with no_pauses(made):
        yield made
    await made.health.finish()
    await asyncio.to_thread(database.close)


@pytest.fixture
def model() -> ChatModel:
    return factories.chat_model("m")


def with_keys(model: ChatModel, *secrets: str, priority: int = 0, slug: str = "a", **values: Any) -> Upstream:
    values = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", **values}
    upstream = factories.upstream(slug, **values)
    factories.route(model, upstream, priority=priority)
    for secret in secrets:
        factories.api_key(upstream, secret)
    return upstream


async def trouble_of(secret: str) -> KeyTrouble | None:
    return await database.run(KeyTrouble.objects.filter(key__fingerprint=fingerprint(secret)).first)


async def circuit() -> UpstreamTrouble | None:
    return await database.run(UpstreamTrouble.objects.first)
