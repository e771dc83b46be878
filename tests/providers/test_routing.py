"""The retry loop and the key pool: the next key, the failing key, and the end of the attempts."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from providers import keys, snapshot
from providers.apps import providers_app
from providers.errors import ModelUnavailable
from providers.models import ChatModel, KeyTrouble, Upstream, fingerprint
from providers.routing import Attempts
from providers.snapshot import ModelConfig
from providers.wire.base import (
    ChatRequest,
    Delta,
    Endpoint,
    Event,
    Finished,
    Notice,
    PromptMessage,
    Reasoning,
    Withdrawn,
)
from providers.wire.errors import PromptTooLong, ProviderError, Retry, UpstreamFailed
from runtime import database
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

COMPLETION = (Delta("hello"), Finished("stop"))
Script = list[tuple[Event | Exception, ...]]


class Upstreams:
    """A provider double: each key plays its script, call by call; calls are recorded."""

    name = "double"

    def __init__(self, scripts: dict[str, Script]) -> None:
        self.scripts = scripts
        self.calls: list[str] = []
        self.requests: list[ChatRequest] = []

    async def stream(self, request: ChatRequest, key: str | None) -> AsyncGenerator[Event, None]:
        self.calls.append(key or "keyless")
        self.requests.append(request)
        script = self.scripts[key or "keyless"]
        for event in script.pop(0) if len(script) > 1 else script[0]:
            if isinstance(event, Exception):
                raise event
            yield event

    async def aclose(self) -> None:
        """Nothing to close."""


def failure(action: Any, **facts: Any) -> UpstreamFailed:
    return UpstreamFailed("no", action=action, **facts)


@pytest.fixture
async def executor() -> AsyncGenerator[None, None]:
    yield
    await asyncio.to_thread(database.close)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let waits take no time, and record them."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("providers.routing.asyncio.sleep", record)
    return waits


@pytest.fixture
def model() -> ChatModel:
    return factories.chat_model("m")


def with_keys(model: ChatModel, *secrets: str, priority: int = 0, slug: str = "a") -> Upstream:
    upstream = factories.upstream(slug, kind="openai", base_url="http://127.0.0.1:9/v1")
    factories.route(model, upstream, priority=priority)
    for secret in secrets:
        factories.api_key(upstream, secret)
    return upstream


async def ask(
    monkeypatch: pytest.MonkeyPatch, scripts: dict[str, Script], **options: Any
) -> tuple[list[Event], Upstreams]:
    """Run one request through routing; return its events and the doubles."""
    doubles = Upstreams(scripts)
    monkeypatch.setattr(providers_app().routing, "provider_of", lambda upstream: doubles)
    config: ModelConfig = (await database.run(providers_app().configuration.models))["m"]
    messages = options.get("messages", (PromptMessage("user", "hi"),))
    events = []
    try:
        async for event in Attempts(providers_app().routing, config, messages, {}, "g").run():
            events.append(event)
    except Exception as error:
        error.events, error.doubles = events, doubles  # type: ignore[attr-defined]
        raise
    return events, doubles


async def test_a_good_key_completes_the_prompt(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good key completes the prompt in one attempt."""
    await database.run(with_keys, model, "one")
    events, doubles = await ask(monkeypatch, {"one": [COMPLETION]})
    assert (tuple(events), doubles.calls) == (COMPLETION, ["one"])


async def test_an_upstream_without_keys_is_called_without_one(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upstream without any key row is called without a key."""
    await database.run(with_keys, model)
    assert (await ask(monkeypatch, {"keyless": [COMPLETION]}))[1].calls == ["keyless"]


async def test_a_dead_key_is_quarantined(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`disable` takes the next key and leaves the failing one out until an operator clears it."""
    await database.run(with_keys, model, "dead", "good")
    for _ in range(10):
        events, _doubles = await ask(monkeypatch, {"dead": [(failure("disable"),)], "good": [COMPLETION]})
        assert tuple(events) == COMPLETION
    trouble = await database.run(KeyTrouble.objects.get, key__fingerprint=fingerprint("dead"))
    assert (trouble.status, trouble.status_reason) == ("quarantined", "no")
    assert (await ask(monkeypatch, {"good": [COMPLETION]}))[1].calls == ["good"]


async def test_a_limited_key_cools_down(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`switch` takes the next key at once, and the failing one comes back after its cooldown."""
    await database.run(with_keys, model, "busy", "good")
    for _ in range(10):
        await ask(monkeypatch, {"busy": [(failure("switch", cooldown_s=20),)], "good": [COMPLETION]})
    trouble = await database.run(KeyTrouble.objects.get, key__fingerprint=fingerprint("busy"))
    assert trouble.status == "cooling"
    assert timedelta(seconds=10) < trouble.cooldown_until - timezone.now() <= timedelta(seconds=20)


async def test_a_cooled_key_comes_back_with_one_probe(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its cooldown one attempt probes a key; the first visible character puts it back to full use."""
    upstream = await database.run(with_keys, model, "busy", "good")
    row = await database.run(upstream.keys.get, fingerprint=fingerprint("busy"))
    await keys.cool_down(keys.Key(row.id, "busy"), "m", -1, "busy")
    probing, others = asyncio.Event(), asyncio.Event()

    class Slow(Upstreams):
        async def stream(self, request: ChatRequest, key: str | None) -> AsyncGenerator[Event, None]:
            self.calls.append(key or "")
            if key == "busy" and not probing.is_set():
                probing.set()
                await others.wait()
            for event in COMPLETION:
                yield event

    doubles = Slow({})
    monkeypatch.setattr(providers_app().routing, "provider_of", lambda upstream: doubles)

    async def complete() -> None:
        config = (await database.run(providers_app().configuration.models))["m"]
        assert [event async for event in Attempts(providers_app().routing, config, (), {}, "g").run()] == list(
            COMPLETION
        )

    probe = asyncio.create_task(complete())
    await probing.wait()
    for _ in range(10):
        await complete()
    assert doubles.calls == ["busy"] + ["good"] * 10
    others.set()
    await probe
    await providers_app().pool.tasks.wait()
    assert not await database.run(KeyTrouble.objects.exists)
    for _ in range(30):
        await complete()
    assert set(doubles.calls[11:]) == {"busy", "good"}


async def test_a_failed_probe_cools_again(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that fails its probe is left out again, and the next key is used."""
    upstream = await database.run(with_keys, model, "busy", "good")
    row = await database.run(upstream.keys.get, fingerprint=fingerprint("busy"))
    await keys.cool_down(keys.Key(row.id, "busy"), "m", -1, "busy")
    scripts: dict[str, Script] = {"busy": [(failure("switch", cooldown_s=20),)], "good": [COMPLETION]}
    assert (await ask(monkeypatch, scripts))[1].calls == ["busy", "good"]
    assert (await database.run(KeyTrouble.objects.get)).status == "cooling"
    assert (await ask(monkeypatch, scripts))[1].calls == ["good"]


async def test_a_cancelled_probe_lets_the_next_attempt_probe(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probing attempt that is stopped before visible text lets the next one probe."""
    upstream = await database.run(with_keys, model, "busy")
    row = await database.run(upstream.keys.get)
    await keys.cool_down(keys.Key(row.id, "busy"), "m", -1, "busy")
    pool = (await database.run(providers_app().configuration.models))["m"].routes[0].upstream.keys
    first = await providers_app().pool.lease(pool, "m")
    assert first
    async with first:
        assert await providers_app().pool.lease(pool, "m") is None
    await providers_app().pool.tasks.wait()
    assert await providers_app().pool.lease(pool, "m") is not None


async def test_trouble_with_one_model_leaves_the_others(model: ChatModel, executor: None) -> None:
    """A cooldown for one model leaves the key's other models; one of the key concerns all."""
    upstream = await database.run(with_keys, model, "one")
    row = await database.run(upstream.keys.get)
    await keys.cool_down(keys.Key(row.id, "one"), "m", 60, "busy")
    providers_app().configuration.forget()
    pool = (await database.run(providers_app().configuration.models))["m"].routes[0].upstream.keys
    assert not providers_app().pool.usable(pool, "m")
    assert providers_app().pool.usable(pool, "other")
    await keys.quarantine(keys.Key(row.id, "one"), keys.ANY_MODEL, "dead")
    providers_app().configuration.forget()
    pool = (await database.run(providers_app().configuration.models))["m"].routes[0].upstream.keys
    assert not providers_app().pool.usable(pool, "other")


async def test_a_failure_of_the_upstream_leaves_out_all_its_keys(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that concerns all keys is not tried with each; the next route is taken."""
    await database.run(with_keys, model, "one", "two")
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    down = [(failure("wait", cooldown_s=60, scope="all"),)]
    _events, doubles = await ask(monkeypatch, {"one": down, "two": down, "spare": [COMPLETION]})
    assert len(doubles.calls) == 2
    assert (await ask(monkeypatch, {"spare": [COMPLETION]}))[1].calls == ["spare"]


async def test_an_error_names_its_pauses(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    """A single key waits as long as the error says; a second key is used at once."""
    await database.run(with_keys, model, "only")
    limited = (failure("switch", cooldown_s=2, waits=(2.0, 8.0, 30.0)),)
    events, _doubles = await ask(monkeypatch, {"only": [limited, limited, COMPLETION]})
    assert no_waiting == [2, 8]
    assert events == [Notice("retrying", 2), Notice("retrying", 8), *COMPLETION]
    await database.run(lambda: factories.api_key(Upstream.objects.get(), "second"))
    providers_app().configuration.forget()
    no_waiting.clear()
    for _ in range(6):
        await ask(monkeypatch, {"only": [limited], "second": [COMPLETION]})
    assert no_waiting == []


async def test_a_later_cooldown_never_shortens_a_longer_one(model: ChatModel, executor: None) -> None:
    """The longest hint counts."""
    upstream = await database.run(with_keys, model, "one")
    row = await database.run(upstream.keys.get)
    for seconds in (60, 5):
        await keys.cool_down(keys.Key(row.id, "one"), "m", seconds, "busy")
    trouble = await database.run(KeyTrouble.objects.get)
    assert trouble.cooldown_until > timezone.now() + timedelta(seconds=50)


async def test_a_short_cooldown_of_the_only_key_is_waited_for(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    """Without another key the attempt waits for a short cooldown and sends a notice."""
    await database.run(with_keys, model, "only")
    events, doubles = await ask(monkeypatch, {"only": [(failure("switch", cooldown_s=2),), COMPLETION]})
    assert events == [Notice("retrying", 2), *COMPLETION]
    assert (doubles.calls, no_waiting) == (["only", "only"], [2])


async def test_waits_double_and_end(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    """`wait` asks the same key again, twice at most, with growing pauses; then the failure stands."""
    await database.run(with_keys, model, "only")
    with pytest.raises(UpstreamFailed) as caught:
        await ask(monkeypatch, {"only": [(failure("wait", attempts=2),)]})
    assert len(caught.value.doubles.calls) == 3  # type: ignore[attr-defined]
    assert 0.375 <= no_waiting[0] <= 0.625
    assert 0.75 <= no_waiting[1] <= 1.25


async def test_the_next_route_follows_when_all_keys_failed(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all keys of a route have failed, the route of the next priority is taken."""
    await database.run(with_keys, model, "one", "two")
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    broken = [(failure("wait", cooldown_s=30),)]
    events, doubles = await ask(monkeypatch, {"one": broken, "two": broken, "spare": [COMPLETION]})
    assert tuple(event for event in events if not isinstance(event, Notice)) == COMPLETION
    assert sorted(doubles.calls[:2]) == ["one", "two"]
    assert doubles.calls[-1] == "spare"


async def test_an_outage_is_not_tried_with_other_keys(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that is not the key's own goes to the next route.

    Other keys of the upstream might be billed as well.
    """
    await database.run(with_keys, model, "one", "two")
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    down = [(failure("wait", attempts=1),)]
    _events, doubles = await ask(monkeypatch, {"one": down, "two": down, "spare": [COMPLETION]})
    assert (len(set(doubles.calls[:2])), doubles.calls[2:]) == (1, ["spare"])


@pytest.mark.parametrize("action", ["user", "ops"])
async def test_no_other_key_would_help(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """A failure of the request or of our configuration is not tried again."""
    await database.run(with_keys, model, "one", "two")
    with pytest.raises(ProviderError) as caught:
        await ask(monkeypatch, {"one": [(failure(action),)], "two": [(failure(action),)]})
    assert len(caught.value.doubles.calls) == 1  # type: ignore[attr-defined]


async def test_after_the_first_visible_character_nothing_is_tried_again(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completion whose text users have seen is not started again."""
    await database.run(with_keys, model, "one", "two")
    cut = [(Delta("he"), failure("wait", attempts=2))]
    with pytest.raises(UpstreamFailed) as caught:
        await ask(monkeypatch, {"one": cut, "two": cut})
    assert caught.value.events == [Delta("he")]  # type: ignore[attr-defined]


async def test_white_space_is_withdrawn_before_another_try(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space of a failed attempt, reasoning too, is withdrawn before the next one."""
    await database.run(with_keys, model, "only")
    events, _doubles = await ask(
        monkeypatch, {"only": [(Reasoning(" "), Delta("\n"), failure("switch", cooldown_s=1)), COMPLETION]}
    )
    assert events == [Reasoning(" "), Delta("\n"), Withdrawn(), Notice("retrying", 1), *COMPLETION]


async def test_no_other_try_after_reasoning(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion whose reasoning users have seen is not started again: it is charged, and /v1 would send it twice."""
    await database.run(with_keys, model, "one", "two")
    cut = [(Reasoning("hm"), failure("wait", attempts=2))]
    with pytest.raises(UpstreamFailed) as caught:
        await ask(monkeypatch, {"one": cut, "two": cut})
    assert caught.value.events == [Reasoning("hm")]  # type: ignore[attr-defined]


async def test_what_an_upstream_teaches_is_kept(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that an upstream refuses is replaced at once, and stored with the model."""
    await database.run(with_keys, model, "only")
    other = ChatRequest("m", (), {}, "g", token_cap_field="max_completion_tokens")
    lesson = Retry(other, {"token_cap_field": "max_completion_tokens"}, failure("ops"))
    events, doubles = await ask(monkeypatch, {"only": [(lesson,), COMPLETION]})
    assert tuple(events) == COMPLETION
    assert doubles.requests[1] == other
    await database.run(model.refresh_from_db)
    assert model.token_cap_field == "max_completion_tokens"
    with pytest.raises(UpstreamFailed):
        await ask(monkeypatch, {"only": [(lesson,)]})


async def test_a_prompt_too_long_is_halved_once(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest turns are dropped once; a prompt that is still too long fails."""
    await database.run(with_keys, model, "only")
    turns = tuple(PromptMessage("user" if i % 2 == 0 else "assistant", "x" * 400) for i in range(21))
    too_long = PromptTooLong("too long", action="user")
    events, doubles = await ask(monkeypatch, {"only": [(too_long,), COMPLETION]}, messages=turns)
    assert tuple(events) == COMPLETION
    assert 5 <= len(doubles.requests[1].messages) <= 11
    with pytest.raises(PromptTooLong) as caught:
        await ask(monkeypatch, {"only": [(too_long,)]}, messages=turns)
    assert len(caught.value.doubles.calls) == 2  # type: ignore[attr-defined]


async def test_a_prompt_that_was_cut_stays_cut(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next key gets the shorter prompt too; an upstream's own cut is followed once."""
    await database.run(with_keys, model, "one", "two")
    turns = tuple(PromptMessage("user" if i % 2 == 0 else "assistant", "x" * 400) for i in range(5))
    shorter = Retry(ChatRequest("m", turns[2:], {}, "g"), {}, PromptTooLong("too long", action="user"))
    busy = (failure("switch", cooldown_s=20),)
    scripts: dict[str, Script] = {"one": [(shorter,), busy], "two": [(shorter,), busy]}
    monkeypatch.setattr(keys, "random", SimpleNamespace(choice=lambda found: found[0]))
    with pytest.raises(PromptTooLong) as caught:
        await ask(monkeypatch, scripts, messages=turns)
    sent = [request.messages for request in caught.value.doubles.requests]  # type: ignore[attr-defined]
    assert sent == [turns, turns[2:], turns[2:]]


async def test_a_model_without_a_usable_key_is_unavailable(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every key left out the model is unavailable, with `retry_after` where it is known."""
    upstream = await database.run(with_keys, model, "one")
    row = await database.run(upstream.keys.get)
    await keys.cool_down(keys.Key(row.id, "one"), "m", 30, "busy")
    config = (await database.run(providers_app().configuration.models))["m"]
    with pytest.raises(ModelUnavailable) as caught:
        config.check_available()
    assert caught.value.retry_after == pytest.approx(30, abs=2)
    with pytest.raises(ModelUnavailable):
        await ask(monkeypatch, {})


async def test_a_key_keeps_its_concurrency_limit(model: ChatModel, executor: None) -> None:
    """A key carries no more attempts at once than its limit, and the least loaded key is chosen."""
    one, two = keys.Key(101, "one", max_concurrency=1), keys.Key(102, "two")
    first = await providers_app().pool.lease([one], "m")
    assert first
    async with first:
        assert await providers_app().pool.lease([one], "m") is None
        second = await providers_app().pool.lease([one, two], "m")
        assert second
        assert second.key == two
    async with second:
        third = await providers_app().pool.lease([one, two], "m")
        assert third
        assert third.key == one


async def test_secrets_are_encrypted_at_rest(model: ChatModel, executor: None) -> None:
    """The database holds a ciphertext that opens only with KEY_ENCRYPTION_KEYS."""
    upstream = await database.run(with_keys, model, "sk-very-secret-value")
    row = await database.run(upstream.keys.get)
    assert "very-secret" not in row.ciphertext
    assert row.secret() == "sk-very-secret-value"
    assert (row.last4, str(row)) == ("alue", "a …alue")


def test_upstreams_reached_alike_share_a_provider() -> None:
    """Upstreams share a provider only when every field of their endpoint is the same."""
    config = snapshot.UpstreamConfig("a", "spark", Endpoint("wss://spark.example.org"), ())
    routing = providers_app().routing
    same = routing.provider_of(replace(config, slug="b"))
    assert routing.provider_of(config) is same
    assert routing.provider_of(replace(config, trusted=True)) is not same
    for change in ({"sign_host": "gateway.example"}, {"raw_key": True}, {"proxy": "http://p:1"}):
        other = replace(config, endpoint=replace(config.endpoint, **change))
        assert routing.provider_of(other) is not same
