"""chat/screening/stream.py: a text split in any way gives the result of the whole text, and never leaks a hit."""

import os
import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from chat.screening import edits
from chat.screening.folding import MOST_INVISIBLE
from chat.screening.lexicon import Lexicon
from chat.screening.stream import Screen
from tests.chat.screening.oracle import Words

SOAK = os.environ.get("SOAK") == "1"
pytestmark = pytest.mark.timeout(1800 if SOAK else 300)
EXAMPLES = 20_000 if SOAK else 150
# A small alphabet makes many hits. It includes expansions, marks, invisible characters and separators.
LETTERS = ["a", "b", "ａ", "B", "ß", "ﬁ", "é", "独", "獨", "立", "1", "２", "하", "한", "\u1112", "\u1161", "\u11ab"]
UNSEEN = ["\u0301", "\u200b", "\ufe0f", "\u0336"]
SEPARATORS = [" ", "\n", ".", "-", "+", "😀", "…", "*", "’", "\u3000"]


def some(chance: random.Random, choices: list[str], least: int, most: int) -> str:
    return "".join(chance.choices(choices, k=chance.randint(least, most)))


def some_words(chance: random.Random) -> Words:
    """Return a short list, whose phrases mostly cover a word or nearly do."""
    letters = chance.sample(LETTERS, 4)
    spaced = [*letters, *letters, " ", chance.choice(SEPARATORS)] if chance.random() < 0.3 else letters
    masking = [some(chance, spaced, 1, 4) for _ in range(chance.randint(0, 3))]
    blocking = [some(chance, spaced, 1, 4) for _ in range(chance.randint(0, 2))] if chance.random() < 0.5 else []
    words = [*masking, *blocking] or [""]
    phrases = [
        some(chance, spaced, 0, 2) + chance.choice(words) + some(chance, spaced, 0, 2)
        for _ in range(chance.randint(0, 3))
    ]
    return Words(tuple(masking), tuple(blocking), tuple(phrases))


def some_text(chance: random.Random, listed: Words) -> str:
    """Return words, phrases, pieces of them and other letters, with and without gaps."""
    known = [*listed.masking, *listed.blocking, *listed.phrases] or ["a"]
    parts = [
        chance.choice([chance.choice(known), chance.choice(known)[:2], chance.choice(LETTERS), " "])
        for _ in range(chance.randint(0, 6))
    ]
    gap = chance.choice([no_gap, no_gap, unseen_gap, separators_gap])
    return "".join(character + gap(chance) for character in "".join(parts))


def no_gap(chance: random.Random) -> str:
    return ""


def unseen_gap(chance: random.Random) -> str:
    return some(chance, UNSEEN, 0, 2)


def separators_gap(chance: random.Random) -> str:
    least, most = chance.choice([(0, 1), (0, 5), (4, 4)])
    return some(chance, chance.choice([SEPARATORS, [*SEPARATORS, *UNSEEN]]), least, most)


def case(chance: random.Random) -> tuple[Words, str]:
    listed = some_words(chance)
    return listed, some_text(chance, listed)


cases = st.randoms(use_true_random=False).map(case)


def pieces(text: str, cuts: Iterable[int]) -> list[str]:
    places = [0, *sorted(cuts), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


def streamed(lexicon: Lexicon, deltas: list[str], protected: set[int]) -> tuple[str, bool]:
    """Return the output of a stream; assert at every step that no character of a hit is in it."""
    screen = Screen(lexicon)
    out = ""
    for delta in [*deltas, None]:
        out += screen.flush() if delta is None else screen.feed(delta, lexicon)
        assert all(out[at] == "*" for at in protected if at < len(out)), (out, deltas)
        if screen.blocked:
            break
    return out, screen.blocked


def screened_whole(lexicon: Lexicon, text: str) -> tuple[str, bool]:
    hits = lexicon.find(text)
    cut = min([hit.start for hit in hits if hit.term.blocks], default=len(text))
    return edits.applied(edits.of(hits), text[:cut]), cut < len(text)


@pytest.mark.soak
@hypothesis(max_examples=EXAMPLES)
@given(cases, st.randoms(use_true_random=False))
def test_streams_equal_the_oracle(case: tuple[Words, str], chance: random.Random) -> None:
    """A text split in any way gives the result of the simple oracle."""
    listed, text = case
    wanted, protected, lexicon = listed.screen(text), listed.protected(text), listed.lexicon()
    for count in (0, 1, 3):
        cuts = [chance.randint(0, len(text)) for _ in range(count)]
        assert streamed(lexicon, pieces(text, cuts), protected) == wanted
    assert streamed(lexicon, list(text), protected) == wanted


@pytest.mark.soak
@hypothesis(max_examples=EXAMPLES)
@given(cases)
def test_whole_texts(case: tuple[Words, str]) -> None:
    """The automaton finds the same matches in a whole text as the oracle."""
    listed, text = case
    assert screened_whole(listed.lexicon(), text) == listed.screen(text)


@pytest.mark.soak
def test_many_cuts_of_many_texts() -> None:
    """A hundred texts, each split in many ways, give the result of the whole text."""
    chance = random.Random(20261121)
    for _ in range(100):
        listed = some_words(chance)
        text = "".join(some_text(chance, listed) for _ in range(5))
        wanted, protected, lexicon = listed.screen(text), listed.protected(text), listed.lexicon()
        for _ in range(1_000 if SOAK else 10):
            cuts = chance.sample(range(len(text) + 1), chance.randint(0, len(text)))
            assert streamed(lexicon, pieces(text, cuts), protected) == wanted


@pytest.mark.soak
def test_many_texts() -> None:
    """Many texts split into characters give it too; many of them contain hits."""
    chance = random.Random(5)
    hit = ended = 0
    for _ in range(100_000 if SOAK else 1_500):
        listed, text = case(chance)
        wanted, protected, lexicon = listed.screen(text), listed.protected(text), listed.lexicon()
        assert streamed(lexicon, list(text), protected) == wanted, (listed, text)
        assert screened_whole(lexicon, text) == wanted, (listed, text)
        hit += bool(protected)
        ended += wanted[1]
    assert hit > 300
    assert ended > 50


def test_what_is_held_is_bounded() -> None:
    """Texts that keep much undecided need bounded memory and linear time."""
    listed = Words(("a" + "+" * 31, "b" * 32, "c d" * 10), (), ("a" * 32,))
    lexicon = listed.lexicon()
    for text in ("a" + "+" * 3_000, "b" * 3_000, "b \u200b" * 2_000, "b" + "\u0301" * 9_000, "c \n d" * 2_000):
        screen, most = Screen(lexicon), 0
        for start in range(0, len(text), 7):
            screen.feed(text[start : start + 7], lexicon)
            most = max(most, len(screen._held), *(len(each.alive) for each in screen._trackers), len(screen._edits))
        assert most < 32 * 5 + 2 * MOST_INVISIBLE + 7


def test_words_and_phrases_within_each_other() -> None:
    """Nested words and phrases keep no more state than the last letters need."""
    listed = Words(tuple("独" * count for count in range(1, 20)), (), tuple("独" * count for count in range(2, 21, 2)))
    lexicon = listed.lexicon()
    screen, out = Screen(lexicon), ""
    for _ in range(300):
        out += screen.feed("独", lexicon)
        assert len(screen._trackers[0].found) < 20 * 20
        assert len(screen._edits) <= 2
    assert out + screen.flush() == listed.screen("独" * 300)[0]


def test_invisible_runs_are_shortened() -> None:
    """A word padded with invisible characters is found, and most of them are removed."""
    lexicon = Words(("独立",)).lexicon()
    unseen = "\u200b" * 5_000
    for deltas in ([f"独{unseen}立"], ["独", *unseen, "立"], ["独", unseen[:999], unseen[999:] + "立"]):
        assert streamed(lexicon, deltas, set())[0] == "*" * (MOST_INVISIBLE + 2)


def test_new_words_apply_in_the_middle_of_a_text() -> None:
    """New words apply to the held back text and to all that follows."""
    before, after = Words(("独立国", "ass")).lexicon(), Words(("立即", "台"), ("ba",)).lexicon()
    screen = Screen(before)
    assert screen.feed("一独立", before) == "一"
    assert screen.feed("即", after) == "独**"
    assert screen.feed("台ab", after) == "*ab"
    assert screen.feed(" b", after) == " "
    assert screen.feed("a", after) == ""
    assert (screen.flush(), screen.blocked) == ("", True)
    screen = Screen(before)
    assert screen.feed("as", before) == ""
    assert screen.feed("s", Lexicon()) == "ass"
