"""Who is to blame: suspicion, neutral probes, verdicts, circuits and recovery, on a scripted vendor."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from providers import evidence, health, verdicts
from providers.errors import ModelUnavailable
from providers.models import ChatModel, KeyTrouble, UpstreamTrouble
from providers.wire.base import EMBEDDINGS, Delta, Embeddings, Finished
from providers.wire.errors import ContentBlocked, OtherKind, ProviderError, UpstreamFailed, UpstreamTimeout
from runtime import database
from tests.providers.bench import COMPLETION, Bench, bench, circuit, failure, model, trouble_of, with_keys
from tests.providers.streams import PATIENCE_SECONDS, until

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["bench", "model"]

DEAD = failure("disable", scope="key", blame="key", vendor_code="dead")
DENIED = failure("switch", cooldown_s=3600.0, blame="key", vendor_code="denied")
DOWN = failure("wait", vendor_code="down")
OTHER_KIND = OtherKind("no", action="user")
LIMITED = failure("switch", cooldown_s=20.0, blame="rate")
EMPTY = (Finished("stop"),)


def alerts(vendor_code: str) -> float:
    labels = {"upstream": "a", "vendor_code": vendor_code}
    return REGISTRY.get_sample_value("rivulet_upstream_alerts_total", labels) or 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that moves all clocks forward."""
    passed = 0.0
    now, monotonic = timezone.now, evidence.monotonic
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(seconds=passed))
    monkeypatch.setattr(evidence, "monotonic", lambda: monotonic() + passed)

    def forward(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    return forward


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait for a probe as long as a busy machine takes for one, and a good probe count as long."""
    monkeypatch.setattr(health, "RECOVERY_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(health, "TRUST_SECONDS", PATIENCE_SECONDS)


def lasts(until: datetime | None, before: datetime, seconds: float) -> bool:
    """Return whether a pause that began between `before` and now has exactly so many seconds."""
    return until is not None and before <= until - timedelta(seconds=seconds) <= timezone.now()


# --- keys ---


async def test_a_dead_key_is_quarantined_by_a_probe(model: ChatModel, bench: Bench) -> None:
    """A probe confirms the vendor's word, the key is quarantined, and one alert goes out for all requests."""
    await database.run(with_keys, model, "dead")
    before = alerts("dead")
    bench.vendor.probes["dead"] = [(DEAD,)]
    bench.vendor.probing.clear()
    for user in (1, 2, 2):
        with pytest.raises(UpstreamFailed):
            await bench.ask({"dead": [(DEAD,)]}, user)
    bench.vendor.probing.set()
    await bench.settle()
    trouble = await trouble_of("dead")
    assert trouble
    assert (trouble.status, trouble.model, trouble.status_reason, trouble.blame) == ("quarantined", "", "no", "key")
    assert (trouble.requests, trouble.users) == (3, 2)
    assert bench.vendor.probe_calls == ["dead"]
    assert alerts("dead") - before == 1
    assert isinstance(await bench.fails({"dead": [COMPLETION]}), ModelUnavailable)
    assert bench.vendor.probe_calls == ["dead"]


async def test_a_probe_is_ours(model: ChatModel, bench: Bench) -> None:
    """A probe sends a fixed prompt and asks for one token; nothing of a user's is in it."""
    await database.run(with_keys, model, "one")
    await bench.fails({"one": [(DEAD,)]})
    (request,) = bench.vendor.probe_requests
    assert [(turn.role, turn.content) for turn in request.messages] == [("user", "Hi")]
    assert (request.parameters, request.extras) == ({"max_tokens": 1}, {})


async def test_a_request_for_embeddings_is_probed_by_one(model: ChatModel, bench: Bench) -> None:
    """Embeddings of a probe put a key in order, which a probe for a completion would condemn."""
    await database.run(with_keys, model, "one")
    bench.vendor.probes["one"] = [(Embeddings(({"index": 0, "embedding": [0.5]},)), Finished("stop")), (DENIED,)]
    await bench.fails({"one": [(DENIED,)]}, extras={EMBEDDINGS: {}})
    assert [dict(request.extras) for request in bench.vendor.probe_requests] == [{EMBEDDINGS: {}}]
    assert bench.vendor.probe_requests[0].parameters == {}
    assert await trouble_of("one") is None


@pytest.mark.parametrize(
    ("embeddings", "completion", "condemned"),
    [
        (DENIED, COMPLETION, False),
        (DENIED, (OTHER_KIND,), True),
        (OTHER_KIND, (DEAD,), True),
        (OTHER_KIND, COMPLETION, False),
    ],
)
async def test_a_request_for_embeddings_condemns_no_chat_model(
    model: ChatModel, bench: Bench, embeddings: ProviderError, completion: Any, condemned: bool
) -> None:
    """A key is condemned when neither embeddings nor a completion show that it works."""
    await database.run(with_keys, model, "one")
    bench.vendor.probes["one"] = [(embeddings,), completion]
    await bench.fails({"one": [(DENIED,)]}, extras={EMBEDDINGS: {}})
    assert [dict(request.extras) for request in bench.vendor.probe_requests] == [{EMBEDDINGS: {}}, {}]
    assert (await trouble_of("one") is not None) == condemned


@pytest.mark.parametrize("error", [DEAD, DENIED])
@pytest.mark.parametrize("probe", [COMPLETION, EMPTY, (ContentBlocked("no", action="user"),)])
async def test_a_request_at_fault_leaves_no_trace(
    model: ChatModel, bench: Bench, patient: None, error: UpstreamFailed, probe: Any
) -> None:
    """When the probe succeeds, the request was at fault: the key is in full use and no alert goes out."""
    await database.run(with_keys, model, "one")
    before = alerts(error.vendor_code)
    bench.vendor.probes["one"] = [probe]
    assert await bench.fails({"one": [(error,)]}) is error
    assert await trouble_of("one") is None
    assert alerts(error.vendor_code) == before
    assert tuple(await bench.ask({"one": [COMPLETION]}, user=2)) == COMPLETION
    # Right after a good probe, the same failure starts no other one.
    await bench.fails({"one": [(error,)]})
    assert len(bench.vendor.probe_calls) == 1


async def test_a_denied_model_rests_once_a_probe_agrees(model: ChatModel, bench: Bench, clock: Any) -> None:
    """A key without access to a model rests for an hour, and only a probe puts it back afterwards."""
    await database.run(with_keys, model, "one", "two")
    bench.vendor.probes["one"] = [(DENIED,)]
    before = timezone.now()
    await bench.ask({"one": [(DENIED,)], "two": [COMPLETION]})
    while "one" not in bench.vendor.calls:
        await bench.ask({"one": [(DENIED,)], "two": [COMPLETION]})
    await bench.settle()
    trouble = await trouble_of("one")
    assert trouble
    assert (trouble.status, trouble.model) == ("cooling", "m")
    assert lasts(trouble.cooldown_until, before, 3600)
    clock(3700)
    bench.vendor.probes["one"] = [COMPLETION]
    await bench.ask({"two": [COMPLETION]})
    await bench.settle()
    assert await trouble_of("one") is None


@pytest.mark.parametrize("undecided", [DOWN, LIMITED])
async def test_an_undecided_probe_keeps_the_suspicion(
    model: ChatModel, bench: Bench, clock: Any, undecided: UpstreamFailed
) -> None:
    """A probe that fails otherwise decides nothing about the key; the next one comes after a pause that grows."""
    await database.run(with_keys, model, "one", "two")
    bench.vendor.probes["one"] = [(undecided,)]
    before = timezone.now()
    while "one" not in bench.vendor.calls:
        await bench.ask({"one": [(DEAD,)], "two": [COMPLETION]})
    await bench.settle()
    for pause in (5, 10, 20):
        await database.run(UpstreamTrouble.objects.all().delete)
        trouble = await trouble_of("one")
        assert trouble
        assert trouble.status == "suspect"
        assert lasts(trouble.next_probe_at, before, pause)
        clock(pause + 1)
        before = timezone.now()
        await bench.ask({"two": [COMPLETION]})
        await bench.settle()
    assert bench.vendor.probe_calls.count("one") == 4


async def test_all_keys_declared_dead_for_one_request(model: ChatModel, bench: Bench) -> None:
    """When one request makes every key look dead and the probes disagree, all keys stay in use."""
    secrets = [f"key{number}" for number in range(12)]
    await database.run(with_keys, model, *secrets)
    assert await bench.fails({secret: [(DEAD,)] for secret in secrets}) is DEAD
    assert len(bench.vendor.calls) == 4
    assert sorted(bench.vendor.probe_calls) == sorted(bench.vendor.calls)
    assert not await database.run(KeyTrouble.objects.exists)


async def test_probes_of_two_processes_exclude_each_other(model: ChatModel, bench: Bench) -> None:
    """While one process probes a key, another one does not; both then know the verdict."""
    await database.run(with_keys, model, "dead")
    other = Bench()
    for process in (bench, other):
        process.vendor.probes["dead"] = [(DEAD,)]
        process.vendor.probing.clear()
    for process in (bench, other):
        with pytest.raises(UpstreamFailed):
            await process.ask({"dead": [(DEAD,)]})
    await other.settle()
    bench.vendor.probing.set()
    await bench.settle()
    assert (bench.vendor.probe_calls, other.vendor.probe_calls) == (["dead"], [])
    assert not (await other.config()).available()


async def test_the_keyless_upstream_is_no_key(model: ChatModel, bench: Bench) -> None:
    """An upstream that needs no key and refuses one all the same is at fault itself."""
    await database.run(with_keys, model)
    bench.vendor.probes["keyless"] = [(DEAD,)]
    await bench.fails({"keyless": [(DEAD,)]})
    found = await circuit()
    assert found
    assert found.is_cooling


# --- upstreams ---


async def test_a_down_vendor_is_found_by_a_probe(
    model: ChatModel, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the probe fails too, the circuit opens for ten seconds, with one alert."""
    monkeypatch.setattr(health, "RECOVERY_SECONDS", 0.1)
    await database.run(with_keys, model, "one")
    before, began = alerts("down"), timezone.now()
    bench.vendor.probes["one"] = [(DOWN,)]
    await bench.fails({"one": [(DOWN,)]})
    found = await circuit()
    assert found
    assert (found.model, found.blame, found.requests, found.users) == ("m", "upstream", 1, 1)
    assert lasts(found.cooldown_until, began, 10)
    for _turn in range(3):
        assert isinstance(await bench.fails({"one": [COMPLETION]}), ModelUnavailable)
    assert alerts("down") - before == 1


async def test_failures_of_one_user_open_no_circuit(model: ChatModel, bench: Bench, clock: Any) -> None:
    """While the probe succeeds, one user's failures have no consequence, however many they are."""
    await database.run(with_keys, model, "one")
    for _turn in range(20):
        clock(4)
        assert await bench.fails({"one": [(DOWN,)]}, user=1) is DOWN
        assert await circuit() is None
        assert tuple(await bench.ask({"one": [COMPLETION]}, user=2)) == COMPLETION


async def test_failures_of_several_users_open_a_circuit(
    model: ChatModel, bench: Bench, clock: Any, patient: None
) -> None:
    """Five failed requests of two users, at least half of all, open it; the next request probes and goes on."""
    await database.run(with_keys, model, "one")
    await bench.ask({"one": [COMPLETION]}, user=3)
    for user in (1, 1, 1, 1):
        with pytest.raises(UpstreamFailed):
            await bench.ask({"one": [(DOWN,)]}, user)
        bench.vendor.probes["one"] = [(LIMITED,)]  # undecided, so that the window is kept
        await bench.settle()
        await database.run(KeyTrouble.objects.all().delete)
    assert not (await circuit() or UpstreamTrouble()).cooldown_until
    await bench.fails({"one": [(DOWN,)]}, user=2)
    found = await circuit()
    assert found
    assert found.is_cooling
    assert (found.requests, found.users) == (5, 2)
    bench.vendor.probes["one"] = [COMPLETION]
    clock(1)
    assert tuple(await bench.ask({"one": [COMPLETION]}, user=3)) == COMPLETION
    await bench.settle()
    assert await circuit() is None


async def test_successes_keep_a_circuit_closed(model: ChatModel, bench: Bench) -> None:
    """Failures of fewer than half of the requests open no circuit."""
    await database.run(with_keys, model, "one")
    window = evidence.Window()
    for number in range(12):
        window.note(f"g{number}", number, failed=number < 6)
        if number < 6:
            assert window.opens_circuit() == (number >= 4)
    assert window.opens_circuit()
    window.note("g12", 12, failed=False)
    assert not window.opens_circuit()
    window.note("g12", 12, failed=True)
    assert window.opens_circuit()


async def test_the_window_is_a_minute(clock: Any) -> None:
    """Requests of more than a minute ago are no evidence."""
    window = evidence.Window()
    for number in range(6):
        window.note(f"g{number}", number, failed=True)
    assert window.opens_circuit()
    clock(61)
    assert not window.opens_circuit()
    assert window.evidence().requests == 0


async def test_a_circuit_stays_open_for_longer_each_time(model: ChatModel, bench: Bench, clock: Any) -> None:
    """A half-open circuit whose probe fails opens for twice as long, five minutes at most; probes wait for that."""
    await database.run(with_keys, model, "one")
    await database.run(with_keys, model, "spare", priority=1, slug="b")
    bench.vendor.probes["one"] = [(DOWN,)]
    scripts: Any = {"one": [(DOWN,)], "spare": [COMPLETION]}
    before = timezone.now()
    await bench.ask(scripts)
    await bench.settle()
    for pause in (10, 20, 40, 80, 160, 300, 300):
        found = await circuit()
        assert found
        assert lasts(found.cooldown_until, before, pause)
        calls = len(bench.vendor.probe_calls)
        await bench.ask(scripts)
        await bench.settle()
        assert (bench.vendor.calls, len(bench.vendor.probe_calls)) == (["spare"], calls)
        clock(pause + 1)
        before = timezone.now()
        await bench.ask(scripts)  # half-open: the request takes the other route, and a probe runs
        assert bench.vendor.calls == ["spare"]
        await bench.settle()
    bench.vendor.probes["one"] = [COMPLETION]
    clock(301)
    await bench.ask(scripts)
    await bench.settle()
    await bench.ask({"one": [COMPLETION]})
    assert bench.vendor.calls == ["one"]


async def test_a_failure_after_text_is_evidence(model: ChatModel, bench: Bench) -> None:
    """A stream that breaks in the middle raises the same suspicion."""
    await database.run(with_keys, model, "one")
    bench.vendor.probes["one"] = [(DOWN,)]
    await bench.fails({"one": [(Delta("he"), DOWN)]})
    assert await circuit() is not None


async def test_a_probe_that_gets_no_reply_fails(
    model: ChatModel, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vendor that hangs is found, because a probe is bounded in time."""
    await database.run(with_keys, model, "one")
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.05)
    bench.vendor.probing.clear()
    silent = UpstreamTimeout("The upstream stopped answering.", action="wait", vendor_code="first_timeout")
    assert await bench.fails({"one": [(silent,)]}) is silent
    found = await circuit()
    assert found
    assert (found.is_cooling, found.status_reason) == (True, "The upstream stopped answering.")


# --- recovery ---


@pytest.mark.parametrize("trouble", ["open", "half-open", "limited"])
async def test_a_healed_upstream_is_used_at_once(model: ChatModel, bench: Bench, patient: None, trouble: str) -> None:
    """A request that finds nothing usable probes, and goes on when the probe succeeds."""
    upstream = await database.run(with_keys, model, "one")
    until = timezone.now() + timedelta(seconds=-1 if trouble == "half-open" else 60)

    def leave_out() -> None:
        if trouble == "limited":
            KeyTrouble.objects.create(key=upstream.keys.get(), model="m", blame="rate", cooldown_until=until)
        else:
            UpstreamTrouble.objects.create(upstream=upstream, model="m", blame="upstream", cooldown_until=until)

    await database.run(leave_out)
    assert tuple(await bench.ask({"one": [COMPLETION]})) == COMPLETION
    assert bench.vendor.probe_calls == ["one"]


async def test_requests_share_a_recovery(model: ChatModel, bench: Bench, patient: None) -> None:
    """Many requests that wait at the same time cost one probe."""
    upstream = await database.run(with_keys, model, "one")
    until = timezone.now() + timedelta(seconds=60)
    await database.run(
        lambda: UpstreamTrouble.objects.create(upstream=upstream, model="m", blame="upstream", cooldown_until=until)
    )
    config = await bench.config()
    found = await asyncio.gather(*(bench.health.recover(config) for _ in range(50)))
    assert all(found)
    assert bench.vendor.probe_calls == ["one"]


async def test_a_recovery_of_another_process_is_noticed(model: ChatModel, bench: Bench, patient: None) -> None:
    """A request that waits goes on when another process has found the upstream in order."""
    upstream = await database.run(with_keys, model, "one")
    now = timezone.now()
    values = {"cooldown_until": now + timedelta(seconds=60), "probe_until": now + timedelta(seconds=15)}
    await database.run(lambda: UpstreamTrouble.objects.create(upstream=upstream, model="m", blame="upstream", **values))
    waiting = asyncio.create_task(bench.health.recover(await bench.config()))
    while not bench.health._probes:
        await asyncio.sleep(0)
    assert not await next(iter(bench.health._probes.values()))
    await database.run(UpstreamTrouble.objects.all().delete)
    assert await waiting
    assert bench.vendor.probe_calls == []


async def test_probes_end_with_the_process(model: ChatModel, bench: Bench) -> None:
    """A drain cancels the probes and stores all verdicts; other processes may probe at once."""
    await database.run(with_keys, model, "one")
    bench.vendor.probing.clear()
    with pytest.raises(UpstreamFailed):
        await bench.ask({"one": [(DEAD,)]})
    await until(lambda: bench.vendor.probe_calls)
    await bench.routing.aclose()
    trouble = await trouble_of("one")
    assert trouble
    assert (trouble.status, trouble.probe_until) == ("suspect", None)
    assert len(bench.health.tasks) == 0


async def test_a_key_that_fails_alone_opens_no_circuit(model: ChatModel, bench: Bench) -> None:
    """When the upstream fails with one key only, that key becomes a suspect and the circuit stays closed."""
    await database.run(with_keys, model, "bad", "good")
    before = alerts("down")
    bench.vendor.probes["bad"] = [(DOWN,)]
    while "bad" not in bench.vendor.calls:
        await bench.ask({"bad": [(DOWN,)], "good": [COMPLETION]})
    await bench.settle()
    trouble, found = await trouble_of("bad"), await circuit()
    assert trouble
    assert trouble.status == "suspect"
    assert found is None
    assert alerts("down") == before
    await bench.ask({"good": [COMPLETION]})
    assert bench.vendor.calls == ["good"]


async def test_a_recovery_probes_once_a_second(model: ChatModel, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys are limited and requests wait, an upstream gets about one probe a second."""
    assert verdicts.SPACING_SECONDS == 1
    monkeypatch.setattr(verdicts, "SPACING_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(health, "RECOVERY_SECONDS", 0.7)
    upstream = await database.run(with_keys, model, *(f"key{number}" for number in range(12)))
    until = timezone.now() + timedelta(seconds=60)

    def limit_all() -> None:
        for key in upstream.keys.all():
            bench.vendor.probes[key.secret() or ""] = [(LIMITED,)]
            KeyTrouble.objects.create(key=key, model="m", blame="rate", cooldown_until=until)

    await database.run(limit_all)
    config = await bench.config()
    assert not any(await asyncio.gather(*(bench.health.recover(config) for _ in range(20))))
    assert len(bench.vendor.probe_calls) == 1
