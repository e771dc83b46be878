"""Alerts: each is sent once, with one recovery; a failed message is tried again; secrets stay out of logs."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from providers.alerts import conditions, rounds
from providers.alerts.conditions import Condition, Kind, Source
from providers.alerts.models import Alert, AlertMessage
from providers.alerts.watch import Alerts
from providers.apps import providers_app
from providers.models import ApiKey, KeyTrouble, UpstreamTrouble
from providers.wire import webhooks
from providers.wire.openai.errors import BAD_KEY, NO_MONEY
from quotas import group_use
from quotas.models import DailyUsage, QuotaGroupLimit
from runtime.apps import runtime
from tests import factories, servers
from tests.providers.streams import PATIENCE_SECONDS
from tests.staff import staff_with
from tests.webhooks import Receiver

PROCESSES = 4
KEYS = Source((Kind.KEY_DEAD, Kind.BALANCE_EMPTY), conditions.of_keys, 0.0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a message take as long as on a busy machine."""
    monkeypatch.setattr(webhooks, "SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """The one webhook of the settings."""
    with Receiver.in_thread() as server:
        settings.ALERT_WEBHOOKS = [webhooks.parsed(f"json={server.origin}/hook?key=planted-0123456789")]
        settings.LANGUAGE_CODE = "en"
        yield server


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> Alerts:
    """A watch that is due at each call, and asks for keys and circuits only."""
    watch = Alerts(runtime().process)
    sources = [KEYS, Source((Kind.CIRCUIT_OPEN,), conditions.of_circuits, 0.0)]
    monkeypatch.setattr(watch, "_sources", sources)
    monkeypatch.setattr(rounds, "QUIET", timedelta(0))
    return watch


def check(watch: Alerts) -> None:
    """Let a process look once, and send what is due."""
    async_to_sync(watch.check)()


def quarantine(key: ApiKey, reason: str = BAD_KEY.message) -> KeyTrouble:
    return KeyTrouble.objects.create(key=key, quarantined_at=timezone.now(), status_reason=reason)


def make_due() -> None:
    """Let the next attempt of every message be due."""
    AlertMessage.objects.update(due_at=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_an_alert_is_told_once_and_its_recovery_once(receiver: Receiver, alerts: Alerts) -> None:
    """However often processes look, one message reports a dead key, and one that it is in use again."""
    trouble = quarantine(factories.api_key(factories.upstream("mirror")))
    for _look in range(3):
        check(alerts)
        make_due()
    trouble.delete()
    for _look in range(3):
        check(alerts)
        make_due()
    assert [request.body["event"] for request in receiver.requests] == ["opened", "ended"]
    opened, ended = (request.body for request in receiver.requests)
    assert opened["kind"] == ended["kind"] == "key_dead"
    assert opened["title"].startswith("Key …")
    assert ended["title"] == f"Recovered: {opened['title']}"
    assert (opened["ended_at"], opened["site"]) == (None, "Rivulet")
    assert ended["ended_at"]


@pytest.mark.django_db(transaction=True)
def test_a_source_that_fails_stops_no_other(
    receiver: Receiver, alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When one thing cannot be looked at, such as a folder that is away, the others still lead to messages."""

    def away() -> list[conditions.Condition]:
        raise FileNotFoundError("the folder is away")

    monkeypatch.setattr(alerts, "_sources", [Source((Kind.DISK_NEARLY_FULL,), away, 0.0), *alerts._sources])
    quarantine(factories.api_key(factories.upstream("mirror")))
    check(alerts)
    assert [request.body["kind"] for request in receiver.requests] == ["key_dead"]


@pytest.mark.django_db(transaction=True)
def test_a_flapping_condition_is_one_alert(receiver: Receiver, alerts: Alerts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A circuit that closes and opens again within half a minute is one alert."""
    monkeypatch.setattr(rounds, "QUIET", timedelta(seconds=30))
    upstream = factories.upstream("mirror")
    for _time in range(3):
        row = UpstreamTrouble.objects.create(upstream=upstream, model="m", cooldown_until=timezone.now())
        check(alerts)
        row.delete()
        check(alerts)
    assert [request.body["kind"] for request in receiver.requests] == ["circuit_open"]
    assert Alert.objects.get().ended_at is None


@pytest.mark.django_db(transaction=True)
def test_a_failed_message_is_tried_again_a_bounded_number_of_times(
    receiver: Receiver, alerts: Alerts, log_lines: list[Any]
) -> None:
    """A message that failed is sent again after a pause, at most eight times; no log line has the address's secret."""
    receiver.status = 500
    quarantine(factories.api_key(factories.upstream()))
    check(alerts)
    check(alerts)
    assert len(receiver.requests) == 1, "the pause is kept"
    for _look in range(len(rounds.PAUSES) + 3):
        make_due()
        check(alerts)
    assert len(receiver.requests) == len(rounds.PAUSES)
    assert AlertMessage.objects.get().error == "status 500"
    assert "planted" not in str(log_lines)
    assert any(line["event"] == "alert not sent" for line in log_lines)


@pytest.mark.django_db(transaction=True)
def test_a_message_that_failed_arrives_later(receiver: Receiver, alerts: Alerts) -> None:
    """The recovery waits for the message before it, and both arrive when the receiver is back."""
    receiver.status = 503
    trouble = quarantine(factories.api_key(factories.upstream()))
    check(alerts)
    trouble.delete()
    check(alerts)
    receiver.status = 204
    receiver.reply = b""
    for _look in range(2):
        make_due()
        check(alerts)
    assert [request.body["event"] for request in receiver.requests] == ["opened", "opened", "ended"]


@pytest.mark.django_db
def test_recoveries_that_wait_leave_room_for_other_messages() -> None:
    """However many recoveries wait for a target that fails, a message to another target is sent at once."""
    now = timezone.now()
    for number in range(rounds.SENT_AT_ONCE):
        alert = Alert.objects.create(
            kind=Kind.KEY_DEAD, subject=f"key {number}", opened_at=now, seen_at=now, ended_at=now
        )
        alert.messages.create(event="opened", target="json fails", attempts=1, due_at=now + timedelta(hours=1))
        alert.messages.create(event="ended", target="json fails", due_at=now)
    alert = Alert.objects.create(kind=Kind.KEY_DEAD, subject="key", opened_at=now, seen_at=now)
    message = alert.messages.create(event="opened", target="mail", due_at=now)
    assert rounds.claim({"json fails", "mail"}) == [message]


def look_and_claim(directory: str) -> int:
    """Look at the keys and claim messages, as each of several processes does; return how many it is to send."""
    rounds.note(KEYS, conditions.of_keys(), {"mail"})
    return len(rounds.claim({"mail"}))


def test_one_of_several_processes_tells(database_url: str, tmp_path: Path, django_db_blocker: Any) -> None:
    """Of several processes that find a dead key at the same time, exactly one opens the alert and sends it."""
    with django_db_blocker.unblock(), servers.connected(database_url):
        quarantine(factories.api_key(factories.upstream()))
        variables = servers.environment(database_url, tmp_path / "var")
        claimed = servers.in_processes(look_and_claim, [[""]] * PROCESSES, variables)
        assert sorted(claimed) == [0] * (PROCESSES - 1) + [1]
        assert Alert.objects.count() == AlertMessage.objects.count() == 1


@pytest.mark.django_db
def test_kinds_of_key_alerts() -> None:
    """A key whose account must be paid is another kind than a dead one; a disabled key is none."""
    upstream = factories.upstream("mirror")
    dead, poor, off = (factories.api_key(upstream, enabled=enabled) for enabled in (True, True, False))
    quarantine(dead)
    quarantine(poor, NO_MONEY.message)
    quarantine(off)
    found = {condition.subject: condition.kind for condition in conditions.of_keys()}
    assert found == {f"key {dead.pk}": Kind.KEY_DEAD, f"key {poor.pk}": Kind.BALANCE_EMPTY}


def test_a_full_disk_is_found(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of VAR_DIR counts from ALERT_DISK_PERCENT on, of what is not reserved for root."""
    usage = SimpleNamespace(total=100, used=81, free=9)
    monkeypatch.setattr(conditions.shutil, "disk_usage", lambda _path: usage)
    settings.ALERT_DISK_PERCENT = 90
    [condition] = conditions.of_disk()
    assert condition.details["percent"] == 90
    settings.ALERT_DISK_PERCENT = 91
    assert conditions.of_disk() == []


@pytest.mark.django_db
def test_a_group_that_has_used_its_quota_is_found(settings: Any) -> None:
    """A group counts when its members together used the given part of their limits; excess of one fills no gap."""
    members = [factories.user() for _number in range(2)]
    quota, group = factories.quota("standard"), factories.group("class", *members)
    QuotaGroupLimit.objects.create(quota=quota, group=group, daily_limit=10)
    today = timezone.localdate()
    DailyUsage.objects.create(user=members[0], quota=quota, day=today, used=40)
    second = DailyUsage.objects.create(user=members[1], quota=quota, day=today, used=7)
    assert group_use.nearly_used() == []
    second.used = 8
    second.save()
    [condition] = group_use.nearly_used()
    assert condition.details == {"quota": "standard", "group": "class", "percent": 90, "used": 18}


@pytest.mark.django_db
def test_an_alert_of_a_host_that_is_gone_ends_after_a_day() -> None:
    """No other host ends the alert of a disk, but after a day without a look any process does."""
    elsewhere = Source((Kind.DISK_NEARLY_FULL,), list, 0.0, everywhere=True, prefix="one ")
    here = Source((Kind.DISK_NEARLY_FULL,), list, 0.0, everywhere=True, prefix="two ")
    details = {"host": "one", "percent": 95, "free_gib": 1.0}
    rounds.note(elsewhere, [Condition(Kind.DISK_NEARLY_FULL, "one /var", details)], set())
    Alert.objects.update(seen_at=timezone.now() - timedelta(hours=2))
    rounds.note(here, [], set())
    rounds.end_lapsed(set())
    assert Alert.objects.get().ended_at is None
    Alert.objects.update(seen_at=timezone.now() - timedelta(hours=25))
    rounds.end_lapsed(set())
    assert Alert.objects.get().ended_at
    Alert.objects.update(ended_at=timezone.now() - timedelta(days=91))
    rounds.end_lapsed(set())
    assert not Alert.objects.exists()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("slack", {"text": "a &lt;b&gt; &amp; 余额"}),
        ("wecom", {"msgtype": "text", "text": {"content": "a <b> & 余额"}}),
        ("dingtalk", {"msgtype": "text", "text": {"content": "a <b> & 余额"}}),
        ("json", {"event": "opened"}),
    ],
)
async def test_each_robot_gets_its_shape(kind: str, body: Any) -> None:
    """Slack, WeCom and DingTalk get the shapes of their documents, all others the fields themselves."""
    async with Receiver() as receiver:
        webhook = webhooks.parsed(f"{kind}={receiver.origin}/robot/send?access_token=t")
        assert await webhooks.post(webhook, "a <b> & 余额", {"event": "opened"}) == ""
    [request] = receiver.requests
    assert request.body == body
    assert request.path == "/robot/send?access_token=t"


async def test_a_refusal_with_status_200_is_a_failure() -> None:
    """WeCom and DingTalk refuse with status 200 and a code, which is no success."""
    async with Receiver() as receiver:
        for kind in ("wecom", "dingtalk"):
            receiver.reply = b'{"errcode":45009,"errmsg":"api freq out of limit"}'
            assert await webhooks.post(webhooks.parsed(f"{kind}={receiver.origin}"), "text", {}) == "errcode 45009"
            receiver.reply = b"<html>"
            assert await webhooks.post(webhooks.parsed(f"{kind}={receiver.origin}"), "text", {}) == "no errcode"


async def test_dingtalk_signs_with_the_secret_behind_the_address() -> None:
    """The secret after `#` signs the message and is not sent; a redirect is not followed."""
    async with Receiver() as receiver:
        receiver.status = 302
        webhook = webhooks.parsed(f"dingtalk={receiver.origin}/send?access_token=t#SECplanted")
        assert await webhooks.post(webhook, "text", {}) == "status 302"
    [request] = receiver.requests
    assert "&timestamp=" in request.path
    assert "&sign=" in request.path
    assert "SECplanted" not in request.path + json.dumps(request.body)


def test_the_kind_of_a_known_host_need_not_be_named() -> None:
    """The hosts of the three robots have their kind; every other host gets JSON."""
    kinds = {url: webhooks.parsed(url).kind for url in ("https://hooks.slack.com/services/T/B/x", "http://ops.lan/x")}
    assert list(kinds.values()) == ["slack", "json"]
    assert "x" not in repr(webhooks.parsed("json=https://ops.example.org/x?y")).replace("example", "")


@pytest.mark.django_db(transaction=True)
def test_staff_see_alerts_and_send_a_test(
    receiver: Receiver, alerts: Alerts, client: Client, carol: Any, settings: Any, mailoutbox: list[Any]
) -> None:
    """The list shows open alerts; its button sends a message to all targets, with the right to it only."""
    settings.ALERT_EMAILS = ["ops@example.org"]
    quarantine(factories.api_key(factories.upstream("mirror")))
    check(alerts)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    client.force_login(carol)
    page = client.get(reverse("admin:providers_alert_changelist"))
    assert "of mirror is dead" in page.text
    assert "planted" not in page.text
    assert "mail (beginning): sent" in page.text
    done = client.post(reverse("admin:providers_alert_test"))
    assert [str(message) for message in get_messages(done.wsgi_request)] == [
        "mail took the message.",
        "json 127.0.0.1 took the message.",
    ]
    assert [request.body["event"] for request in receiver.requests] == ["opened", "test"]
    assert [mail.to for mail in mailoutbox] == [["ops@example.org"]] * 2
    assert mailoutbox[0].subject.startswith("[Rivulet] Key …")
    client.force_login(staff_with("view_alert"))
    assert client.post(reverse("admin:providers_alert_test")).status_code == 403
    assert client.get(reverse("admin:providers_alert_changelist")).status_code == 200


def test_the_process_looks_by_itself() -> None:
    """Each serving process has the timer, and knows the source of quotas too."""
    assert "alerts" in runtime().process.timers
    assert group_use.SOURCE in providers_app().alerts._sources
    assert settings.ALERT_DISK_PERCENT == 90
