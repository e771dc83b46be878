"""Fifty thousand words, and a hundred patterns: compiling, whole texts and deltas stay within their goals.

The benchmark has the figures.

The tests compare CPU time, the best of several tries, with twice the goal, because the machine may be busy. A first try
within the goal is not repeated.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator

import pytest

from benchmarks import screening
from chat.screening import live
from chat.screening.lexicon import Lexicon
from chat.screening.live import Words
from chat.screening.stream import Screen
from runtime.serve import settle_garbage_collector

pytestmark = pytest.mark.alone

SLACK = 2
TRIES = 20
MOST_CHARS = 32


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """Configure the garbage collector as the serving process does: rare runs, without older objects."""
    before = gc.get_threshold()
    settle_garbage_collector()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def assert_costs(run: Callable[[], object], seconds: float) -> None:
    """Assert that the best of many tries costs at most `seconds` of CPU time."""
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


def test_compiling(rows: live.Rows) -> None:
    """Compiling costs less than two seconds."""
    assert_costs(lambda: live.compiled(rows), 2)


@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_whole_texts(rows: live.Rows, words: Words, text: str) -> None:
    """Screening 4,000 characters costs at most 5 ms, with and without a hit."""
    piece = (text * 4)[:4000]
    assert_costs(lambda: words.incoming.find(piece), 0.005)
    hit = f"{piece} {rows.words[0][1]}"
    assert words.incoming.find(hit)
    assert_costs(lambda: words.incoming.find(hit), 0.005)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_deltas(words: Words, text: str, size: int) -> None:
    """A delta costs at most 10 µs."""
    piece = (text * 4)[:4000]
    assert_costs(lambda: screening.stream(words.outgoing, piece, size), 10e-6 * len(piece) / size)


@pytest.mark.parametrize("text", [screening.chinese(), screening.english()], ids=["Chinese", "English"])
def test_deltas_with_patterns(words: Words, text: str) -> None:
    """With 100 patterns beside the words a delta of eight characters costs at most 15 µs."""
    patterns = live.compiled(live.Rows(1, [], patterns=screening.patterns()))
    both = Lexicon.joined([words.outgoing, patterns.outgoing])
    piece = (text * 4)[:4000]
    assert_costs(lambda: screening.stream(both, piece, 8), 15e-6 * len(piece) / 8)
    assert_costs(lambda: both.find(piece), 0.005)


@pytest.mark.parametrize("unit", [" ", ". ", "a", "a ", "\u200b", "\u0301", "a\u0301", "1", "😀", "ﷺ", "word", "words"])
def test_repetitive_completions(rows: live.Rows, words: Words, unit: str) -> None:
    """The cost of a repetitive completion grows linearly, and little of it is held back."""
    listed = [word for _id, word, *_rule in rows.words[::100]]
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
    """Ordinary text is held back by about two characters on average, at most a word."""
    counts = [count for _come, count in screening.stream(words.outgoing, text, 1)]
    assert sum(counts) / len(counts) < 3
    assert screening.share(counts, 0.99) <= 12
    assert max(counts) <= MOST_CHARS


def test_the_loop_stays_responsive(rows: live.Rows) -> None:
    """Compiling and freeing words in a thread delays the event loop by milliseconds at most.

    An idle run measures the delay that the machine itself adds, which may change from second to second.
    """
    late = idle = 1.0
    for _ in range(TRIES // 2):
        idle = screening.p99(asyncio.run(screening.lateness(lambda: time.sleep(0.3)))[0])
        late = screening.p99(asyncio.run(screening.lateness(lambda: screening.changed(rows)))[0])
        if late < 0.02:
            break
    assert late < 0.02 + 2 * idle
