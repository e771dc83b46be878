"""A generation inside one process: faults of ours, of the database and of the upstream's text."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError

from accounts.models import User
from chat.generations import finish, remote, service, start
from chat.generations import run as run_module
from chat.generations.pipeline import limited
from chat.generations.request import Ask
from chat.models import Generation
from providers.errors import UnknownModel
from providers.wire.base import Delta, Event, Finished, Reasoning, Withdrawn
from quotas import ledger
from quotas.models import QuotaModel
from quotas.setup import ensure_defaults
from runtime import database
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


async def events_of(*events: Event) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


@pytest.fixture
def asker() -> User:
    """Somebody who may ask the scripted model."""
    user: User = factories.user("alice")
    model = factories.chat_model("demo")
    factories.route(model, factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    return user


@pytest.fixture
async def door() -> AsyncGenerator[None, None]:
    """Close the database threads of this test."""
    yield
    await asyncio.to_thread(database.close)


async def answered(user: User, *events: Event, monkeypatch: pytest.MonkeyPatch) -> Generation:
    """Let these events be the upstream's answer and return the row when all is over."""
    monkeypatch.setattr("providers.routing.Attempts.run", lambda self: events_of(*events))
    begun = await service.start(Ask(user.pk, "demo", "Hello"))
    await asyncio.gather(*service._tasks)
    return await database.run(Generation.objects.select_related("message").get, id=begun.row.id)


async def test_it_works(asker: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas become the message, reasoning stays apart, one unit is charged."""
    row = await answered(asker, Reasoning("hm"), Delta("a"), Delta("b"), Finished("stop"), monkeypatch=monkeypatch)
    assert row.texts() == ("ab", "hm")
    assert (row.status, row.charge) == ("completed", {"amount": 1, "source": "daily", "reason": "stop"})
    assert row.usage_estimated


async def test_white_space_is_no_answer(asker: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without a visible character costs nothing."""
    row = await answered(asker, Reasoning("hm"), Delta(" \n"), Finished("stop"), monkeypatch=monkeypatch)
    assert row.charge == {"amount": 0, "source": "none", "reason": "empty"}


async def test_withdrawn_text_is_gone(asker: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was withdrawn is not stored; that it was seen is charged."""
    row = await answered(asker, Delta("bad"), Withdrawn(), Finished("content_filter"), monkeypatch=monkeypatch)
    assert row.texts() == ("", "")
    assert row.charge is not None
    assert (row.finish_reason, row.charge["amount"]) == ("content_filter", 1)


async def test_nul_is_dropped(asker: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NUL from an upstream does not reach the database, which might refuse the whole answer for it."""
    row = await answered(asker, Delta("a\0b"), Delta("\0"), Finished("stop"), monkeypatch=monkeypatch)
    assert row.texts()[0] == "ab"


async def test_the_database_comes_back(asker: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that cannot be stored waits for the database with its text in hand."""
    store, failures = finish.store, [OperationalError("away"), OperationalError("away")]

    def flaky(end: Any) -> Generation:
        if failures:
            raise failures.pop()
        return store(end)

    monkeypatch.setattr(finish, "store", flaky)
    monkeypatch.setattr(run_module, "STORE_RETRY_SECONDS", (0.01, 0.01))
    row = await answered(asker, Delta("kept"), Finished("stop"), monkeypatch=monkeypatch)
    assert (row.status, row.texts()[0], failures) == ("completed", "kept", [])


@pytest.mark.contract("refusal: internal_error")
async def test_a_fault_of_ours_leaves_nobody_waiting(asker: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a run dies of a bug, its readers are sent away, `stop` returns, and the reaper ends the row once."""

    def broken(end: Any) -> Generation:
        raise ValueError("a bug")

    monkeypatch.setattr("providers.routing.Attempts.run", lambda self: events_of(Delta("x"), Finished("stop")))
    with monkeypatch.context() as patch:
        patch.setattr(finish, "store", broken)
        begun = await service.start(Ask(asker.pk, "demo", "Hello"))
        log = service.readable(begun.row)
        assert log
        follower = log.follow(0, lambda: None)
        await asyncio.gather(*service._tasks, return_exceptions=True)
        assert b"".join(iter(follower.take, b""))
        assert follower.at_end
    assert service.readable(begun.row) is None
    monkeypatch.setattr(remote, "STRAY_SECONDS", 0)
    await asyncio.gather(service.reap(), service.reap())
    row = await database.run(Generation.objects.select_related("message").get, id=begun.row.id)
    assert (row.status, row.charge) == ("interrupted", {"amount": 0, "source": "none", "reason": "interrupted"})


async def test_an_end_that_came_too_late(asker: User, door: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for dead by another process, a run tells its readers what is stored, and changes nothing."""
    released = asyncio.Event()

    async def slow(self: object) -> AsyncGenerator[Event, None]:
        yield Delta("x")
        await released.wait()
        yield Finished("stop")

    monkeypatch.setattr("providers.routing.Attempts.run", slow)
    begun = await service.start(Ask(asker.pk, "demo", "Hello"))
    await asyncio.sleep(0.05)
    await database.run(Generation.objects.filter(id=begun.row.id).update, process="another")
    await service.reap()
    log = service.readable(begun.row)
    released.set()
    await asyncio.gather(*service._tasks)
    assert log
    assert log.last == begun.row.last_event + finish.RESUME_JUMP
    assert b"event: error" in b"".join(iter(log.follow(0, lambda: None).take, b""))
    row = await database.run(Generation.objects.get, id=begun.row.id)
    assert row.charge is not None
    assert (row.status, row.charge["amount"]) == ("interrupted", 0)


@pytest.mark.contract("setting: MAX_ANSWER_CHARS")
@pytest.mark.parametrize(
    ("limit", "kept", "reason"), [(3, "abc", "length"), (4, "abcd", "length"), (5, "abcd", "stop")]
)
async def test_answers_are_bounded(limit: int, kept: str, reason: str) -> None:
    """An answer that reaches the limit ends there with `length`."""
    events = [event async for event in limited(events_of(Delta("ab"), Delta("cd"), Finished("stop")), limit)]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == kept
    assert events[-1] == Finished(reason)  # type: ignore[arg-type]


async def test_a_person_deleted_meanwhile(
    asker: User, door: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a person is deleted while they are answered nobody waits for an end, and nothing is a fault of ours."""

    async def upstream(self: Any) -> AsyncGenerator[Event, None]:
        yield Delta("a")
        await database.run(asker.delete)
        yield Finished("stop")

    monkeypatch.setattr("providers.routing.Attempts.run", upstream)
    begun = await service.start(Ask(asker.pk, "demo", "Hello"))
    log = service.readable(begun.row)
    await asyncio.gather(*service._tasks)
    assert log is not None
    assert log.ended
    assert service.readable(begun.row) is None
    assert not await database.run(Generation.objects.exists)
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_goes_as_it_begins(asker: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota that only the commit finds deleted is refused as one that was gone before, and nothing is stored."""

    def at_the_commit(*arguments: Any) -> Any:
        monkeypatch.undo()
        raise IntegrityError("a foreign key")

    monkeypatch.setattr(ledger, "reserve", at_the_commit)
    QuotaModel.objects.all().delete()
    with pytest.raises(UnknownModel):
        start.begin(Ask(asker.pk, "demo", "Hello"))
    assert not Generation.objects.exists()
