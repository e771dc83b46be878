"""The retry loop and the key pool: which key comes next, what happens to the failing one, when it is over."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from providers import keys, routing
from providers.errors import ModelUnavailable
from providers.models import ApiKey, ChatModel, Upstream, fingerprint
from providers.routing import Attempts, ModelConfig
from providers.wire.base import ChatRequest, Delta, Event, Finished, Notice, PromptMessage, Reasoning, Withdrawn
from providers.wire.errors import PromptTooLong, ProviderError, Retry, UpstreamFailed
from runtime import database
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

ANSWER = (Delta("hello"), Finished("stop"))
Script = list[tuple[Event | Exception, ...]]


class Upstreams:
    """Provider doubles: each key of each upstream plays its script, call by call; calls are recorded."""

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
async def door() -> AsyncGenerator[None, None]:
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
    monkeypatch.setattr(routing, "provider_of", lambda upstream: doubles)
    config: ModelConfig = (await database.run(routing.table))["m"]
    messages = options.get("messages", (PromptMessage("user", "hi"),))
    events = []
    try:
        async for event in Attempts(config, messages, {}, "g").run():
            events.append(event)
    except Exception as error:
        error.events, error.doubles = events, doubles  # type: ignore[attr-defined]
        raise
    return events, doubles


async def test_it_works(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good key answers at once."""
    await database.run(with_keys, model, "one")
    events, doubles = await ask(monkeypatch, {"one": [ANSWER]})
    assert (tuple(events), doubles.calls) == (ANSWER, ["one"])


async def test_keyless_upstreams(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream without any key row is asked without a key."""
    await database.run(with_keys, model)
    assert (await ask(monkeypatch, {"keyless": [ANSWER]}))[1].calls == ["keyless"]


async def test_a_dead_key_is_quarantined(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`disable` takes the next key, and the failing one is out until somebody clears it."""
    await database.run(with_keys, model, "dead", "good")
    for _ in range(10):
        events, _doubles = await ask(monkeypatch, {"dead": [(failure("disable"),)], "good": [ANSWER]})
        assert tuple(events) == ANSWER
    key = await database.run(ApiKey.objects.get, fingerprint=fingerprint("dead"))
    assert (key.status, key.status_reason) == ("quarantined", "no")
    assert (await ask(monkeypatch, {"good": [ANSWER]}))[1].calls == ["good"]


async def test_a_limited_key_cools_down(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`switch` takes the next key at once, and the failing one comes back after its cooldown."""
    await database.run(with_keys, model, "busy", "good")
    for _ in range(10):
        await ask(monkeypatch, {"busy": [(failure("switch", cooldown_s=20),)], "good": [ANSWER]})
    key = await database.run(ApiKey.objects.get, fingerprint=fingerprint("busy"))
    assert key.status == "cooling"
    assert timedelta(seconds=10) < key.cooldown_until - timezone.now() <= timedelta(seconds=20)
    await database.run(ApiKey.objects.filter(pk=key.pk).update, cooldown_until=timezone.now())
    routing.forget()
    seen = {(await ask(monkeypatch, {"busy": [ANSWER], "good": [ANSWER]}))[1].calls[0] for _ in range(30)}
    assert seen == {"busy", "good"}


async def test_a_later_cooldown_never_shortens_a_longer_one(model: ChatModel, door: None) -> None:
    """The longest hint counts."""
    upstream = await database.run(with_keys, model, "one")
    row = await database.run(upstream.keys.get)
    for seconds in (60, 5):
        await keys.cool_down(keys.Key(row.id, "one"), seconds, "busy")
    row = await database.run(upstream.keys.get)
    assert row.cooldown_until > timezone.now() + timedelta(seconds=50)


async def test_waiting_for_the_only_key(
    model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    """With no other key, a short cooldown is waited for, and the reader is told."""
    await database.run(with_keys, model, "only")
    events, doubles = await ask(monkeypatch, {"only": [(failure("switch", cooldown_s=2),), ANSWER]})
    assert events == [Notice("retrying", 2), *ANSWER]
    assert (doubles.calls, no_waiting) == (["only", "only"], [2])


async def test_waits_double_and_end(
    model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    """`wait` asks the same key again, twice at most, with growing pauses; then the failure stands."""
    await database.run(with_keys, model, "only")
    with pytest.raises(UpstreamFailed) as caught:
        await ask(monkeypatch, {"only": [(failure("wait", attempts=2),)]})
    assert len(caught.value.doubles.calls) == 3  # type: ignore[attr-defined]
    assert 0.375 <= no_waiting[0] <= 0.625
    assert 0.75 <= no_waiting[1] <= 1.25


async def test_the_next_route(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all keys of a route have failed, the route of the next priority is taken."""
    await database.run(with_keys, model, "one", "two")
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    broken = [(failure("wait", cooldown_s=30),)]
    events, doubles = await ask(monkeypatch, {"one": broken, "two": broken, "spare": [ANSWER]})
    assert tuple(event for event in events if not isinstance(event, Notice)) == ANSWER
    assert sorted(doubles.calls[:2]) == ["one", "two"]
    assert doubles.calls[-1] == "spare"


@pytest.mark.parametrize("action", ["user", "ops"])
async def test_no_other_key_would_help(
    model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """A failure of the request or of our configuration is not tried again."""
    await database.run(with_keys, model, "one", "two")
    with pytest.raises(ProviderError) as caught:
        await ask(monkeypatch, {"one": [(failure(action),)], "two": [(failure(action),)]})
    assert len(caught.value.doubles.calls) == 1  # type: ignore[attr-defined]


async def test_after_the_first_visible_character_nothing_is_tried_again(
    model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody has begun to read is not begun anew."""
    await database.run(with_keys, model, "one", "two")
    cut = [(Delta("he"), failure("wait", attempts=2))]
    with pytest.raises(UpstreamFailed) as caught:
        await ask(monkeypatch, {"one": cut, "two": cut})
    assert caught.value.events == [Delta("he")]  # type: ignore[attr-defined]


async def test_reasoning_is_withdrawn_before_another_try(
    model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thinking text and white space of a failed attempt do not stand before the next one's."""
    await database.run(with_keys, model, "only")
    events, _doubles = await ask(
        monkeypatch, {"only": [(Reasoning("hm"), Delta("\n"), failure("switch", cooldown_s=1)), ANSWER]}
    )
    assert events == [Reasoning("hm"), Delta("\n"), Withdrawn(), Notice("retrying", 1), *ANSWER]


async def test_what_an_upstream_teaches_is_kept(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that an upstream refuses is swapped at once, and remembered with the model."""
    await database.run(with_keys, model, "only")
    other = ChatRequest("m", (), {}, "g", token_cap_field="max_completion_tokens")
    lesson = Retry(other, {"token_cap_field": "max_completion_tokens"}, failure("ops"))
    events, doubles = await ask(monkeypatch, {"only": [(lesson,), ANSWER]})
    assert tuple(events) == ANSWER
    assert doubles.requests[1] == other
    await database.run(model.refresh_from_db)
    assert model.token_cap_field == "max_completion_tokens"
    with pytest.raises(UpstreamFailed):
        await ask(monkeypatch, {"only": [(lesson,)]})


async def test_a_prompt_too_long_is_halved_once(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest turns are dropped and the rest sent once more; if it is still too long, that is the answer."""
    await database.run(with_keys, model, "only")
    turns = tuple(PromptMessage("user" if i % 2 == 0 else "assistant", "x" * 400) for i in range(21))
    too_long = PromptTooLong("too long", action="user")
    events, doubles = await ask(monkeypatch, {"only": [(too_long,), ANSWER]}, messages=turns)
    assert tuple(events) == ANSWER
    assert 5 <= len(doubles.requests[1].messages) <= 11
    with pytest.raises(PromptTooLong) as caught:
        await ask(monkeypatch, {"only": [(too_long,)]}, messages=turns)
    assert len(caught.value.doubles.calls) == 2  # type: ignore[attr-defined]


async def test_nothing_to_try(model: ChatModel, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every key out, the model is unavailable, and says for how long where that is known."""
    upstream = await database.run(with_keys, model, "one")
    await database.run(upstream.keys.update, cooldown_until=timezone.now() + timedelta(seconds=30))
    config = (await database.run(routing.table))["m"]
    with pytest.raises(ModelUnavailable) as caught:
        config.check_available()
    assert caught.value.retry_after == pytest.approx(30, abs=2)
    with pytest.raises(ModelUnavailable):
        await ask(monkeypatch, {})


async def test_concurrency_of_a_key(model: ChatModel, door: None) -> None:
    """A key carries no more attempts at once than its limit, and the least loaded key is chosen."""
    one, two = keys.Key(101, "one", max_concurrency=1), keys.Key(102, "two")
    with keys.lease(one):
        assert keys.choose([one]) is None
        assert keys.choose([one, two]) == two
        with keys.lease(two), keys.lease(two):
            assert keys.choose([one, two]) == two
    assert keys.choose([one]) == one


async def test_secrets_are_encrypted_at_rest(model: ChatModel, door: None) -> None:
    """What stands in the database is not the secret, and opens only with our key."""
    upstream = await database.run(with_keys, model, "sk-very-secret-value")
    row = await database.run(upstream.keys.get)
    assert "very-secret" not in row.ciphertext
    assert row.secret() == "sk-very-secret-value"
    assert (row.last4, str(row)) == ("alue", "a …alue")
