"""Rows that are remembered for a while: read once, and never older than a change of one's own."""

import threading
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace

import pytest
from django.db import transaction

from runtime import ttl_cache
from runtime.ttl_cache import TTLCache


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock."""
    return lambda seconds: monkeypatch.setattr(ttl_cache, "time", SimpleNamespace(monotonic=lambda: seconds))


def test_it_is_read_once_until_it_is_old_or_forgotten(at: Callable[[float], None]) -> None:
    """It is read when it is first asked for, and anew when so much time has passed, or after `forget`."""
    at(100)
    rows = TTLCache(count(1).__next__, 2)
    assert rows.last() is None
    assert [rows.current(), rows.current(), rows.last()] == [1, 1, 1]
    at(102)
    assert rows.current() == 1
    at(102.1)
    assert (rows.last(), rows.current()) == (1, 2)
    rows.forget()
    assert (rows.last(), rows.current()) == (None, 3)


def test_changed_while_it_was_read() -> None:
    """What was being read while a change was made is for those who had asked before, and for nobody after it."""
    numbers = count(1)

    def read() -> int:
        number = next(numbers)
        if number == 1:
            rows.forget()
        return number

    rows = TTLCache(read, 1_000)
    assert [rows.current(), rows.current(), rows.current()] == [1, 2, 2]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_nobody_sees_yet() -> None:
    """What was read between a change and the end of its transaction is forgotten with that end."""
    rows = TTLCache(count(1).__next__, 1_000)
    assert rows.current() == 1
    with transaction.atomic():
        rows.changed()
        assert rows.current() == 2
    assert rows.current() == 3


def test_many_threads() -> None:
    """Many who ask at once cost one reading."""
    rows, seen = TTLCache(count(1).__next__, 1_000), []
    threads = [threading.Thread(target=lambda: seen.append(rows.current())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 20
