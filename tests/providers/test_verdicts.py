"""Conclusions of routing from failures: crowded keys, keys that fail alike, and alerts for operators."""

from typing import Any

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from providers import keys
from providers.apps import providers_app
from providers.models import ApiKey, ChatModel, KeyTrouble, fingerprint
from providers.wire.errors import UpstreamFailed
from runtime import database
from tests import factories
from tests.providers.test_routing import COMPLETION, ask, executor, failure, model, no_waiting, with_keys

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["executor", "model", "no_waiting"]


def alerts(vendor_code: str) -> float:
    return (
        REGISTRY.get_sample_value("rivulet_upstream_alerts_total", {"upstream": "a", "vendor_code": vendor_code}) or 0
    )


async def test_a_crowded_key_carries_less(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that carried too many attempts gets a lower limit; an operator's lower one stays."""
    upstream = await database.run(with_keys, model, "crowded", "good")
    row = await database.run(upstream.keys.get, fingerprint=fingerprint("crowded"))
    monkeypatch.setitem(providers_app().pool.limits.in_use, row.id, 7)
    too_much = failure("switch", cooldown_s=5, crowded=True)
    monkeypatch.setattr("providers.keys.random.choice", lambda found: found[0])
    good = await database.run(upstream.keys.get, fingerprint=fingerprint("good"))
    monkeypatch.setitem(providers_app().pool.limits.in_use, good.id, 9)
    await ask(monkeypatch, {"crowded": [(too_much,)], "good": [COMPLETION]})
    await database.run(row.refresh_from_db)
    assert row.max_concurrency == 7  # the failing attempt was the eighth
    await database.run(ApiKey.objects.filter(id=row.id).update, max_concurrency=3)
    assert await providers_app().pool.lower_concurrency(keys.Key(row.id, "crowded")) == 6
    await database.run(row.refresh_from_db)
    assert row.max_concurrency == 3


async def test_all_keys_fail_alike(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all of several keys fail alike, no key is left out and an operator is alerted."""
    await database.run(with_keys, model, "one", "two", "three")
    before = alerts("alike")
    wrong = [(failure("disable", scope="key", unanimous=True, vendor_code="alike"),)]
    for _turn in range(2):
        with pytest.raises(UpstreamFailed) as raised:
            await ask(monkeypatch, {"one": wrong, "two": wrong, "three": wrong})
        assert sorted(raised.value.doubles.calls) == ["one", "three", "two"]  # type: ignore[attr-defined]
    assert not await database.run(KeyTrouble.objects.exists)
    assert alerts("alike") - before >= 2


async def test_all_keys_fail_alike_one_by_one(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was left out for the same reason counts as one that failed."""
    upstream = await database.run(with_keys, model, "one", "two")
    wrong = failure("disable", scope="key", unanimous=True, vendor_code="alike")
    row = await database.run(upstream.keys.get, fingerprint=fingerprint("one"))
    await keys.quarantine(keys.Key(row.id, "one"), keys.ANY_MODEL, "another reason")
    with pytest.raises(UpstreamFailed):
        await ask(monkeypatch, {"two": [(wrong,)]})
    assert await database.run(KeyTrouble.objects.count) == 2
    await database.run(KeyTrouble.objects.filter(key__fingerprint=fingerprint("two")).delete)
    await database.run(KeyTrouble.objects.update, status_reason=str(wrong))
    providers_app().configuration.forget()
    with pytest.raises(UpstreamFailed):
        await ask(monkeypatch, {"two": [(wrong,)]})
    assert not await database.run(KeyTrouble.objects.exists)


async def test_one_key_fails_differently(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that fail alike stay out when another key of the upstream works."""
    await database.run(with_keys, model, "one", "two", "good")
    wrong = [(failure("disable", scope="key", unanimous=True, vendor_code="alike"),)]
    for _turn in range(8):
        await ask(monkeypatch, {"one": wrong, "two": wrong, "good": [COMPLETION]})
    assert await database.run(KeyTrouble.objects.filter(quarantined_at__isnull=False).count) == 2


async def test_an_only_key_is_quarantined(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only key of an upstream is quarantined, because no other key shows whose fault it is."""
    await database.run(with_keys, model, "one")
    wrong = [(failure("disable", scope="key", unanimous=True),)]
    with pytest.raises(UpstreamFailed):
        await ask(monkeypatch, {"one": wrong})
    assert (await database.run(KeyTrouble.objects.get)).status == "quarantined"


@pytest.mark.parametrize(("facts", "counted"), [({"alerts": True}, 1), ({}, 0)])
async def test_alerts(
    model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], counted: int
) -> None:
    """A failure that its table marks is counted as an alert, others are not."""
    await database.run(with_keys, model, "one", "good")
    before = alerts("marked")
    monkeypatch.setattr("providers.keys.random.choice", lambda found: found[0])
    marked = [(failure("switch", cooldown_s=9, vendor_code="marked", **facts),)]
    await ask(monkeypatch, {"one": marked, "good": [COMPLETION]})
    assert alerts("marked") - before == counted


async def test_a_full_key_is_no_choice(model: ChatModel, executor: None) -> None:
    """A key that carries as many attempts as it may is passed over until one has ended."""
    upstream = await database.run(with_keys, model)
    await database.run(factories.api_key, upstream, "one", max_concurrency=1)
    providers_app().configuration.forget()
    pool = (await database.run(providers_app().configuration.models))["m"].routes[0].upstream.keys
    first = await providers_app().pool.lease(pool, "m")
    assert first
    async with first:
        assert await providers_app().pool.lease(pool, "m") is None
    again = await providers_app().pool.lease(pool, "m")
    assert again
    async with again:
        pass


async def test_a_persistent_failure_alerts(model: ChatModel, executor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`alerts_if_persistent` alerts only when the key fails alike after its cooldown."""
    upstream = await database.run(with_keys, model, "full")
    row = await database.run(upstream.keys.get, fingerprint=fingerprint("full"))
    full = [(failure("switch", cooldown_s=60, alerts_if_persistent=True, vendor_code="persists"),)]
    counted = []
    for reason_before in ("", "another reason", str(full[0][0])):
        before = alerts("persists")
        if reason_before:
            await keys.cool_down(keys.Key(row.id, "full"), "m", 60, reason_before)
            await database.run(KeyTrouble.objects.update, cooldown_until=timezone.now(), status_reason=reason_before)
        providers_app().configuration.forget()
        with pytest.raises(UpstreamFailed):
            await ask(monkeypatch, {"full": full})
        counted.append(alerts("persists") - before)
        await database.run(KeyTrouble.objects.all().delete)
    assert counted == [0, 0, 1]
