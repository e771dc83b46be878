"""Fifty thousand words: compiling, whole texts and deltas stay within their goals; the benchmark has the figures.

CPU time, the best of several tries, and twice the goal: the machine may be busy with other things. Whoever is within
the goal at the first try is not asked again.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator

import pytest

from benchmarks import screening
from chat.screening import live
from chat.screening.live import Words
from chat.screening.stream import Screen
from runtime.serve import settle_garbage_collector

pytestmark = pytest.mark.alone

SLACK = 2
TRIES = 20
MOST_CHARS = 32


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """Let garbage be collected as it is where the product serves: seldom, and not what was there before."""
    before = gc.get_threshold()
    settle_garbage_collector()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def assert_costs(run: Callable[[], object], seconds: float) -> None:
    """Assert that something costs no more than so much CPU time, in the best of many tries."""
    costs = []
    while not costs or (min(costs) > seconds and len(costs) < TRIES):
        costs.append(screening.best(run, 1))
    assert min(costs) <= seconds * SLACK


@pytest.fixture(scope="module")
def rows() -> live.Rows:
    return screening.rows(screening.words())


@pytest.fixture(scope="module")
def words(rows: live.Rows) -> Words:
    return live.compiled(rows)


def test_it_works(rows: live.Rows) -> None:
    """Compiling costs less than two seconds."""
    assert_costs(lambda: live.compiled(rows), 2)


@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_whole_texts(rows: live.Rows, words: Words, text: str) -> None:
    """Screening 4,000 characters costs 5 ms at most, also where a word is found."""
    piece = (text * 4)[:4000]
    assert_costs(lambda: words.incoming.find(piece), 0.005)
    hit = f"{piece} {rows.words[0][1]}"
    assert words.incoming.find(hit)
    assert_costs(lambda: words.incoming.find(hit), 0.005)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_deltas(words: Words, text: str, size: int) -> None:
    """A delta costs 10 µs at most."""
    piece = (text * 4)[:4000]
    assert_costs(lambda: screening.stream(words.outgoing, piece, size), 10e-6 * len(piece) / size)


@pytest.mark.parametrize("unit", [" ", ". ", "a", "a ", "\u200b", "\u0301", "a\u0301", "1", "😀", "ﷺ", "word", "words"])
def test_monotonous_answers(rows: live.Rows, words: Words, unit: str) -> None:
    """However an answer is made, twice as much of it costs twice as much, and little of it is held back."""
    listed = [word for _id, word, _action, _scope in rows.words[::100]]
    unit = {"word": listed[-1], "words": " ".join(word[:-1] for word in listed)}.get(unit, unit)
    texts = [(unit * (size // len(unit) + 1))[:size] for size in (10_000, 20_000)]

    def growth() -> float:
        short, long = (screening.best(lambda text=text: screening.stream(words.outgoing, text, 4), 1) for text in texts)
        return long / short

    assert min(growth() for _ in range(3)) < 3
    screen = Screen(words.outgoing)
    for start in range(0, 10_000, 4):
        screen.feed(texts[0][start : start + 4], words.outgoing)
        assert len(screen._held) <= 5 * MOST_CHARS


@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_little_is_held_back(words: Words, text: str) -> None:
    """Ordinary text is held back by two characters or so on average, never by more than a word."""
    held = [count for _come, count in screening.stream(words.outgoing, text, 1)]
    assert sum(held) / len(held) < 3
    assert screening.share(held, 0.99) <= 12
    assert max(held) <= MOST_CHARS


def test_the_loop_goes_on(rows: live.Rows) -> None:
    """While words are compiled in a thread and former ones dropped, the loop is late by no more than milliseconds.

    What the machine adds is seen where nothing is done; it may be different in the next second.
    """
    late = idle = 1.0
    for _ in range(TRIES // 2):
        idle = screening.p99(asyncio.run(screening.lateness(lambda: time.sleep(0.3)))[0])
        late = screening.p99(asyncio.run(screening.lateness(lambda: screening.changed(rows)))[0])
        if late < 0.02:
            break
    assert late < 0.02 + 2 * idle
