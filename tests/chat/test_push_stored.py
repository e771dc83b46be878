"""chat/channels/store.py: numbers without gaps, bounds, pruning; many processes on SQLite and PostgreSQL."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from chat.channels import push, store
from chat.channels.feeds import position
from chat.channels.models import Channel, ChannelMark, ChannelMessage
from tests import factories, servers
from tests.chat import pushing
from tests.chat.pushes import dispatched

SOAK = os.environ.get("SOAK") == "1"
PROCESSES = 4 if SOAK else 2


def numbers(row: Channel) -> list[int]:
    return list(row.messages.order_by("number").values_list("number", flat=True))


def expire(**which: Any) -> None:
    Channel.objects.filter(**which).update(expires_at=timezone.now())


@pytest.mark.django_db
def test_numbers_have_no_gaps(alice: User) -> None:
    """A channel starts with number 1 and counts by one."""
    assert [store.append(alice.pk, "k", "message", "x")[1] for _ in range(3)] == [1, 2, 3]
    row = store.connect(alice.pk, "k")
    assert (row.base, row.dropped_until, row.last_event, row.ending) == (0, 0, 3, "")
    assert numbers(row) == [1, 2, 3]


@pytest.mark.django_db
def test_too_many_messages(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel keeps its newest messages; a reader without the dropped ones learns of it."""
    monkeypatch.setattr(store, "MAX_MESSAGES", 50)
    kept = []
    for _ in range(200):
        store.append(alice.pk, "k", "message", "x")
        kept.append(ChannelMessage.objects.count())
    assert max(kept) == 50
    assert min(kept[60:]) >= 44
    row = store.connect(alice.pk, "k")
    assert numbers(row) == list(range(row.dropped_until + 1, 201))
    assert position(row, "") == (row.dropped_until, True)
    assert position(row, f"k:{row.dropped_until - 1}") == (row.dropped_until, True)
    assert position(row, f"k:{row.dropped_until}") == (row.dropped_until, False)
    assert position(row, "k:190") == (190, False)


@pytest.mark.django_db
def test_too_many_bytes(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel keeps its newest bytes, counted as sent; the newest message always stays."""
    monkeypatch.setattr(store, "MAX_BYTES", 10_000)
    for data in ["x" * 1000] * 30 + ["\n" * 100] * 30:
        store.append(alice.pk, "k", "message", data)
        row = store.connect(alice.pk, "k")
        sent = sum(len(store.encode("", message)) for message in row.messages.all())
        assert row.kept_bytes <= 10_000
        assert sent <= 10_000 + 40 * row.messages.count()
        assert numbers(row) == list(range(row.dropped_until + 1, row.last_event + 1))
    store.append(alice.pk, "k", "message", "x" * 20_000)
    row = store.connect(alice.pk, "k")
    assert numbers(row) == [61]


@pytest.mark.django_db
def test_pruning(alice: User, bob: User) -> None:
    """Pruning deletes expired channels with their messages, and no others."""
    push.send("alice", "old", "x")
    push.send("bob", "old", "x")
    push.send("alice", "new", "x")
    expire(key="old")
    store.prune()
    assert list(Channel.objects.values_list("key", flat=True)) == ["new"]
    assert ChannelMessage.objects.count() == 1
    assert dict(ChannelMark.objects.values_list("user", "number")) == {alice.pk: 1, bob.pk: 1}


@pytest.mark.django_db
def test_how_long_they_are_kept(alice: User, settings: Any) -> None:
    """An open channel expires a day after its last message, an ended one after CHANNEL_RETENTION_SECONDS."""
    settings.CHANNEL_RETENTION_SECONDS = 77
    push.send("alice", "open", "x")
    push.complete("alice", "ended")
    left = {row.key: (row.expires_at - timezone.now()).total_seconds() for row in Channel.objects.all()}
    assert left["open"] == pytest.approx(86_400, abs=20)
    assert left["ended"] == pytest.approx(77, abs=20)


@pytest.mark.django_db
def test_expired_channels_are_renewed_on_use(alice: User) -> None:
    """An expired channel is renewed on use, even before it is pruned."""
    push.complete("alice", "k")
    expire()
    assert push.send("alice", "k", "a new one") == "k:3"
    row = store.connect(alice.pk, "k")
    assert (row.base, row.ending, numbers(row)) == (2, "", [3])
    expire()
    assert store.connect(alice.pk, "k").base == 4


@pytest.mark.django_db
def test_old_ids_never_fit_a_new_channel(alice: User) -> None:
    """Any event id of a pruned channel gets a `reset` from its successor."""
    for _ in range(5):
        push.send("alice", "k", "x")
    last = push.complete("alice", "k")
    assert last == "k:6"
    expire()
    store.prune()
    push.send("alice", "k", "y")
    row = store.connect(alice.pk, "k")
    assert [position(row, f"k:{number}").lost for number in range(7)] == [True] * 7
    assert position(row, "") == (7, False)
    assert (numbers(row), position(row, "k:8")) == ([8], (8, False))


@pytest.mark.django_db
def test_line_injection(alice: User) -> None:
    """Ten thousand hostile strings each stay one event with its own id, name and data."""
    random = Random(6)
    parts = ["\r", "\n", "\r\n", "\0", "\u2028", "\u2029", "\x85", "\x1c", "\ufeff", "data: ", "id: 7\n", "event: x\r"]
    parts += ["a", " ", ":", "字", "\n\n", "\r\n\r\n", "retry: 1\n"]
    hostile = ["".join(random.choices(parts, k=random.randrange(12))) for _ in range(10_000)]
    texts = [push._text(data) for data in hostile]
    rows = [ChannelMessage(number=n, event="message", data=text) for n, text in enumerate(texts, 1)]
    events = list(dispatched([b"".join(store.encode("k", row) for row in rows)]))
    assert [(event.id, event.name) for event in events] == [(f"k:{n}", "message") for n in range(1, 10_001)]
    for sent, event in zip(hostile, events, strict=True):
        assert event.data == sent.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    as_json = [ChannelMessage(number=1, event="e", data=push._text([text])) for text in hostile]
    assert all(store.encode("k", row).count(b"\n") == 4 for row in as_json)
    row = store.connect(alice.pk, "k")
    assert {position(row, text) for text in hostile if text} == {(0, True)}
    assert not any(push.KEY.fullmatch(text) or push.EVENT.fullmatch(text) for text in hostile if set(text) - {"a", ":"})


# --- many processes --------------------------------------------------------------------------------------------------


@pytest.fixture
def variables(database_url: str, tmp_path: Path) -> dict[str, str]:
    return servers.environment(database_url, tmp_path / "var")


@pytest.fixture
def here(database_url: str, django_db_blocker: Any) -> Iterator[None]:
    """Connect this process to the database of the other processes."""
    with django_db_blocker.unblock(), servers.connected(database_url):
        factories.user("dora")
        yield


@pytest.mark.soak
@pytest.mark.usefixtures("here")
def test_many_processes(variables: dict[str, str]) -> None:
    """Concurrent processes assign each number once, without gaps; one end wins, also during pruning."""
    names = [[f"{process}-{n}" for n in range(300 if SOAK else 40)] for process in range(PROCESSES)]
    rows = [["dora", mine, ends, len(mine) // 2] for mine, ends in zip(names, (True, True, False, False), strict=False)]
    pushed_ids = servers.in_processes(pushing.push_in_every_way, rows, variables)
    shared, ended, pruned = (
        sorted((id_ for each in pushed_ids for id_ in each[key]), key=lambda id_: int(id_.rpartition(":")[2]))
        for key in ("shared", "ended", "pruned")
    )
    row = Channel.objects.get(key="shared")
    assert shared == [f"shared:{n}" for n in range(1, len(names) * len(names[0]) + 1)]
    assert sorted(row.messages.values_list("data", flat=True)) == sorted(chain.from_iterable(names))
    row = Channel.objects.get(key="ended")
    assert ended == [f"ended:{n}" for n in numbers(row)] == [f"ended:{n}" for n in range(1, row.last_event + 1)]
    assert list(row.messages.filter(event="complete").values_list("number", flat=True)) == [row.last_event]
    assert len(set(pruned)) == len(pruned) == len(names) * (len(names[0]) // 2)
