"""Fifty thousand words: compiling, whole texts and deltas stay within their goals; the benchmark has the figures.

CPU time, the best of several tries, and twice the goal: the machine may be busy with other things.
"""

import asyncio

import pytest

from benchmarks import screening
from chat.screening import live
from chat.screening.live import Words

SLACK = 2
MOST_CHARS = 32


@pytest.fixture(scope="module")
def rows() -> live.Rows:
    return screening.rows(screening.words())


@pytest.fixture(scope="module")
def words(rows: live.Rows) -> Words:
    return live.compiled(rows)


def test_it_works(rows: live.Rows) -> None:
    """Compiling costs less than two seconds."""
    assert screening.best(lambda: live.compiled(rows), 2) < 2 * SLACK


@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_whole_texts(words: Words, text: str) -> None:
    """Screening 4,000 characters costs 5 ms at most, also where a word is found."""
    piece = (text * 4)[:4000]
    assert screening.best(lambda: words.incoming.find(piece)) < 0.005 * SLACK
    hit = piece + " " + screening.words()[0]
    assert words.incoming.find(hit)
    assert screening.best(lambda: words.incoming.find(hit)) < 0.005 * SLACK


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_deltas(words: Words, text: str, size: int) -> None:
    """A delta costs 10 µs at most."""
    piece = (text * 4)[:4000]
    deltas = len(piece) / size
    assert screening.best(lambda: screening.stream(words.outgoing, piece, size)) / deltas < 10e-6 * SLACK


@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_little_is_held_back(words: Words, text: str) -> None:
    """Ordinary text is held back by two characters or so on average, never by more than a word."""
    held = [count for _come, count in screening.stream(words.outgoing, text, 1)]
    assert sum(held) / len(held) < 3
    assert screening.share(held, 0.99) <= 12
    assert max(held) <= MOST_CHARS


def test_the_loop_goes_on(rows: live.Rows) -> None:
    """While words are compiled in a thread, the loop turns: late by milliseconds, not for as long as it takes."""
    runs = [asyncio.run(screening.lateness(lambda: live.compiled(rows))) for _ in range(3)]
    p99, seconds = min((screening.share([round(wait * 1e6) for wait in late], 0.99) / 1e6, took) for late, took in runs)
    assert p99 < max(0.02 * SLACK, seconds / 20)
