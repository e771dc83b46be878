"""chat/channels/push.py: pushing from Python code, transactions and threads; hearing how a channel ends."""

import asyncio
import datetime
import decimal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
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
async def door() -> AsyncGenerator[None, None]:
    """Close the database threads of this test."""
    yield
    await asyncio.to_thread(database.close)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What `on_end` was told; in the end nobody watches any more."""
    yield []
    assert chat().channels.ends.is_empty


def messages(of: User, key: str = "k") -> list[tuple[int, str, str]]:
    rows = ChannelMessage.objects.filter(channel__user=of, channel__key=key).order_by("number")
    return list(rows.values_list("number", "event", "data"))


def wait_until(met: Callable[[], object], seconds: float = 10) -> None:
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
    thread.join(20)
    assert not thread.is_alive()


def test_it_works(alice: User) -> None:
    """What is pushed is stored at once, in order, under the ids that readers will see."""
    assert push.send("alice", "k", {"a": 1}) == "k:1"
    assert push.send("alice", "k", "text", event="news") == "k:2"
    assert push.complete("alice", "k") == "k:3"
    assert messages(alice) == [(1, "message", '{"a":1}'), (2, "news", "text"), (3, "complete", "{}")]


async def test_from_async_code(alice: User, door: None) -> None:
    """The same with `a` in front, from an event loop."""
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


def test_a_rollback_takes_it_back(alice: User) -> None:
    """What a transaction pushed is gone with it, number and all, and nobody was woken for it."""
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
    """A string is stored as it is, without NUL; dates and decimals are written as Django writes them."""
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
def test_what_will_not_do(alice: User, wrong: dict[str, Any], field: str) -> None:
    """A user, key, event or data that cannot be pushed is refused by name, and nothing is stored."""
    with pytest.raises(InvalidRequest) as refused:
        push.send(**{"username": "alice", "key": "k", "data": 1, **wrong})
    assert list(refused.value.details or {}) == [field]
    assert not ChannelMessage.objects.exists()


def test_too_much(alice: User) -> None:
    """A message over 1 MiB is refused, however it was meant to come in."""
    with pytest.raises(TooLarge):
        push.send("alice", "k", "字" * 2**19)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_idle_limits_that_are_none(alice: User, seconds: float) -> None:
    """An idle limit is a number of seconds above 0."""
    with pytest.raises(InvalidRequest):
        push.open("alice", "k", timeout_seconds=seconds)


def test_on_end_must_be_callable_by_a_thread(alice: User) -> None:
    """A coroutine function is refused at once, not forgotten later."""

    async def on_end(reason: str) -> None:
        raise AssertionError(reason)

    with pytest.raises(TypeError):
        push.open("alice", "k", on_end=on_end)


# --- how it ended ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "reason"), [(push.complete, "complete"), (push.error, "error")])
def test_the_end_is_told(alice: User, told: list[str], end: Callable[..., str], reason: str) -> None:
    """`on_end` hears how the channel ended, once, as soon as it did."""
    push.open("alice", "k", on_end=told.append)
    push.send("alice", "k", "x")
    end("alice", "k", *(["because"] if reason == "error" else []))
    wait_until(lambda: told)
    time.sleep(0.1)
    assert told == [reason]


def test_a_timeout_is_told(alice: User, told: list[str]) -> None:
    """Without a message for so long `on_end` hears "timeout", once; each message begins the time anew."""
    started = time.monotonic()
    push.open("alice", "k", timeout_seconds=1.2, on_end=told.append)
    for _ in range(3):
        time.sleep(0.5)
        push.send("alice", "k", "still here")
    assert told == []
    wait_until(lambda: told)
    assert time.monotonic() - started > 2.6
    push.complete("alice", "k")
    time.sleep(0.2)
    assert told == ["timeout"]


def test_an_end_that_has_been(alice: User, told: list[str]) -> None:
    """Whoever opens a channel that has ended hears of it at once."""
    push.error("alice", "k", "no")
    push.open("alice", "k", on_end=told.append)
    wait_until(lambda: told)
    assert told == ["error"]


def test_everybody_is_told(alice: User, told: list[str]) -> None:
    """Each callback is told once, whatever another does."""

    def fails(reason: str) -> None:
        told.append(reason)
        raise ZeroDivisionError

    push.open("alice", "k", on_end=fails)
    push.open("alice", "k", on_end=told.append)
    push.open("alice", "other", on_end=told.append)
    push.complete("alice", "k")
    wait_until(lambda: len(told) == 2)
    push.error("alice", "other", "x")
    wait_until(lambda: len(told) == 3)
    assert told == ["complete", "complete", "error"]


def test_a_rollback_watches_nothing(alice: User) -> None:
    """A channel that was opened in a transaction that is taken back is not watched."""
    with transaction.atomic():
        push.open("alice", "k", on_end=lambda _reason: None)
        transaction.set_rollback(True)
    assert chat().channels.ends.is_empty


# --- reading together ------------------------------------------------------------------------------------------------


class Reads:
    """Counts the reads of a channel."""

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
    """Wait until every feed has read what it was woken for."""
    while chat().channels.feeds.is_reading:
        await asyncio.sleep(0.001)


async def test_one_read_for_all_readers(alice: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up costs one read however many read here, and all of them get the same bytes."""
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
    assert chat().channels.feeds.is_empty


async def test_late_readers_catch_up(alice: User, door: None) -> None:
    """Whoever comes late reads what is kept, in slices, then follows with the others: nothing twice or missing."""
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


async def test_what_nobody_was_woken_for(alice: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up that was lost is made good by the next poll; a channel without news is not read."""
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


async def test_a_reader_overtaken_by_the_limit(alice: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """When more is pushed than is kept, a reader who was too slow gets a `reset`, then what is kept."""
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


async def test_a_channel_that_goes_away(alice: User, door: None) -> None:
    """Readers of a channel that is no longer there are sent away; they come back to a new one."""
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
    """`demo_push` says the ids of what it pushes; what cannot be pushed ends it with one clear line."""
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
