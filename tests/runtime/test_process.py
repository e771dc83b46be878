"""Which processes are alive, by the database's clock, and when this process may judge that."""

import asyncio
import os
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from structlog.typing import EventDict

from runtime import process as process_module
from runtime.executor import DatabaseExecutor
from runtime.models import Process
from runtime.process import ServingProcess

# Seconds: so many that none runs out while the test stands still.
LEASE = 3_000


@pytest.fixture
def process(settings: Any, db: None) -> ServingProcess:
    settings.PROCESS_LEASE_SECONDS = LEASE
    # A process that another test served in this database may have stored its last heartbeat after that test.
    Process.objects.all().delete()
    return ServingProcess(DatabaseExecutor())


def heartbeat(name: str, seconds_ago: float, pid: int = 1, host: str = "elsewhere") -> str:
    """Store the heartbeat of a process."""
    row = Process.objects.create(id=name, host=host, pid=pid)
    Process.objects.filter(pk=row.pk).update(beat_at=Now() - timedelta(seconds=seconds_ago))
    return row.pk


def test_processes_with_a_heartbeat_within_the_lease_are_alive(process: ServingProcess) -> None:
    process.store_heartbeat()
    steady, silent = heartbeat("steady", LEASE - 300), heartbeat("silent", LEASE + 5)
    assert process.alive() == {process.id, steady}
    assert silent not in process.alive()


def test_a_process_of_this_machine_is_dead_when_its_pid_is_gone(process: ServingProcess) -> None:
    """Before its lease has run out; one whose pid exists is alive."""
    host = process_module._host()
    process.store_heartbeat()
    heartbeat("gone", 1, 2**22 - 1, host)
    heartbeat("before us", 1, os.getpid(), host)
    existing = heartbeat("existing", 1, os.getppid(), host)
    assert process.alive() == {process.id, existing}


def test_a_process_that_missed_its_own_heartbeat_takes_no_silent_one_for_dead(
    process: ServingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the others have had the time for a heartbeat."""
    heartbeat(process.id, LEASE - 10, os.getpid())
    other = heartbeat("other", LEASE + 5)
    assert other in process.alive()
    process.store_heartbeat()
    assert other in process.alive()
    monkeypatch.setattr(process, "_lenient_until", 0.0)
    assert other not in process.alive()
    Process.objects.filter(id=process.id).update(beat_at=Now() - timedelta(seconds=LEASE - 10))
    process.store_heartbeat()  # the heartbeat itself finds that there was none
    assert other in process.alive()


def test_a_missed_heartbeat_spares_no_process_whose_pid_is_gone(process: ServingProcess) -> None:
    heartbeat(process.id, LEASE, os.getpid())
    heartbeat("gone", LEASE, 2**22 - 1, process_module._host())
    assert process.alive() == {process.id}


def test_rows_of_processes_long_dead_are_deleted(process: ServingProcess) -> None:
    heartbeat("long dead", LEASE * 101)
    dead = heartbeat("dead", LEASE * 99)
    process.delete_dead()
    assert list(Process.objects.values_list("id", flat=True)) == [dead]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("the database is away"), ValueError("a bug")])
async def test_a_timer_goes_on_after_its_callback_failed(error: Exception, log_lines: list[EventDict]) -> None:
    executor, failures, succeeded = DatabaseExecutor(), iter([error]), asyncio.Event()
    process = ServingProcess(executor)

    async def fail_once() -> None:
        if failure := next(failures, None):
            raise failure
        succeeded.set()

    process.every(lambda: 0.0, "failing", fail_once)
    try:
        await process.start()
        await asyncio.wait_for(succeeded.wait(), 30)
        (timer,) = [task for task in asyncio.all_tasks() if task.get_name() == "failing"]
        await process.stop()
        assert timer.cancelled()
    finally:
        await asyncio.to_thread(executor.close)
    assert [line["event"] for line in log_lines] == ["timer failed"]


def test_a_halted_transaction_ends_before_those_that_wait_for_its_rows_give_up(postgres: Any) -> None:
    """On PostgreSQL."""
    import psycopg

    from chatproject.environment import database_from_url

    options = database_from_url(postgres.url())["OPTIONS"]["options"]
    with psycopg.connect(postgres.url(), options=options) as connection:
        shown = [
            connection.execute(f"SELECT extract(epoch FROM current_setting('{name}')::interval)").fetchone()
            for name in ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        ]
    idle, lock, statement = (row[0] for row in shown if row)
    assert 0 < idle < lock < statement
