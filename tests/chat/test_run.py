"""A generation inside one process: bugs, faults of the database, and the upstream's text."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from structlog.typing import EventDict

from accounts.models import User
from chat.apps import chat
from chat.generations import finish, remote
from chat.generations import run as run_module
from chat.generations.made_images import MadeImages
from chat.generations.request import GenerationRequest
from chat.models import DraftPiece, Generation
from providers.errors import UnknownModel
from providers.wire.base import Delta, Event, Finished, Reasoning, Withdrawn
from providers.wire.images import CompletionImages
from quotas import ledger
from quotas.models import QuotaModel
from quotas.setup import ensure_defaults
from runtime import database
from tests import factories, files

pytestmark = pytest.mark.django_db(transaction=True)


async def events_of(*events: Event) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


@pytest.fixture
def user() -> User:
    """A user who may use the scripted model."""
    user: User = factories.user("alice")
    model = factories.chat_model("demo")
    factories.route(model, factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    return user


@pytest.fixture
async def closed_database() -> AsyncGenerator[None, None]:
    """Close the database threads after the test."""
    yield
    await asyncio.to_thread(database.close)


async def generated(user: User, *events: Event, monkeypatch: pytest.MonkeyPatch) -> Generation:
    """Generate with these events of the upstream; return the row after the end."""
    monkeypatch.setattr("providers.routing.Attempts.run", lambda self: events_of(*events))
    started = await chat().generations.start(GenerationRequest(user.pk, "demo", "Hello"))
    await chat().generations.wait()
    return await database.run(Generation.objects.select_related("message").get, id=started.row.id)


async def test_completion_is_stored_and_charged(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deltas become the message; reasoning stays apart."""
    row = await generated(user, Reasoning("hm"), Delta("a"), Delta("b"), Finished("stop"), monkeypatch=monkeypatch)
    assert row.texts() == ("ab", "hm")
    assert (row.status, row.charge) == ("completed", {"amount": 1, "source": "daily", "reason": "stop"})
    assert row.usage_estimated


async def test_white_space_costs_nothing(user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion needs a visible character, of its content or reasoning, to be charged."""
    row = await generated(user, Reasoning(" "), Delta(" \n"), Finished("stop"), monkeypatch=monkeypatch)
    assert row.charge == {"amount": 0, "source": "none", "reason": "empty"}
    row = await generated(user, Reasoning("hm"), Delta(" \n"), Finished("stop"), monkeypatch=monkeypatch)
    assert row.charge == {"amount": 1, "source": "daily", "reason": "stop"}


async def test_withdrawn_text_is_gone(user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Withdrawn text is not stored, but charged, because readers got it."""
    row = await generated(user, Delta("bad"), Withdrawn(), Finished("content_filter"), monkeypatch=monkeypatch)
    assert row.texts() == ("", "")
    assert row.charge is not None
    assert (row.finish_reason, row.charge["amount"]) == ("content_filter", 1)


async def test_broken_images_lose_nothing(user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a character in an address, and a fault while images are stored, leave text and charge as they are."""
    for content, stored in (("\\ud800", None), (base64.b64encode(files.picture()).decode(), IntegrityError)):
        if stored:
            monkeypatch.setattr("chat.attachments.store.save", refusing(stored))
        image = f'[{{"type": "image_url", "image_url": {{"url": "data:image/png;base64,{content}"}}}}]'
        events = Delta("a"), CompletionImages(image), Finished("stop")
        row = await generated(user, *events, monkeypatch=monkeypatch)
        assert (row.status, row.texts()[0], row.charge and row.charge["amount"]) == ("completed", "a", 1)


async def test_a_draft_is_stored_while_images_are_read(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading images takes seconds, in which a process that dies must not lose the text."""

    async def stored_text(_images: MadeImages, _publish: object) -> tuple[int, ...]:
        await chat().generations.flush()
        stored.extend(await database.run(lambda: list(DraftPiece.objects.values_list("content", flat=True))))
        return ()

    stored: list[str] = []
    monkeypatch.setattr(MadeImages, "keep", stored_text)
    await generated(user, Delta("a"), CompletionImages("[]"), Finished("stop"), monkeypatch=monkeypatch)
    assert stored == ["a"]
    assert not await database.run(DraftPiece.objects.exists)


def refusing(kind: type[Exception]) -> Callable[..., None]:
    def refuse(*_arguments: object) -> None:
        raise kind

    return refuse


async def test_nul_is_dropped(user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NUL from the upstream does not reach the database."""
    row = await generated(user, Delta("a\0b"), Delta("\0"), Finished("stop"), monkeypatch=monkeypatch)
    assert row.texts()[0] == "ab"


async def test_end_waits_for_the_database(user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run keeps the text until the end can be stored."""
    store, failures = finish.store, [OperationalError("away"), OperationalError("away")]

    def flaky(end: Any, *, savepoint: bool) -> Generation:
        if failures:
            raise failures.pop()
        return store(end, savepoint=savepoint)

    monkeypatch.setattr(finish, "store", flaky)
    monkeypatch.setattr(run_module, "STORE_RETRY_SECONDS", (0.01, 0.01))
    row = await generated(user, Delta("kept"), Finished("stop"), monkeypatch=monkeypatch)
    assert (row.status, row.texts()[0], failures) == ("completed", "kept", [])


@pytest.mark.contract("refusal: internal_error")
async def test_a_run_that_dies_leaves_no_reader_waiting(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its readers reach the end of the log, and the reaper ends the row once."""

    def broken(end: Any, *, savepoint: bool) -> Generation:
        raise ValueError("a bug")

    monkeypatch.setattr("providers.routing.Attempts.run", lambda self: events_of(Delta("x"), Finished("stop")))
    with monkeypatch.context() as patch:
        patch.setattr(finish, "store", broken)
        started = await chat().generations.start(GenerationRequest(user.pk, "demo", "Hello"))
        log = chat().generations.readable(started.row)
        assert log
        follower = log.follow(0, lambda: None)
        await chat().generations.wait()
        assert b"".join(iter(follower.take, b""))
        assert follower.at_end
    assert chat().generations.readable(started.row) is None
    monkeypatch.setattr(remote, "STRAY_SECONDS", 0)
    await asyncio.gather(chat().generations.reap(), chat().generations.reap())
    row = await database.run(Generation.objects.select_related("message").get, id=started.row.id)
    assert (row.status, row.charge) == ("interrupted", {"amount": 0, "source": "none", "reason": "interrupted"})


async def test_end_by_another_process_wins(user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run publishes what the other process has stored, and changes nothing."""
    released = asyncio.Event()

    async def slow(self: object) -> AsyncGenerator[Event, None]:
        yield Delta("x")
        await released.wait()
        yield Finished("stop")

    monkeypatch.setattr("providers.routing.Attempts.run", slow)
    started = await chat().generations.start(GenerationRequest(user.pk, "demo", "Hello"))
    await asyncio.sleep(0.05)
    await database.run(Generation.objects.filter(id=started.row.id).update, process="another")
    await chat().generations.reap()
    log = chat().generations.readable(started.row)
    released.set()
    await chat().generations.wait()
    assert log
    assert log.last == started.row.last_event + finish.RESUME_JUMP
    assert b"event: error" in b"".join(iter(log.follow(0, lambda: None).take, b""))
    row = await database.run(Generation.objects.get, id=started.row.id)
    assert row.charge is not None
    assert (row.status, row.charge["amount"]) == ("interrupted", 0)


async def test_user_deleted_while_it_runs(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch, log_lines: list[EventDict]
) -> None:
    """Readers reach the end of the log, and no error is logged."""

    async def upstream(self: Any) -> AsyncGenerator[Event, None]:
        yield Delta("a")
        await database.run(user.delete)
        yield Finished("stop")

    monkeypatch.setattr("providers.routing.Attempts.run", upstream)
    started = await chat().generations.start(GenerationRequest(user.pk, "demo", "Hello"))
    log = chat().generations.readable(started.row)
    await chat().generations.wait()
    assert log is not None
    assert log.ended
    assert chat().generations.readable(started.row) is None
    assert not await database.run(Generation.objects.exists)
    assert [line for line in log_lines if line["log_level"] == "error"] == []


def test_quota_deleted_during_the_start(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota that only the commit finds missing is refused like one that was missing before."""

    def at_the_commit(*arguments: Any) -> Any:
        monkeypatch.undo()
        raise IntegrityError("a foreign key")

    monkeypatch.setattr(ledger, "reserve", at_the_commit)
    QuotaModel.objects.all().delete()
    with pytest.raises(UnknownModel):
        factories.admission().start(GenerationRequest(user.pk, "demo", "Hello"))
    assert not Generation.objects.exists()
