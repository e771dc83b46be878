"""Our engine for SQLite does what Django's does, with less work for each transaction."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, connection, connections, transaction
from django.db.models.functions import Now

from accounts.models import ApiToken
from runtime import checkpoints
from runtime.executor import DatabaseExecutor
from runtime.models import Process
from tests import servers

NO_USER = 2**40
NEVER = datetime(2000, 1, 1, tzinfo=UTC)
# More pages than these in the log make SQLite itself copy it at a commit, by default.
SQLITE_PAGES, PAGE_BYTES = 1_000, 4_096
pytestmark = pytest.mark.server


@pytest.fixture
def database(tmp_path: Any, django_db_blocker: Any) -> Iterator[None]:
    """A new database, connected to this thread."""
    with django_db_blocker.unblock(), servers.connected(servers.migrated_sqlite(tmp_path)):
        yield


def store(name: str) -> None:
    Process.objects.create(id=name, pid=1, beat_at=Now())


def names() -> set[str]:
    return set(Process.objects.values_list("id", flat=True))


@pytest.mark.usefixtures("database")
def test_transactions_end_as_they_should() -> None:
    """One that fails stores nothing, and its callbacks do not run; those of others run once, after the commit."""
    called: list[tuple[str, bool]] = []

    @transaction.atomic
    def refused(name: str) -> None:
        store(name)
        transaction.on_commit(lambda: called.append((name, connection.in_atomic_block)))
        raise PermissionError

    with pytest.raises(PermissionError):
        refused("failed")
    with transaction.atomic():
        store("stored")
        transaction.on_commit(lambda: called.append(("stored", connection.in_atomic_block)))
        with pytest.raises(PermissionError):
            refused("within")
    with transaction.atomic():
        store("another")
    assert names() == {"stored", "another"}
    assert called == [("stored", False)]
    assert connection.get_autocommit()


@pytest.mark.usefixtures("database")
def test_a_commit_that_fails_raises_djangos_error() -> None:
    """The transaction is rolled back, and the next one works."""

    @transaction.atomic
    def lost() -> None:
        store("lost")
        ApiToken.objects.create(user_id=NO_USER, name="t", digest="t")  # found by the commit only

    with pytest.raises(IntegrityError):
        lost()
    with transaction.atomic():
        store("stored")
    assert names() == {"stored"}


@pytest.mark.usefixtures("database")
def test_transactions_without_autocommit() -> None:
    """A caller that turns autocommit off ends the transaction alone, as with Django's engine."""
    connection.set_autocommit(False)
    store("undone")
    connection.rollback()
    store("stored")
    with transaction.atomic():
        store("within")
    connection.commit()
    connection.set_autocommit(True)
    store("at once")
    connection.close()
    assert names() == {"stored", "within", "at once"}


@pytest.mark.usefixtures("database")
def test_each_thread_has_a_connection_of_its_own() -> None:
    """No two threads share one, and none can be opened in a thread whose event loop runs."""
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(lambda: connections["default"]).result()
        assert threads.submit(lambda: connections["default"]).result() is other
    assert connections["default"] is not other

    async def store_in_loop() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            store("refused")

    connection.close()
    asyncio.run(store_in_loop())
    assert names() == set()


@pytest.mark.usefixtures("database")
def test_commits_leave_checkpoints_to_the_timer(tmp_path: Any) -> None:
    """The file stays as it is during many commits, and has their pages after the timer's call."""
    checkpoints.checkpoint()
    before = (tmp_path / "rivulet.sqlite3").stat().st_size
    for number in range(20):
        with transaction.atomic():
            Process.objects.bulk_create(Process(id=f"{number}-{row}", pid=1, beat_at=NEVER) for row in range(4_000))
    assert (tmp_path / "rivulet.sqlite3").stat().st_size == before
    assert checkpoints.checkpoint() > SQLITE_PAGES
    assert (tmp_path / "rivulet.sqlite3").stat().st_size > before + SQLITE_PAGES * PAGE_BYTES


async def test_checkpoints_come_more_often_while_much_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is to copy some thousand pages; a log that begins anew counts from its beginning."""
    made, seconds = checkpoints.Checkpoints(DatabaseExecutor(1)), []
    for copied in (100, 16_100, 16_100, 2_000, 42_000, -1):
        monkeypatch.setattr(checkpoints, "checkpoint", lambda copied=copied: copied)
        await made.make()
        seconds.append(made.seconds())
    assert seconds == [2, 0.5, 2, 2, 0.2, 2]
