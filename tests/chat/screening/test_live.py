"""The words that count: swapped as a whole, never for older ones, and followed by every process within five seconds."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from django.db import OperationalError, transaction

from chat.models import AllowedPhrase, ListVersion, SensitiveWord
from chat.screening import incoming, live, models
from runtime import database
from tests.product import Person, Product

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def door() -> AsyncGenerator[None, None]:
    """Close the database threads of this test."""
    yield
    await asyncio.to_thread(database.close)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let changes be those of another process: this one is not told."""
    monkeypatch.setattr(models, "followers", [])


def found(text: str) -> list[str]:
    """Return what would be masked of a text in each direction."""
    words = live.loaded()
    hits = [lexicon.find(text) for lexicon in (words.incoming, words.outgoing)]
    return ["".join(text[hit.start : hit.end + 1] for hit in some) for some in hits]


def test_it_works() -> None:
    """Words count in their direction, phrases in both, what is disabled nowhere."""
    for word, scope in (("one", "input"), ("two", "output"), ("three", "both")):
        SensitiveWord.objects.create(word=word, scope=scope)
    SensitiveWord.objects.create(word="four", enabled=False)
    AllowedPhrase.objects.create(phrase="three sisters")
    assert found("one two three four, three sisters") == ["onethree", "twothree"]


def test_nothing_listed() -> None:
    """Phrases alone make no list: there is nothing that they could cover."""
    AllowedPhrase.objects.create(phrase="three sisters")
    words = live.loaded()
    assert words.incoming.empty
    assert words.outgoing is words.incoming


def test_one_compiling_for_both_directions() -> None:
    """What counts in both directions is compiled once."""
    SensitiveWord.objects.create(word="one")
    assert live.loaded().outgoing is live.loaded().incoming


def test_at_once_and_only_when_stored() -> None:
    """In the process that changes something it counts when it is stored: not before, and not when it is taken back."""
    live.loaded()
    with transaction.atomic():
        SensitiveWord.objects.create(word="one")
        assert found("one") == ["", ""]
    assert found("one") == ["one", "one"]
    with transaction.atomic():
        SensitiveWord.objects.create(word="two")
        transaction.set_rollback(True)
    assert found("one two") == ["one", "one"]


def test_read_once(django_assert_num_queries: Any) -> None:
    """Nothing is read again while nothing has changed."""
    SensitiveWord.objects.create(word="one")
    before = live.loaded()
    with django_assert_num_queries(0):
        assert live.loaded() is before
        incoming.screen("one")
    with django_assert_num_queries(1):
        live.refresh()
    assert live.now() is before


def test_older_words_never_follow_newer_ones(monkeypatch: pytest.MonkeyPatch, elsewhere: None) -> None:
    """Whoever reads an older list and is slow does not put it in the place of a newer one."""
    live.loaded()
    read, slow, go_on = live._read, threading.Event(), threading.Event()

    def read_slowly() -> live.Rows:
        rows = read()
        if threading.current_thread().name == "slow":
            slow.set()
            go_on.wait(10)
        return rows

    def refresh() -> None:
        live.refresh()
        live.connection.close()

    monkeypatch.setattr(live, "_read", read_slowly)
    SensitiveWord.objects.create(word="older")
    threads = [threading.Thread(target=refresh, name=name) for name in ("slow", "quick")]
    threads[0].start()
    assert slow.wait(10)
    SensitiveWord.objects.create(word="newer")
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert found("older newer") == ["oldernewer", "oldernewer"]
    assert live.now().version == ListVersion.now()


async def test_follows(door: None, elsewhere: None) -> None:
    """The timer takes over what another process has changed, and does nothing when nothing was."""
    await live.follow()
    before = live.now()
    await live.follow()
    assert live.now() is before
    await database.run(SensitiveWord.objects.create, word="one")
    assert live.now().outgoing.find("one") == []
    await live.follow()
    assert [hit.start for hit in live.now().outgoing.find("one")] == [0]
    await database.run(SensitiveWord.objects.all().delete)
    await live.follow()
    assert live.now().outgoing.empty


async def test_former_words_are_taken_apart(monkeypatch: pytest.MonkeyPatch, door: None, elsewhere: None) -> None:
    """Words that count no more stay until streams have changed to the new ones, and then go bit by bit."""
    await database.run(SensitiveWord.objects.create, word="one")
    await live.follow()
    former = live.now()
    await database.run(SensitiveWord.objects.create, word="two")
    await live.follow()
    await live.follow()
    assert live._former is former
    assert former.outgoing.find("one")
    monkeypatch.setattr(live, "FORMER_SECONDS", 0)
    await live.follow()
    assert live._former is None
    assert [hit.start for hit in live.now().outgoing.find("one two")] == [0, 4]


async def test_the_first_look_comes_at_once(monkeypatch: pytest.MonkeyPatch, door: None) -> None:
    """A process reads its words as it starts; when that fails it waits before it tries again."""
    monkeypatch.setattr(live, "_following", False)
    assert live.pause() == 0

    def away() -> int:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(ListVersion, "now", away)
        with pytest.raises(OperationalError):
            await live.follow()
    assert live.pause() == live.FOLLOW_SECONDS
    await live.follow()
    assert live.now().outgoing.empty


def test_a_failure_after_a_change(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A change that is stored is stored, even when this process then fails to read it; the timer will."""
    live.loaded()

    def away() -> None:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(live, "_read", away)
        SensitiveWord.objects.create(word="one")
    assert "OperationalError" in caplog.text
    live.refresh()
    assert found("one") == ["one", "one"]


ADD = "from chat.models import SensitiveWord; SensitiveWord.objects.create(word='elsewhere')"
REMOVE = "from chat.models import SensitiveWord; SensitiveWord.objects.filter(word='elsewhere').delete()"


def test_another_process(screening: Product, somebody: Person) -> None:
    """What one process changes counts in another within five seconds."""

    def refused() -> bool:
        answer = somebody.client.post("/api/chat/", json={"model": "plain", "prompt": "elsewhere"})
        return answer.status_code == 422

    assert not refused()
    for script, wanted in ((ADD, True), (REMOVE, False)):
        done = screening.manage("shell", "-c", script)
        assert done.returncode == 0, done.stderr
        since = time.monotonic()
        while refused() != wanted:
            assert time.monotonic() - since < 5
            time.sleep(0.1)
