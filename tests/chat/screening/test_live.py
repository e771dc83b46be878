"""chat/screening/live.py: words are replaced as a whole, never by older ones, within five seconds in every process."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from chat.apps import chat
from chat.models import AllowedPhrase, ListVersion, SensitiveWord
from chat.screening import live
from chat.screening.live import LiveWords
from runtime import database
from tests.product import ApiUser, Product
from tests.readers import until_below

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def database_threads() -> AsyncGenerator[None, None]:
    """Close the database threads of this test."""
    yield
    await asyncio.to_thread(database.close)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> LiveWords:
    """The words of this process, not loaded yet."""
    monkeypatch.setattr(chat(), "words", LiveWords())
    return chat().words


@pytest.fixture
def other_process() -> LiveWords:
    """Words of another process: changes made here are not applied to them."""
    return LiveWords()


def matches(words: LiveWords, text: str) -> list[str]:
    """Return the parts of a text that are masked as a prompt, and as a completion."""
    lexicons = (words.load().incoming, words.load().outgoing)
    return ["".join(text[hit.start : hit.end + 1] for hit in lexicon.find(text)) for lexicon in lexicons]


def test_words_apply_in_their_direction(words: LiveWords) -> None:
    """Words apply in their direction, phrases in both, disabled words in none."""
    for word, scope in (("one", "input"), ("two", "output"), ("three", "both")):
        SensitiveWord.objects.create(word=word, scope=scope)
    SensitiveWord.objects.create(word="four", enabled=False)
    AllowedPhrase.objects.create(phrase="three sisters")
    assert matches(words, "one two three four, three sisters") == ["onethree", "twothree"]


def test_phrases_alone_make_an_empty_lexicon(words: LiveWords) -> None:
    """Without words there is nothing that a phrase could cover."""
    AllowedPhrase.objects.create(phrase="three sisters")
    assert words.load().incoming.empty
    assert words.load().outgoing is words.load().incoming


def test_words_of_both_directions_are_compiled_once(words: LiveWords) -> None:
    """Both directions share one lexicon if no word is limited to one of them."""
    SensitiveWord.objects.create(word="one")
    assert words.load().outgoing is words.load().incoming


def test_a_change_applies_at_its_commit(words: LiveWords) -> None:
    """A change applies in the same process when it is committed: not earlier, and not after a rollback."""
    words.load()
    with transaction.atomic():
        SensitiveWord.objects.create(word="one")
        assert matches(words, "one") == ["", ""]
    assert matches(words, "one") == ["one", "one"]
    with transaction.atomic():
        SensitiveWord.objects.create(word="two")
        transaction.set_rollback(True)
    assert matches(words, "one two") == ["one", "one"]


def test_unchanged_words_are_read_once(words: LiveWords, django_assert_num_queries: Any) -> None:
    """An unchanged list is not read again; a refresh reads its version."""
    SensitiveWord.objects.create(word="one")
    before = words.load()
    with django_assert_num_queries(0):
        assert words.load() is before
    with django_assert_num_queries(1):
        words.refresh()
    assert words.current is before


def test_older_words_never_replace_newer_ones(other_process: LiveWords, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow refresh that read an older list does not replace the result of a faster, newer one."""
    other_process.load()
    read, has_read, may_continue = live.read_rows, threading.Event(), threading.Event()

    def read_slowly() -> live.Rows:
        rows = read()
        if threading.current_thread().name == "slow":
            has_read.set()
            may_continue.wait(60)
        return rows

    def refresh() -> None:
        other_process.refresh()
        connection.close()

    monkeypatch.setattr(live, "read_rows", read_slowly)
    SensitiveWord.objects.create(word="older")
    threads = [threading.Thread(target=refresh, name=name) for name in ("slow", "quick")]
    threads[0].start()
    assert has_read.wait(60)
    SensitiveWord.objects.create(word="newer")
    threads[1].start()
    may_continue.set()
    for thread in threads:
        thread.join(60)
    assert matches(other_process, "older newer") == ["oldernewer", "oldernewer"]
    assert other_process.current.version == ListVersion.current()


async def test_a_check_applies_changes_of_other_processes(database_threads: None, other_process: LiveWords) -> None:
    """The timer loads what another process has changed, and keeps the words if nothing has."""
    await other_process.check()
    before = other_process.current
    await other_process.check()
    assert other_process.current is before
    await database.run(SensitiveWord.objects.create, word="one")
    assert other_process.current.outgoing.find("one") == []
    await other_process.check()
    assert [hit.start for hit in other_process.current.outgoing.find("one")] == [0]
    await database.run(SensitiveWord.objects.all().delete)
    await other_process.check()
    assert other_process.current.outgoing.empty


async def test_replaced_words_are_freed_later(
    monkeypatch: pytest.MonkeyPatch, database_threads: None, other_process: LiveWords
) -> None:
    """Replaced words stay intact until streams have switched to the new ones, then the timer frees them."""
    await database.run(SensitiveWord.objects.create, word="one")
    await other_process.check()
    replaced = other_process.current
    await database.run(SensitiveWord.objects.create, word="two")
    await other_process.check()
    await other_process.check()
    assert other_process._previous is replaced
    assert replaced.outgoing.find("one")
    monkeypatch.setattr(live, "FREE_AFTER_SECONDS", 0)
    await other_process.check()
    assert other_process._previous is None
    assert [hit.start for hit in other_process.current.outgoing.find("one two")] == [0, 4]


async def test_the_first_check_comes_at_once(
    monkeypatch: pytest.MonkeyPatch, database_threads: None, words: LiveWords
) -> None:
    """A process loads its words as it starts; after a failure it waits before it tries again."""
    assert words.check_seconds() == 0

    def fail() -> int:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(ListVersion, "current", fail)
        with pytest.raises(OperationalError):
            await words.check()
    assert words.check_seconds() == live.CHECK_SECONDS
    await words.check()
    assert words.current.outgoing.empty


def test_a_failed_refresh_does_not_undo_the_change(
    words: LiveWords, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A committed change stays, even if this process fails to load it; the next refresh does."""
    words.load()

    def fail() -> None:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(live, "read_rows", fail)
        SensitiveWord.objects.create(word="one")
    assert "OperationalError" in caplog.text
    words.refresh()
    assert matches(words, "one") == ["one", "one"]


ADD = "from chat.models import SensitiveWord; SensitiveWord.objects.create(word='elsewhere')"
REMOVE = "from chat.models import SensitiveWord; SensitiveWord.objects.filter(word='elsewhere').delete()"


@pytest.mark.contract("staff changes within five seconds")
def test_another_process(screening: Product, newcomer: ApiUser) -> None:
    """A change made by one process applies in another within five seconds."""

    def is_refused() -> bool:
        response = newcomer.client.post("/api/chat/", json={"model": "plain", "prompt": "elsewhere"})
        return response.status_code == 422

    def seconds_until(wanted: bool, script: str) -> float:
        """Run a script; return the seconds after it at which the first request began that it applies to."""
        done = screening.manage("shell", "-c", script)
        assert done.returncode == 0, done.stderr
        started = began = time.monotonic()
        while is_refused() != wanted:
            assert began - started < 60
            time.sleep(0.1)
            began = time.monotonic()
        return began - started

    assert not is_refused()
    delays: list[float] = []
    for _ in until_below(5, delays, most=3):
        delays.append(max(seconds_until(True, ADD), seconds_until(False, REMOVE)))
    assert min(delays) < 5
