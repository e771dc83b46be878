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


def test_a_value_in_use_is_read_again_before_it_is_too_old(at: Callable[[float], None]) -> None:
    """Callers get the value before until the new one is there; of several, the first lets it be read."""
    reads: list[Callable[[], None]] = []
    rows = TTLCache(count(1).__next__, 2, lambda read: reads.append(read) or True)  # type: ignore[func-returns-value]
    at(100)
    assert (rows.current(), rows.current(), len(reads)) == (1, 1, 0)
    at(101.9)
    assert (rows.current(), rows.current(), len(reads)) == (1, 1, 1)
    reads.pop()()
    at(103.8)
    assert (rows.current(), len(reads)) == (2, 1)
    at(104)
    assert rows.current() == 3  # at once, because it is too old; what is read ahead comes too late
    reads.pop()()
    assert (rows.current(), len(reads)) == (4, 0)


def test_a_read_ahead_that_fails_or_is_outdated_changes_nothing(at: Callable[[float], None]) -> None:
    """A failure leaves the value to its next user, and what was read before a change is dropped."""
    reads: list[Callable[[], None]] = []
    numbers, failing = count(1), False

    def read() -> int:
        if failing:
            raise OSError
        return next(numbers)

    def read_and_forget() -> int:
        rows.forget()
        return next(numbers)

    rows = TTLCache(read, 2, lambda read: reads.append(read) or True)  # type: ignore[func-returns-value]
    at(100)
    rows.current()
    at(101.9)
    rows.current()
    failing = True
    with pytest.raises(OSError):
        reads.pop()()
    failing = False
    assert (rows.current(), len(reads)) == (1, 1)
    rows._read = read_and_forget
    reads.pop()()
    rows._read = read
    assert (rows.last(), rows.current()) == (None, 3)


def test_without_another_thread_the_caller_reads(at: Callable[[float], None]) -> None:
    """A process that does not serve has no other thread, and asks for one again at each call."""
    asked: list[Callable[[], None]] = []
    rows = TTLCache(count(1).__next__, 2, lambda read: bool(asked.append(read)))  # type: ignore[func-returns-value]
    at(100)
    rows.current()
    at(101.9)
    assert (rows.current(), rows.current(), len(asked)) == (1, 1, 2)
    at(102.1)
    assert rows.current() == 2
