"""Writes that wait together share a transaction: what one of them does to the others, on both databases."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, ProgrammingError, connection, connections, transaction
from django.db.models.functions import Now

from accounts.models import ApiToken
from runtime import executor as executor_module
from runtime import writer as writer_module
from runtime.executor import DatabaseExecutor
from runtime.models import Process
from runtime.writer import Writer
from tests import servers

pytestmark = pytest.mark.server

NO_USER = 2**40


@asynccontextmanager
async def one_thread(database_url: str, blocker: Any) -> AsyncIterator[DatabaseExecutor]:
    """A single database thread, connected to this database."""
    executor, connected = DatabaseExecutor(1), servers.connected(database_url)
    with blocker.unblock():
        await executor.run(connected.__enter__)
        try:
            yield executor
        finally:
            await executor.run(connected.__exit__, None, None, None)
            await asyncio.to_thread(executor.close)


@pytest.fixture
async def threads(database_url: str, django_db_blocker: Any) -> AsyncIterator[DatabaseExecutor]:
    async with one_thread(database_url, django_db_blocker) as executor:
        yield executor


@pytest.fixture
def writer(threads: DatabaseExecutor) -> Writer:
    return Writer(threads)


async def wrapper(threads: DatabaseExecutor) -> Any:
    """Return the thread's own connection, to break a part of it."""
    return await threads.run(lambda: connections["default"])


@contextmanager
def busy(threads: DatabaseExecutor) -> Iterator[None]:
    """Keep the thread busy, so that what is written meanwhile waits together."""
    freed = threading.Event()
    threads.submit(freed.wait, 30)
    try:
        yield
    finally:
        freed.set()


def stored(name: str, *, savepoint: bool = True) -> int:
    """Store a row; return how deep the transaction lies in that of a group, which is 0 outside of one."""
    with transaction.atomic(savepoint=savepoint):
        Process.objects.create(id=name, pid=1, beat_at=Now())
        return len(connection.savepoint_ids)


def refused(name: str, *, savepoint: bool = True) -> None:
    """Store a row, then refuse."""
    with transaction.atomic(savepoint=savepoint):
        Process.objects.create(id=name, pid=1, beat_at=Now())
        raise PermissionError(name)


def names() -> set[str]:
    return set(Process.objects.values_list("id", flat=True))


async def write_together(
    writer: Writer, threads: DatabaseExecutor, *functions: Callable[..., Any], order: Callable[[int], int] = abs
) -> list[Any]:
    """Write with each function a row named by its place; return results and errors."""
    with busy(threads):
        writes = [
            asyncio.create_task(writer.run((order(place), 0), function, str(place)))
            for place, function in enumerate(functions)
        ]
        await asyncio.sleep(0)
    return await asyncio.gather(*writes, return_exceptions=True)


async def test_who_waits_together_shares_a_commit(writer: Writer, threads: DatabaseExecutor) -> None:
    """A refusal undoes only what its own write has stored; who waits alone has a transaction of its own."""
    results = await write_together(writer, threads, stored, refused, stored)
    assert [results[0], results[2]] == [1, 1]
    assert isinstance(results[1], PermissionError)
    assert await writer.run((1, 0), stored, "alone") == 0
    assert await threads.run(names) == {"0", "2", "alone"}


async def test_savepoints_follow_a_failure(
    writer: Writer, threads: DatabaseExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared transaction has savepoints only after one in which a write failed, so that few writes run twice."""
    monkeypatch.setattr(writer_module, "CAREFUL_TRANSACTIONS", 2)
    careful: list[bool] = []

    def noted(name: str, *, savepoint: bool) -> None:
        careful.append(savepoint)
        stored(name, savepoint=savepoint)

    def then(function: Callable[..., Any], number: int) -> Callable[..., Any]:
        return lambda name, *, savepoint: function(f"{number}-{name}", savepoint=savepoint)

    for number, function in enumerate((noted, refused, noted, noted)):
        await write_together(writer, threads, then(noted, number), then(function, number))
    # The second transaction runs again, with savepoints as the third.
    assert careful == [False, False, False, True, True, True, False, False]
    assert await threads.run(names) == {"0-0", "0-1", "1-0", "2-0", "2-1", "3-0", "3-1"}


async def test_savepoints_end_when_two_threads_count_the_last_one(writer: Writer, threads: DatabaseExecutor) -> None:
    """A count below zero means no savepoints too, else each write would pay for them until the process ends."""
    careful: list[bool] = []

    def noted(name: str, *, savepoint: bool) -> None:
        careful.append(savepoint)
        stored(name, savepoint=savepoint)

    writer._careful = -1
    await write_together(writer, threads, noted, noted)
    assert careful == [False, False]


@pytest.mark.parametrize("kind", ["a statement", "the commit", "a savepoint"])
async def test_a_failure_of_the_database_harms_one(
    writer: Writer, threads: DatabaseExecutor, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The others are stored once, also where only the commit finds it, or where a savepoint cannot be undone."""

    def failing(name: str, *, savepoint: bool) -> None:
        with transaction.atomic(savepoint=savepoint):
            Process.objects.create(id=name, pid=1, beat_at=Now())
            if kind == "a statement":
                connection.cursor().execute("nonsense")
            elif kind == "the commit":  # constraints are checked then
                ApiToken.objects.create(user_id=NO_USER, name=name, digest=name)
            else:
                raise PermissionError

    if kind == "a savepoint":

        def broken(sid: str) -> None:
            raise OperationalError("no such savepoint")

        monkeypatch.setattr(await wrapper(threads), "savepoint_rollback", broken)
    results = await write_together(writer, threads, stored, stored, failing)
    expected = {"a statement": (OperationalError, ProgrammingError), "the commit": IntegrityError}
    assert isinstance(results[2], expected.get(kind, PermissionError))
    assert results[:2] == [0, 0]  # each in a transaction of its own
    assert await threads.run(names) == {"0", "1"}


async def test_a_connection_lost_at_the_commit_stores_nothing_twice(
    writer: Writer, threads: DatabaseExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process knows whether it was stored, so all get the error, and none runs again."""
    calls: list[str] = []

    def counted(name: str, *, savepoint: bool) -> None:
        calls.append(name)
        stored(name, savepoint=savepoint)

    def lost() -> None:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patch:
        patch.setattr(await wrapper(threads), "_commit", lost)
        results = await write_together(writer, threads, counted, counted)
    assert [type(result) for result in results] == [OperationalError] * 2
    assert calls == ["0", "1"]


async def test_who_leaves_while_waiting_stores_nothing(writer: Writer, threads: DatabaseExecutor) -> None:
    """Who leaves later is stored, and does not disturb the others."""
    begun, leave = threading.Event(), threading.Event()

    def slow(name: str, *, savepoint: bool) -> None:
        begun.set()
        assert leave.wait(30)
        stored(name, savepoint=savepoint)

    with busy(threads):
        early, late, last = (
            asyncio.create_task(writer.run((place, 0), function, str(place)))
            for place, function in enumerate((stored, slow, stored))
        )
        await asyncio.sleep(0)
        early.cancel()
        await asyncio.sleep(0)
    await asyncio.to_thread(begun.wait, 30)
    late.cancel()
    leave.set()
    assert await last == 1
    assert (early.cancelled(), late.cancelled()) == (True, True)
    assert await threads.run(names) == {"1", "2"}


async def test_threads_that_end_leave_nobody_waiting(
    writer: Writer, threads: DatabaseExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits at a shutdown fails as if the database were away; later writes get new threads."""
    monkeypatch.setattr(executor_module, "CLOSE_SECONDS", 0.05)
    with busy(threads):
        writes = [asyncio.create_task(writer.run((1, 0), stored, str(number))) for number in range(3)]
        await asyncio.sleep(0)
        await asyncio.to_thread(threads.close)
        results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [OperationalError] * 3
    assert await writer.run((1, 0), lambda savepoint: "served") == "served"


async def test_more_than_fit_into_one_transaction(
    writer: Writer, threads: DatabaseExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are stored, in several transactions, each in the order in which they take locks."""
    monkeypatch.setattr(writer_module, "MOST_TOGETHER", 3)
    begun: list[str] = []

    def noted(name: str, *, savepoint: bool) -> int:
        begun.append(name)
        return stored(name, savepoint=savepoint)

    assert await write_together(writer, threads, *[noted] * 7, order=lambda place: -place) == [1] * 6 + [0]
    assert begun == ["2", "1", "0", "5", "4", "3", "6"]
    assert len(await threads.run(names)) == 7


async def test_a_locked_database_refuses_all_at_once(tmp_path: Path, django_db_blocker: Any) -> None:
    """They share the wait for SQLite's lock, instead of waiting one after the other."""
    url, begun = servers.migrated_sqlite(tmp_path), list[str]()

    def noted(name: str, *, savepoint: bool) -> int:
        begun.append(name)
        return stored(name, savepoint=savepoint)

    async with one_thread(url, django_db_blocker) as threads:
        await threads.run(lambda: connection.cursor().execute("PRAGMA busy_timeout = 50").close())
        writer = Writer(threads)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN IMMEDIATE")
            results = await write_together(writer, threads, noted, noted)
        assert [type(result) for result in results] == [OperationalError] * 2
        assert begun == []
        assert await write_together(writer, threads, noted, noted) == [1, 1]
        assert await threads.run(names) == {"0", "1"}


@pytest.mark.parametrize("read", [True, False], ids=["reply read", "reply unread"])
@pytest.mark.parametrize("found", ["by a statement", "by the commit"])
@pytest.mark.parametrize("count", [1, 2], ids=["alone", "together"])
async def test_a_write_that_stood_still_is_written_again(
    postgres: servers.Postgres, django_db_blocker: Any, *, read: bool, found: str, count: int
) -> None:
    """PostgreSQL ends a transaction that has nothing to do for too long, as after a pause of the whole process.

    The pause may begin before or after the process reads the reply to its last statement, be it the last before the
    commit or not.
    """
    url, ended = postgres.migrated_database(), list[int]()

    def write(name: str, *, savepoint: bool) -> None:
        with transaction.atomic(savepoint=savepoint):
            if found == "by a statement":
                stand_still(name)
            Process.objects.create(id=name, pid=1, beat_at=Now())
            if found == "by the commit":
                stand_still(name)

    def stand_still(name: str) -> None:
        if name == str(count - 1) and not ended:
            ended.append(_stand_still(url, read=read))

    async with one_thread(url, django_db_blocker) as executor:
        assert await write_together(Writer(executor), executor, *[write] * count) == [None] * count
        assert await executor.run(names) == {str(number) for number in range(count)}
    assert ended


def _stand_still(url: str, *, read: bool) -> int:
    """Execute a statement and wait until PostgreSQL has ended the connection; return its process's id."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend: int = cursor.fetchone()[0]
    raw = connection.connection.pgconn
    raw.send_query(b"SELECT set_config('idle_in_transaction_session_timeout', '1ms', false)")
    raw.flush()
    if read:
        _read_reply(raw)
    with psycopg.connect(url, autocommit=True) as other:
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone():
            pass
    if not read:
        _read_reply(raw)
    return backend


def _read_reply(raw: Any) -> None:
    while raw.get_result():
        pass
