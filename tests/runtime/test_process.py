"""Signs of life: who is alive, by the database's clock, and who may judge that."""

import os
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from runtime import process
from runtime.models import Process

LEASE = 30

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PROCESS_LEASE_SECONDS = LEASE
    monkeypatch.setattr(process, "_lenient_until", 0.0)


def seen(name: str, seconds_ago: float, pid: int = 1, host: str = "elsewhere") -> str:
    row = Process.objects.create(id=name, host=host, pid=pid)
    Process.objects.filter(pk=row.pk).update(beat_at=Now() - timedelta(seconds=seconds_ago))
    return row.pk


def test_it_works() -> None:
    """Alive are this process, and those that were heard of within the lease."""
    process.show_life()
    steady, silent = seen("steady", LEASE - 5), seen("silent", LEASE + 5)
    assert process.alive() == {process.id, steady}
    assert silent not in process.alive()


def test_a_process_of_this_machine() -> None:
    """Whose pid is gone is dead before its lease has run out; one whose pid is there is not."""
    process.show_life()
    seen("gone", 1, 2**22 - 1, process._host())
    seen("before us", 1, os.getpid(), process._host())
    there = seen("there", 1, os.getppid(), process._host())
    assert process.alive() == {process.id, there}


def test_a_silence_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who could not be heard of either takes nobody for dead, until the others have had the time to be heard of."""
    seen(process.id, LEASE - 10, os.getpid())
    other = seen("other", LEASE + 5)
    assert other in process.alive()
    process.show_life()
    assert other in process.alive()
    monkeypatch.setattr(process, "_lenient_until", 0.0)
    assert other not in process.alive()
    seen_again = Process.objects.filter(id=process.id)
    seen_again.update(beat_at=Now() - timedelta(seconds=LEASE - 10))
    process.show_life()  # the sign of life itself finds that there was none
    assert other in process.alive()


def test_a_pid_that_is_gone_is_no_silence() -> None:
    """However lenient, a process that is known to be gone is."""
    seen(process.id, LEASE, os.getpid())
    seen("gone", LEASE, 2**22 - 1, process._host())
    assert process.alive() == {process.id}


def test_a_halted_transaction(postgres: Any) -> None:
    """On PostgreSQL who stands still in a transaction loses it before those who wait for its rows give up."""
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
