"""chat/channels/push.py: pushing from Python code, transactions and threads; watching how a channel ends."""

import asyncio
import datetime
import decimal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import translation

from accounts.models import User
from chat.apps import chat
from chat.channels import payment_demo, push, store
from chat.channels.feeds import Follower, position
from chat.channels.models import Channel, ChannelMessage
from chat.errors import ChannelEnded
from runtime import database
from web.refusals import InvalidRequest, TooLarge

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def database_threads() -> AsyncGenerator[None, None]:
    """Close the database threads of this test."""
    yield
    await asyncio.to_thread(database.close)


@pytest.fixture
def reasons() -> Iterator[list[str]]:
    """The reasons with which `on_end` was called; at the end no watch is left."""
    yield []
    assert not chat().channels.ends.watches


def messages(of: User, key: str = "k") -> list[tuple[int, str, str]]:
    rows = ChannelMessage.objects.filter(channel__user=of, channel__key=key).order_by("number")
    return list(rows.values_list("number", "event", "data"))


def wait_until(met: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_a_thread(call: Callable[[], None]) -> None:
    def run() -> None:
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.contract("push in Python")
def test_send_and_complete(alice: User) -> None:
    """Pushes are stored at once, in order, under the ids that readers see."""
    assert push.send("alice", "k", {"a": 1}) == "k:1"
    assert push.send("alice", "k", "text", event="news") == "k:2"
    assert push.complete("alice", "k") == "k:3"
    assert messages(alice) == [(1, "message", '{"a":1}'), (2, "news", "text"), (3, "complete", "{}")]


async def test_from_async_code(alice: User, database_threads: None) -> None:
    """The async twins work on an event loop."""
    await push.aopen("alice", "k", timeout_seconds=5)
    assert await push.asend("alice", "k", "text") == "k:1"
    assert await push.aerror("alice", "k", "no") == "k:2"
    assert await push.acomplete("alice", "other") == "other:1"
    with pytest.raises(ChannelEnded):
        await push.asend("alice", "k", "late")
    row = await database.run(Channel.objects.get, key="k")
    assert (row.timeout_seconds, row.ending) == (5, "error")
    assert await database.run(messages, alice) == [(1, "message", "text"), (2, "error", '{"message":"no"}')]


def test_from_a_thread(alice: User) -> None:
    """Any thread may push."""
    in_a_thread(lambda: push.send("alice", "k", "x"))
    assert messages(alice) == [(1, "message", "x")]


def test_a_rollback_removes_the_push(alice: User) -> None:
    """A rolled back push is gone, including its number, and wakes no reader."""
    push.send("alice", "k", "first")
    with transaction.atomic():
        push.send("alice", "k", "never")
        push.complete("alice", "k")
        transaction.set_rollback(True)
    assert push.send("alice", "k", "second") == "k:2"
    assert [data for _number, _event, data in messages(alice)] == ["first", "second"]


@pytest.mark.parametrize(
    ("data", "stored_as"),
    [
        ({"at": datetime.date(2026, 11, 21), "price": decimal.Decimal("9.90")}, '{"at":"2026-11-21","price":"9.90"}'),
        ("a\0b\r\n\u2028", "ab\r\n\u2028"),
        (2**80, str(2**80)),
    ],
)
def test_data(alice: User, data: Any, stored_as: str) -> None:
    """Strings are stored without NUL; dates and decimals in Django's formats."""
    push.send("alice", "k", data)
    assert messages(alice) == [(1, "message", stored_as)]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"username": "nobody"}, "user"),
        ({"key": "a b"}, "key"),
        ({"key": "a\n"}, "key"),
        ({"key": ""}, "key"),
        ({"event": "a\nid: 9"}, "event"),
        ({"data": object()}, "data"),
        ({"data": float("nan")}, "data"),
        ({"data": "\ud800"}, "data"),
        ({"data": ["\ud800"]}, "data"),
        ({"data": AnonymousUser()}, "data"),
    ],
)
def test_invalid_arguments(alice: User, wrong: dict[str, Any], field: str) -> None:
    """An invalid user, key, event or data is refused by name; nothing is stored."""
    with pytest.raises(InvalidRequest) as refused:
        push.send(**{"username": "alice", "key": "k", "data": 1, **wrong})
    assert list(refused.value.details or {}) == [field]
    assert not ChannelMessage.objects.exists()


def test_too_large(alice: User) -> None:
    """A message over 1 MiB is refused."""
    with pytest.raises(TooLarge):
        push.send("alice", "k", "字" * 2**19)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_invalid_idle_limits(alice: User, seconds: float) -> None:
    """An idle limit is a number of seconds above 0."""
    with pytest.raises(InvalidRequest):
        push.open("alice", "k", timeout_seconds=seconds)


def test_on_end_must_be_callable_by_a_thread(alice: User) -> None:
    """A coroutine function as callback is refused at once."""

    async def on_end(reason: str) -> None:
        raise AssertionError(reason)

    with pytest.raises(TypeError):
        push.open("alice", "k", on_end=on_end)


# --- endings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "reason"), [(push.complete, "complete"), (push.error, "error")])
def test_on_end_reports_the_ending(alice: User, reasons: list[str], end: Callable[..., str], reason: str) -> None:
    """`on_end` is called once with the ending, as soon as the channel ends."""
    push.open("alice", "k", on_end=reasons.append)
    push.send("alice", "k", "x")
    end("alice", "k", *(["because"] if reason == "error" else []))
    wait_until(lambda: reasons)
    time.sleep(0.1)
    assert reasons == [reason]


@pytest.mark.contract("push in Python")
def test_on_end_reports_a_timeout(alice: User, reasons: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`on_end` gets "timeout" once after the idle limit; each message restarts the limit."""
    now, looks = [0.0], [0]

    def monotonic() -> float:
        looks[0] += 1
        return now[0]

    def look() -> None:
        """Wait until the watcher has looked at the clock again, twice as it may be on its way."""
        seen = looks[0]
        chat().channels.ends.check_soon()
        wait_until(lambda: looks[0] >= seen + 4)

    monkeypatch.setattr("chat.channels.watch.time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    push.open("alice", "k", timeout_seconds=2.5, on_end=reasons.append)
    (watch,) = chat().channels.ends.watches
    for number in (1, 2, 3):
        now[0] += 2
        push.send("alice", "k", "still here")
        wait_until(lambda number=number: watch.last_event == number and watch.deadline == now[0] + 2.5)
    now[0] += 2.4
    look()
    assert reasons == []
    now[0] += 0.2
    wait_until(lambda: reasons)
    push.complete("alice", "k")
    time.sleep(0.2)
    assert reasons == ["timeout"]


def test_on_end_of_an_ended_channel(alice: User, reasons: list[str]) -> None:
    """`on_end` is called at once if the channel has already ended."""
    push.error("alice", "k", "no")
    push.open("alice", "k", on_end=reasons.append)
    wait_until(lambda: reasons)
    assert reasons == ["error"]


def test_each_callback_is_called_once(alice: User, reasons: list[str]) -> None:
    """Each callback is called once, even if another one raises."""

    def fails(reason: str) -> None:
        reasons.append(reason)
        raise ZeroDivisionError

    push.open("alice", "k", on_end=fails)
    push.open("alice", "k", on_end=reasons.append)
    push.open("alice", "other", on_end=reasons.append)
    push.complete("alice", "k")
    wait_until(lambda: len(reasons) == 2)
    push.error("alice", "other", "x")
    wait_until(lambda: len(reasons) == 3)
    assert reasons == ["complete", "complete", "error"]


def test_a_rollback_watches_nothing(alice: User) -> None:
    """A channel opened in a rolled back transaction is not watched."""
    with transaction.atomic():
        push.open("alice", "k", on_end=lambda _reason: None)
        transaction.set_rollback(True)
    assert not chat().channels.ends.watches


# --- shared reading --------------------------------------------------------------------------------------------------


class Reads:
    """Count the reads of a channel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._read = 0, store.read
        monkeypatch.setattr(store, "read", self)

    def __call__(self, channel_id: int, after: int) -> Any:
        self.count += 1
        return self._read(channel_id, after)


async def drained(follower: Follower) -> bytes:
    return b"".join([data async for data in _pieces(follower)])


async def _pieces(follower: Follower) -> AsyncGenerator[bytes, None]:
    while data := await follower.take():
        yield data


async def settled() -> None:
    """Wait until no feed is reading."""
    while any(feed.reading for feed in chat().channels.feeds.by_channel.values()):
        await asyncio.sleep(0.001)


async def test_one_read_for_all_readers(alice: User, database_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push costs one read for any number of readers, which get the same bytes."""
    reads = Reads(monkeypatch)
    row = await database.run(store.connect, alice.pk, "k")
    start = position(row, "")
    followers = [chat().channels.feeds.follow(row, start, lambda: None) for _ in range(50)]
    await settled()
    before = reads.count
    for number in range(5):
        await push.asend("alice", "k", number)
        await settled()
        assert {await drained(follower) for follower in followers} == {
            b"id: k:%d\nevent: message\ndata: %d\n\n" % (number + 1, number)
        }
    assert reads.count - before == 5
    for follower in followers:
        follower.leave()
    assert not chat().channels.feeds.by_channel


async def test_late_readers_catch_up(alice: User, database_threads: None) -> None:
    """A late reader reads stored events in slices, then follows: none twice, none missing."""
    for number in range(30):
        await push.asend("alice", "k", f"{number} " + "x" * 10_000)
    row = await database.run(store.connect, alice.pk, "k")
    first = chat().channels.feeds.follow(row, position(row, "k:30"), lambda: None)
    late = chat().channels.feeds.follow(row, position(row, ""), lambda: None)
    slices = [await late.take()]
    await push.asend("alice", "k", "new")
    await settled()
    slices += [data async for data in _pieces(late)]
    assert max(map(len, slices)) < 100_000
    numbers = [int(line.split(b":")[2]) for line in b"".join(slices).split(b"\n") if line.startswith(b"id: ")]
    assert numbers == list(range(1, 32))
    assert await drained(first) == b"id: k:31\nevent: message\ndata: new\n\n"
    for follower in (first, late):
        follower.leave()


async def test_polling_replaces_a_lost_notification(
    alice: User, database_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next poll makes up for a lost notification; unchanged channels are not read."""
    reads = Reads(monkeypatch)
    row = await database.run(store.connect, alice.pk, "k")
    follower = chat().channels.feeds.follow(row, position(row, ""), lambda: None)
    await settled()
    before = reads.count
    await chat().channels.feeds.poll()
    await settled()
    assert reads.count == before
    await database.run(store.append, alice.pk, "k", "message", "unheard")
    await settled()
    assert await drained(follower) == b""
    await chat().channels.feeds.poll()
    await settled()
    assert b"data: unheard" in await drained(follower)
    await database.run(store.append, alice.pk, "k", "complete", "{}", "complete")
    await chat().channels.feeds.poll()
    await settled()
    assert b"event: complete" in await drained(follower)
    assert follower.at_end
    follower.leave()


async def test_a_reader_overtaken_by_the_limit(
    alice: User, database_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader slower than the limit of stored messages gets a `reset`, then the rest."""
    monkeypatch.setattr(store, "MAX_MESSAGES", 20)
    row = await database.run(store.connect, alice.pk, "k")
    slow = chat().channels.feeds.follow(row, position(row, ""), lambda: None)
    for number in range(40):
        await database.run(store.append, alice.pk, "k", "message", str(number))
    await chat().channels.feeds.poll()
    await settled()
    lines = (await drained(slow)).split(b"\n")
    events = [line.decode() for line in lines if line.startswith(b"event: ")]
    ids = [int(line.rpartition(b":")[2]) for line in lines if line.startswith(b"id: ")]
    assert events == ["event: reset"] + ["event: message"] * (len(events) - 1)
    assert ids == list(range(ids[0], 41))
    assert 10 <= len(ids) <= 21
    slow.leave()


async def test_a_deleted_channel(alice: User, database_threads: None) -> None:
    """Readers of a deleted channel reach their end; they reconnect to a new one."""
    row = await database.run(store.connect, alice.pk, "k")
    follower = chat().channels.feeds.follow(row, position(row, ""), lambda: None)
    await settled()
    await database.run(Channel.objects.all().delete)
    await chat().channels.feeds.poll()
    await settled()
    assert await drained(follower) == b""
    assert follower.at_end
    follower.leave()


# --- the payment example ---------------------------------------------------------------------------------------------


def test_the_command(alice: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo_push` prints the ids of its events; a refusal ends it with one line."""
    monkeypatch.setattr(payment_demo, "PAUSE_SECONDS", 0)
    call_command("demo_push", "alice", "k")
    assert capsys.readouterr().out.split() == ["k:1", "k:2", "k:3", "k:4"]
    assert [event for _number, event, _data in messages(alice)] == ["created", "paying", "paid", "complete"]
    with translation.override("en"), pytest.raises(CommandError, match="has ended"):
        call_command("demo_push", "alice", "k")
    with pytest.raises(CommandError, match="user: "):
        call_command("demo_push", "nobody", "k")
    with pytest.raises(CommandError, match="key: "):
        call_command("demo_push", "alice", "a b")
