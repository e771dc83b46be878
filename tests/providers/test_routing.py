"""The retry loop and the key pool: the next key, the failing key, and the end of the attempts."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from providers import keys, snapshot
from providers.adapters import Adapters
from providers.encryption import fingerprint
from providers.errors import ModelUnavailable
from providers.models import ApiKey, ChatModel, KeyTrouble, Upstream
from providers.wire.base import (
    ChatRequest,
    Delta,
    Endpoint,
    Notice,
    PromptMessage,
    Reasoning,
    Source,
    Sources,
    Withdrawn,
)
from providers.wire.errors import BadParameter, ContentBlocked, PromptTooLong, ProviderError, Retry, UpstreamFailed
from runtime import database
from tests import factories
from tests.providers.bench import COMPLETION, Bench, Script, bench, failure, model, trouble_of, with_keys

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["bench", "model"]

TURNS = tuple(PromptMessage("user" if i % 2 == 0 else "assistant", "x" * 400) for i in range(21))
DEAD = failure("disable", blame="key")
DOWN = failure("wait", attempts=2)


@pytest.fixture
def first_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pool choose the first of equal keys."""
    monkeypatch.setattr(keys, "random", SimpleNamespace(choice=lambda found: found[0]))


async def test_a_good_key_completes_the_prompt(model: ChatModel, bench: Bench) -> None:
    """A good key completes the prompt in one attempt."""
    await database.run(with_keys, model, "one")
    assert tuple(await bench.ask({"one": [COMPLETION]})) == COMPLETION
    assert bench.vendor.calls == ["one"]


async def test_an_upstream_without_keys_is_called_without_one(model: ChatModel, bench: Bench) -> None:
    """An upstream without any key row is called without a key."""
    await database.run(with_keys, model)
    await bench.ask({"keyless": [COMPLETION]})
    assert bench.vendor.calls == ["keyless"]


async def test_a_suspect_is_passed_over(model: ChatModel, bench: Bench, first_key: None) -> None:
    """A key that a vendor declared unusable is used only when there is no other."""
    await database.run(with_keys, model, "dead", "good")
    bench.vendor.probing.clear()
    for _ in range(3):
        assert tuple(await bench.ask({"dead": [(DEAD,)], "good": [COMPLETION]})) == COMPLETION
    assert bench.vendor.calls == ["good"]
    await database.run(ApiKey.objects.filter(fingerprint=fingerprint("good")).update, enabled=False)
    await bench.ask({"dead": [COMPLETION]})
    assert bench.vendor.calls == ["dead"]


async def test_a_limited_key_cools_down(model: ChatModel, bench: Bench, first_key: None) -> None:
    """A limit takes the next key at once, and the limited one rests until the end of the vendor's hint."""
    await database.run(with_keys, model, "busy", "good")
    limited = failure("switch", cooldown_s=20, retry_after=20.0, blame="rate")
    await bench.ask({"busy": [(limited,)], "good": [COMPLETION]})
    assert bench.vendor.calls == ["busy", "good"]
    trouble = await trouble_of("busy")
    assert trouble
    assert (trouble.status, trouble.blame, trouble.hinted) == ("cooling", "rate", True)
    assert trouble.cooldown_until
    assert timedelta(seconds=10) < trouble.cooldown_until - timezone.now() <= timedelta(seconds=20)
    await database.run(KeyTrouble.objects.update, cooldown_until=timezone.now())
    await bench.ask({"busy": [COMPLETION]})
    await bench.settle()
    assert await trouble_of("busy") is None


@pytest.mark.parametrize(
    ("facts", "most"), [({"retry_after": 90_000.0, "cooldown_s": 90_000.0}, 300), ({"cooldown_s": 50.0}, 60)]
)
async def test_a_cooldown_after_a_limit_is_bounded(
    model: ChatModel, bench: Bench, facts: dict[str, Any], most: int
) -> None:
    """A hint counts for five minutes at most; without one the rest doubles on repetition, up to a minute."""
    await database.run(with_keys, model, "busy")
    for _turn in range(2):
        before = timezone.now()
        await bench.fails({"busy": [(failure("switch", blame="rate", **facts),)]})
        trouble = await trouble_of("busy")
        assert trouble
        assert trouble.cooldown_until
        began = trouble.cooldown_until - timedelta(seconds=most)
        is_the_longest = before <= began <= timezone.now()
        await database.run(KeyTrouble.objects.update, cooldown_until=timezone.now())
    assert is_the_longest


async def test_trouble_with_one_model_leaves_the_others(model: ChatModel, bench: Bench) -> None:
    """A cooldown for one model leaves the key's other models; one of the key concerns all."""
    upstream = await database.run(with_keys, model, "one")
    row = await database.run(upstream.keys.get)
    soon = timezone.now() + timedelta(seconds=60)
    await database.run(KeyTrouble.objects.create, key=row, model="m", blame="rate", cooldown_until=soon)
    pool = (await bench.config()).routes[0].upstream.keys
    assert not bench.pool.usable(pool, "m")
    assert bench.pool.usable(pool, "other")
    await database.run(KeyTrouble.objects.create, key=row, model=keys.ANY_MODEL, quarantined_at=timezone.now())
    assert not bench.pool.usable((await bench.config()).routes[0].upstream.keys, "other")


async def test_a_failure_of_the_whole_upstream_is_not_tried_with_each_key(model: ChatModel, bench: Bench) -> None:
    """A failure that concerns all keys is not tried with another one; the next route is taken."""
    await database.run(with_keys, model, "one", "two")
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    down = [(failure("wait", attempts=2, scope="all"),)]
    await bench.ask({"one": down, "two": down, "spare": [COMPLETION]})
    assert (len(bench.vendor.calls), bench.vendor.calls[-1], bench.waits) == (2, "spare", [])


async def test_an_error_names_its_pauses(model: ChatModel, bench: Bench, first_key: None) -> None:
    """A single key waits as long as the error says; a second key is used at once."""
    upstream = await database.run(with_keys, model, "only")
    limited = (failure("switch", cooldown_s=2, waits=(2.0, 8.0, 30.0), blame="rate"),)
    events = await bench.ask({"only": [limited, limited, COMPLETION]})
    assert bench.waits == [2, 8]
    assert events == [Notice("retrying", 2), Notice("retrying", 8), *COMPLETION]
    await database.run(factories.api_key, upstream, "second")
    bench.waits.clear()
    await bench.ask({"only": [limited], "second": [COMPLETION]})
    assert (bench.vendor.calls, bench.waits) == (["only", "second"], [])


async def test_a_short_cooldown_of_the_only_key_is_waited_for(model: ChatModel, bench: Bench) -> None:
    """Without another key the attempt waits for a short cooldown and sends a notice; others may use the key."""
    await database.run(with_keys, model, "only")
    events = await bench.ask({"only": [(failure("switch", cooldown_s=2, blame="rate"),), COMPLETION]})
    assert events == [Notice("retrying", 2), *COMPLETION]
    assert (bench.vendor.calls, bench.waits) == (["only", "only"], [2])
    assert await trouble_of("only") is None


async def test_waits_double_and_end(model: ChatModel, bench: Bench) -> None:
    """`wait` asks the same key again, twice at most, with growing pauses; then the failure stands."""
    await database.run(with_keys, model, "only")
    assert isinstance(await bench.fails({"only": [(DOWN,)]}), UpstreamFailed)
    assert len(bench.vendor.calls) == 3
    assert 0.375 <= bench.waits[0] <= 0.625
    assert 0.75 <= bench.waits[1] <= 1.25


async def test_another_key_is_tried_once_and_then_the_next_route(model: ChatModel, bench: Bench) -> None:
    """After failures of the upstream one other key is tried, and then the route of the next priority, at once."""
    await database.run(with_keys, model, "one", "two", "three")
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    broken = [(DOWN,)]
    events = await bench.ask({"one": broken, "two": broken, "three": broken, "spare": [COMPLETION]})
    assert (tuple(events), len(bench.vendor.calls), bench.vendor.calls[-1]) == (COMPLETION, 3, "spare")
    assert len(set(bench.vendor.calls)) == 3


@pytest.mark.parametrize("error", [DOWN, DEAD, failure("switch", cooldown_s=5, blame="rate")])
@pytest.mark.contract("setting: MAX_UPSTREAM_ATTEMPTS")
async def test_attempts_are_bounded(
    model: ChatModel, bench: Bench, error: ProviderError, settings: Any, first_key: None
) -> None:
    """A request makes no more calls than the setting allows, whatever the keys and routes."""
    secrets = [f"key{number}" for number in range(12)]
    await database.run(with_keys, model, *secrets)
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    for most in (4, 2):
        settings.MAX_UPSTREAM_ATTEMPTS = most
        assert isinstance(await bench.fails({secret: [(error,)] for secret in [*secrets, "spare"]}), UpstreamFailed)
        assert len(bench.vendor.calls) <= most
    assert sum(bench.waits) <= 30


@pytest.mark.parametrize("error", [DEAD, failure("switch", cooldown_s=3600, blame="key"), DOWN])
@pytest.mark.parametrize("count", [1, 2, 12])
async def test_the_last_attempt_is_left_to_the_next_route(
    model: ChatModel, bench: Bench, error: ProviderError, count: int
) -> None:
    """A misconfigured first route does not use up all attempts, however many keys it has."""
    secrets = [f"key{number}" for number in range(count)]
    await database.run(with_keys, model, *secrets)
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    events = await bench.ask({**{secret: [(error,)] for secret in secrets}, "spare": [COMPLETION]})
    assert (tuple(events)[-len(COMPLETION) :], bench.vendor.calls[-1]) == (COMPLETION, "spare")
    assert len(bench.vendor.calls) <= 4


async def test_resends_are_attempts_too(model: ChatModel, bench: Bench, settings: Any) -> None:
    """A request in another form counts as an attempt."""
    await database.run(with_keys, model, "only")
    settings.MAX_UPSTREAM_ATTEMPTS = 1
    lesson = Retry(ChatRequest("m", (), {}, "g", token_cap_field="none"), {}, failure("ops", blame="request"))
    assert isinstance(await bench.fails({"only": [(lesson,)]}), UpstreamFailed)
    assert bench.vendor.calls == ["only"]


@pytest.mark.parametrize(
    "error", [failure("user"), failure("ops", blame="request"), ContentBlocked("no", action="user")]
)
async def test_no_other_key_would_help(model: ChatModel, bench: Bench, error: ProviderError) -> None:
    """A failure of the request is tried with no other key, and concerns no other request."""
    await database.run(with_keys, model, "one", "two")
    assert await bench.fails({"one": [(error,)], "two": [(error,)]}) is error
    assert len(bench.vendor.calls) == 1
    assert bench.vendor.probe_calls == []
    assert not await database.run(KeyTrouble.objects.exists)


@pytest.mark.parametrize(
    ("error", "host", "tried"),
    [
        (PromptTooLong("no", action="user"), "other.example", True),
        (PromptTooLong("no", action="user"), "127.0.0.1:9", False),
        (BadParameter("no", action="user", param="seed"), "other.example", True),
        (ContentBlocked("no", action="user"), "other.example", False),
    ],
)
async def test_another_vendor_may_take_the_request(
    model: ChatModel, bench: Bench, error: ProviderError, host: str, tried: bool
) -> None:
    """What one vendor refuses, another one may take; the same vendor, and a blocked prompt, are not tried."""
    await database.run(with_keys, model, "one")
    await database.run(with_keys, model, "spare", priority=1, slug="b", base_url=f"http://{host}/v1")
    scripts: dict[str, Script] = {"one": [(error,)], "spare": [COMPLETION]}
    if tried:
        assert tuple(await bench.ask(scripts)) == COMPLETION
    else:
        assert await bench.fails(scripts) is error
    assert bench.vendor.calls == ["one", "spare"][: 1 + tried]


async def test_after_the_first_visible_character_nothing_is_tried_again(model: ChatModel, bench: Bench) -> None:
    """A completion whose text users have seen is not started again."""
    await database.run(with_keys, model, "one", "two")
    cut = [(Delta("he"), DOWN)]
    assert isinstance(await bench.fails({"one": cut, "two": cut}), UpstreamFailed)
    assert (bench.events, len(bench.vendor.calls)) == ([Delta("he")], 1)


async def test_white_space_is_withdrawn_before_another_try(model: ChatModel, bench: Bench) -> None:
    """White space of a failed attempt, reasoning too, is withdrawn before the next one."""
    await database.run(with_keys, model, "only")
    limited = failure("switch", cooldown_s=1, blame="rate")
    events = await bench.ask({"only": [(Reasoning(" "), Delta("\n"), limited), COMPLETION]})
    assert events == [Reasoning(" "), Delta("\n"), Withdrawn(), Notice("retrying", 1), *COMPLETION]


async def test_sources_are_withdrawn_before_another_try(model: ChatModel, bench: Bench) -> None:
    """Pages that a failed attempt cited before any text are withdrawn, and do not keep it from being repeated."""
    await database.run(with_keys, model, "only")
    cited, limited = Sources((Source("https://a.example/"),)), failure("switch", cooldown_s=1, blame="rate")
    events = await bench.ask({"only": [(cited, limited), COMPLETION]})
    assert events == [cited, Withdrawn(), Notice("retrying", 1), *COMPLETION]


async def test_no_other_try_after_reasoning(model: ChatModel, bench: Bench) -> None:
    """A completion whose reasoning users have seen is not started again: it is charged, and /v1 would send it twice."""
    await database.run(with_keys, model, "one", "two")
    cut: Script = [(Reasoning("hm"), DOWN)]
    assert isinstance(await bench.fails({"one": cut, "two": cut}), UpstreamFailed)
    assert (bench.events, len(bench.vendor.calls)) == ([Reasoning("hm")], 1)


async def test_what_an_upstream_teaches_is_kept(model: ChatModel, bench: Bench) -> None:
    """A field that an upstream refuses is replaced at once, and stored with the route, not with the model."""
    await database.run(with_keys, model, "only")
    other = ChatRequest("m", (), {}, "g", token_cap_field="max_completion_tokens")
    lesson = Retry(other, {"token_cap_field": "max_completion_tokens"}, failure("ops", blame="request"))
    assert tuple(await bench.ask({"only": [(lesson,), COMPLETION]})) == COMPLETION
    assert bench.vendor.requests[1] == other
    await bench.ask({"only": [COMPLETION]})
    assert bench.vendor.requests[0].token_cap_field == "max_completion_tokens"
    assert await database.run(lambda: model.routes.get().learned) == {"token_cap_field": "max_completion_tokens"}
    await database.run(model.refresh_from_db)
    assert model.token_cap_field == "max_tokens"
    assert isinstance(await bench.fails({"only": [(lesson,)]}), UpstreamFailed)


COOLER = Retry(
    ChatRequest("m", (), {}, "g"), {"refused": {"temperature": 0.5}}, failure("ops", blame="request", vendor_code="t")
)
CAP = {"token_cap_field": "max_completion_tokens"}


@pytest.mark.parametrize("later", [failure("ops", blame="request"), failure("user")])
async def test_a_lesson_that_did_not_help_is_not_stored(model: ChatModel, bench: Bench, later: ProviderError) -> None:
    """What an upstream teaches is stored once the better request succeeded, and not when it is refused too."""
    await database.run(with_keys, model, "only")
    assert await bench.fails({"only": [(COOLER,), (later,)]}) is later
    assert await database.run(lambda: model.routes.get().learned) == {}
    assert tuple(await bench.ask({"only": [(COOLER,), COMPLETION]})) == COMPLETION
    assert await database.run(lambda: model.routes.get().learned) == COOLER.learned


@pytest.mark.parametrize("own", [{"extras": {"reasoning_effort": "high"}}, {"given": frozenset({"max_tokens"})}])
async def test_a_callers_fields_teach_nothing_for_others(model: ChatModel, bench: Bench, own: Any) -> None:
    """Beside fields of the caller's a refused parameter concerns this request alone; the cap's name holds for all."""
    await database.run(with_keys, model, "only")
    renamed = Retry(ChatRequest("m", (), {}, "g"), {**CAP, **COOLER.learned}, failure("ops", blame="request"))
    assert tuple(await bench.ask({"only": [(renamed,), COMPLETION]}, **own)) == COMPLETION
    assert await database.run(lambda: model.routes.get().learned) == CAP
    parameters = {"temperature": 0.5}
    assert tuple(await bench.ask({"only": [(COOLER,), COMPLETION]}, parameters=parameters, **own)) == COMPLETION
    assert await database.run(lambda: model.routes.get().learned) == CAP
    assert bench.vendor.requests[0].parameters == parameters


async def test_a_lesson_is_followed_while_the_database_is_away(
    model: ChatModel, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completion goes on when the field that an upstream wants cannot be stored."""
    await database.run(with_keys, model, "only")
    other = ChatRequest("m", (), {}, "g", token_cap_field="none")
    lesson = Retry(other, {"token_cap_field": "none"}, failure("ops", blame="request"))

    def away(*_arguments: object, **_values: object) -> int:
        raise OperationalError

    monkeypatch.setattr("django.db.models.query.QuerySet.update", away)
    assert tuple(await bench.ask({"only": [(lesson,), COMPLETION]})) == COMPLETION


async def test_a_prompt_too_long_is_halved_once(model: ChatModel, bench: Bench) -> None:
    """The oldest turns are dropped once; a prompt that is still too long fails."""
    await database.run(with_keys, model, "only")
    too_long = PromptTooLong("too long", action="user")
    assert tuple(await bench.ask({"only": [(too_long,), COMPLETION]}, messages=TURNS)) == COMPLETION
    assert 5 <= len(bench.vendor.requests[1].messages) <= 11
    assert isinstance(await bench.fails({"only": [(too_long,)]}, messages=TURNS), PromptTooLong)
    assert len(bench.vendor.calls) == 2


async def test_a_prompt_that_was_cut_stays_cut(model: ChatModel, bench: Bench, first_key: None) -> None:
    """The next key gets the shorter prompt too; an upstream's own cut is followed once."""
    await database.run(with_keys, model, "one", "two")
    turns = TURNS[:5]
    shorter = Retry(ChatRequest("m", turns[2:], {}, "g"), {}, PromptTooLong("too long", action="user"))
    busy = (failure("switch", cooldown_s=20, blame="rate"),)
    scripts: dict[str, Script] = {"one": [(shorter,), busy], "two": [(shorter,), busy]}
    assert isinstance(await bench.fails(scripts, messages=turns), PromptTooLong)
    assert [request.messages for request in bench.vendor.requests] == [turns, turns[2:], turns[2:]]


async def test_a_model_without_a_usable_key_is_unavailable(model: ChatModel, bench: Bench) -> None:
    """With every key left out the model is unavailable, with `retry_after` where it is known."""
    upstream = await database.run(with_keys, model, "one")
    row = await database.run(upstream.keys.get)
    soon = timezone.now() + timedelta(seconds=30)
    values = {"blame": "rate", "hinted": True, "cooldown_until": soon}
    await database.run(lambda: KeyTrouble.objects.create(key=row, model="m", **values))
    with pytest.raises(ModelUnavailable) as caught:
        (await bench.config()).check_available()
    assert caught.value.retry_after is not None
    asked_at = soon - timedelta(seconds=caught.value.retry_after)
    assert soon - timedelta(seconds=30) <= asked_at <= timezone.now()
    assert isinstance(await bench.fails({}), ModelUnavailable)
    assert bench.vendor.probe_calls == []


async def test_a_key_keeps_its_concurrency_limit(bench: Bench) -> None:
    """A key carries no more attempts at once than its limit, and the least loaded key is chosen."""
    one, two = keys.Key(101, "one", max_concurrency=1), keys.Key(102, "two")
    first = await bench.pool.lease([one], "m")
    assert first
    async with first:
        assert await bench.pool.lease([one], "m") is None
        second = await bench.pool.lease([one, two], "m")
        assert second
        assert second.key == two
    async with second:
        third = await bench.pool.lease([one, two], "m")
        assert third
        assert third.key == one


async def test_secrets_are_encrypted_at_rest(model: ChatModel, bench: Bench) -> None:
    """The database holds a ciphertext that opens only with KEY_ENCRYPTION_KEYS."""
    upstream = await database.run(with_keys, model, "sk-very-secret-value")
    row = await database.run(upstream.keys.get)
    assert "very-secret" not in row.ciphertext
    assert row.secret() == "sk-very-secret-value"
    assert (row.last4, str(row)) == ("alue", "a …alue")


def test_upstreams_reached_alike_share_an_adapter() -> None:
    """Upstreams share an adapter only when every field of their endpoint is the same."""
    config = snapshot.UpstreamConfig("a", "spark", Endpoint("wss://spark.example.org"), ())
    adapters = Adapters()
    same = adapters.of(replace(config, slug="b"))
    assert adapters.of(config) is same
    assert adapters.of(replace(config, trusted=True)) is not same
    changes: list[dict[str, Any]] = [{"sign_host": "gateway.example"}, {"raw_key": True}, {"proxy": "http://p:1"}]
    for change in changes:
        assert adapters.of(replace(config, endpoint=replace(config.endpoint, **change))) is not same


async def test_a_changed_address_has_a_clean_record(model: ChatModel, bench: Bench) -> None:
    """Saving an upstream with another address or proxy deletes its verdicts; other changes keep them."""
    upstream = await database.run(with_keys, model, "one")
    row = await database.run(upstream.keys.get)

    def left_after(**changes: str) -> int:
        KeyTrouble.objects.get_or_create(key=row, model="m")
        upstream.troubles.get_or_create(model="m")
        changed = Upstream.objects.get()
        for name, value in changes.items():
            setattr(changed, name, value)
        changed.save()
        return KeyTrouble.objects.count() + upstream.troubles.count()

    assert await database.run(left_after, slug="renamed") == 2
    assert await database.run(left_after, base_url="https://other.example/v1") == 0
    assert await database.run(left_after, proxy="http://proxy.example:3128") == 0
