"""TTLCache: one read per lifetime, and no value older than a change of this process."""

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
    """Return a function that sets the clock."""
    return lambda seconds: monkeypatch.setattr(ttl_cache, "time", SimpleNamespace(monotonic=lambda: seconds))


def test_a_value_is_read_again_when_old_or_forgotten(at: Callable[[float], None]) -> None:
    """The value is read at the first call, and again when it is too old or was dropped."""
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


def test_a_value_dropped_while_it_is_read_is_read_again() -> None:
    """A value that is dropped during its read is only returned to the reading call."""
    numbers = count(1)

    def read() -> int:
        number = next(numbers)
        if number == 1:
            rows.forget()
        return number

    rows = TTLCache(read, 1_000)
    assert [rows.current(), rows.current(), rows.current()] == [1, 2, 2]


@pytest.mark.django_db(transaction=True)
def test_a_value_read_before_a_commit_is_dropped_after_it() -> None:
    """A value that is read between a change and its commit is dropped after the commit."""
    rows = TTLCache(count(1).__next__, 1_000)
    assert rows.current() == 1
    with transaction.atomic():
        rows.changed()
        assert rows.current() == 2
    assert rows.current() == 3


def test_concurrent_threads_cause_one_read() -> None:
    """Twenty threads that ask at once cause one read."""
    rows, values = TTLCache(count(1).__next__, 1_000), []
    threads = [threading.Thread(target=lambda: values.append(rows.current())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [1] * 20


@pytest.mark.django_db(transaction=True)
def test_a_transaction_does_not_wait_for_the_read_of_another_thread() -> None:
    """Behind a pooler that thread may wait for the very connection that the transaction holds."""
    reading, released = threading.Event(), threading.Event()

    def read() -> str:
        if threading.current_thread() is threading.main_thread():
            return "by the transaction"
        reading.set()
        assert released.wait(60)
        return "by the other"

    rows = TTLCache(read, 1_000)
    other = threading.Thread(target=rows.current)
    other.start()
    assert reading.wait(60)
    with transaction.atomic():
        assert rows.current() == "by the transaction"
    released.set()
    other.join()
    assert rows.current() == "by the other"
