"""The health of keys and upstreams in words."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone, translation

from providers import health_display
from providers.models import ApiKey, KeyTrouble, Upstream, UpstreamTrouble
from tests import factories

pytestmark = pytest.mark.django_db

BUSY = "The upstream is busy."


@pytest.fixture(autouse=True)
def english() -> Any:
    with translation.override("en"):
        yield


def soon() -> Any:
    return timezone.now() + timedelta(seconds=60)


def troubled(of: Upstream, model: str = "", **values: Any) -> ApiKey:
    key = factories.api_key(of)
    KeyTrouble.objects.create(key=key, model=model, status_reason=BUSY, **values)
    return key


def seen(upstream: Upstream) -> tuple[str, str, int, int, int, int]:
    found = health_display.of_upstream(Upstream.objects.prefetch_related("keys__troubles").get(pk=upstream.pk))
    return found.level, found.text, found.keys, found.usable, found.cooling, found.quarantined


def test_an_upstream_with_usable_keys_is_ok() -> None:
    """An upstream whose keys can all be used is ok."""
    upstream = factories.upstream()
    factories.api_key(upstream)
    assert seen(upstream) == ("ok", "ok", 1, 1, 0, 0)


def test_some_keys_are_out() -> None:
    """Cooling, quarantined and usable keys are counted."""
    upstream = factories.upstream()
    factories.api_key(upstream)
    troubled(upstream, cooldown_until=soon())
    troubled(upstream, quarantined_at=timezone.now())
    assert seen(upstream) == ("warning", "2 keys cannot be used", 3, 1, 1, 1)


def test_all_keys_are_out() -> None:
    """An upstream without a usable key is down; disabled keys do not count as usable."""
    upstream = factories.upstream()
    factories.api_key(upstream, enabled=False)
    troubled(upstream, quarantined_at=timezone.now())
    assert seen(upstream) == ("down", "1 key cannot be used", 2, 0, 0, 1)


def test_all_keys_are_switched_off() -> None:
    """An upstream whose keys are all disabled is down."""
    upstream = factories.upstream()
    factories.api_key(upstream, enabled=False)
    assert seen(upstream)[:2] == ("down", "all keys are switched off")


def test_trouble_with_one_model() -> None:
    """A key with trouble with one model is usable, and its upstream has a warning."""
    upstream = factories.upstream()
    troubled(upstream, "gpt-4", cooldown_until=soon())
    assert seen(upstream) == ("warning", "some models cannot be used with every key", 1, 1, 1, 0)


def test_an_open_circuit_shows_its_evidence() -> None:
    """An open circuit is shown with its end, reason, class, evidence and probes; it is down for its only model."""
    upstream = factories.upstream()
    factories.api_key(upstream)
    factories.route(factories.chat_model("m"), upstream)
    at = timezone.now().replace(hour=4, minute=3, second=0)
    UpstreamTrouble.objects.create(
        upstream=upstream,
        model="m",
        blame="upstream",
        cooldown_until=soon(),
        status_reason="The upstream could not be reached.",
        requests=7,
        users=3,
        since=at,
        last_probe_at=at,
        next_probe_at=at,
    )
    level, text, *_counts = seen(upstream)
    assert level == "down"
    assert re.fullmatch(
        r"cooling until [\d:]+: The upstream could not be reached\. \(m\) \[the upstream fails, "
        r"7 requests of 3 users since ([\d-]+ )?12:03(:00)?, last probe .*12:03.*, next probe from .*12:03.*\]",
        text,
    )
    with translation.override("zh-hans"):
        assert "3 名用户的 7 次请求" in seen(upstream)[1]
    factories.route(factories.chat_model("other"), upstream)
    assert seen(upstream)[0] == "warning"


def test_without_a_key_and_switched_off() -> None:
    """An upstream without key rows is ok; a disabled one is off, whatever else holds."""
    assert seen(factories.upstream())[:2] == ("ok", "ok, without a key")
    off = factories.upstream(enabled=False)
    UpstreamTrouble.objects.create(upstream=off, model="m", cooldown_until=soon())
    assert seen(off)[:2] == ("off", "switched off")


def test_all_troubles_of_a_key_are_listed() -> None:
    """Each trouble of a key is listed: since or until when, why, and with which model."""
    upstream = factories.upstream()
    key = troubled(upstream, quarantined_at=timezone.now())
    KeyTrouble.objects.create(key=key, model="gpt-4", cooldown_until=soon(), status_reason=BUSY)
    KeyTrouble.objects.create(key=key, model="old", cooldown_until=timezone.now(), status_reason=BUSY)
    KeyTrouble.objects.create(key=key, model="new", status_reason=BUSY)
    KeyTrouble.objects.create(key=key, model="limited", blame="rate", cooldown_until=timezone.now())
    text = health_display.text_of_key(key)
    assert [part.partition(" ")[0] for part in text.split("; ")] == [
        "quarantined",
        "cooling",
        "waits",
        "suspected:",
        "in",
    ]
    assert f"{BUSY} (gpt-4)" in text
    assert health_display.level_of_key(key) == "down"


def test_levels_of_keys() -> None:
    """A key is ok, waits for its probe, is suspected, lacks one model, is down, or is off."""
    upstream = factories.upstream()
    keys = [
        factories.api_key(upstream),
        troubled(upstream, cooldown_until=timezone.now()),
        troubled(upstream),
        troubled(upstream, "gpt-4", quarantined_at=timezone.now()),
        troubled(upstream, cooldown_until=soon()),
        factories.api_key(upstream, enabled=False),
    ]
    assert [health_display.level_of_key(key) for key in keys] == ["ok", "warning", "warning", "warning", "down", "off"]


def test_a_key_that_cannot_be_decrypted_is_down() -> None:
    """A key that cannot be decrypted is down, and so is an upstream that has no other."""
    upstream = factories.upstream()
    factories.api_key(upstream)
    ApiKey.objects.update(ciphertext="gAAAA")
    assert seen(upstream)[0] == "down"
    assert "decrypted" in health_display.text_of_key(ApiKey.objects.get())
