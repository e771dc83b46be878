"""However an answer is cut, what comes out is the whole text screened at once, and no character of a hit gets out."""

import os
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from chat.screening.lexicon import Lexicon, masked
from chat.screening.stream import Screen
from tests.chat.screening.oracle import Words

SOAK = os.environ.get("SOAK") == "1"
EXAMPLES = 20_000 if SOAK else 150
# Few letters make many hits. With them go expansions, marks, what cannot be seen, and all kinds of separators.
LETTERS = ["a", "b", "ａ", "B", "ß", "ﬁ", "é", "独", "獨", "立", "1", "２", "하", "한", "\u1112", "\u1161", "\u11ab"]
UNSEEN = ["\u0301", "\u200b", "\ufe0f", "\u0336"]
SEPARATORS = [" ", "\n", ".", "-", "+", "😀", "…", "*", "’", "\u3000"]


def some(chance: random.Random, choices: list[str], least: int, most: int) -> str:
    return "".join(chance.choices(choices, k=chance.randint(least, most)))


def some_words(chance: random.Random) -> Words:
    """Return a short list; its phrases are mostly such as cover a word, or nearly do."""
    letters = chance.sample(LETTERS, 4)
    spaced = [*letters, *letters, " ", chance.choice(SEPARATORS)] if chance.random() < 0.3 else letters
    masking = [some(chance, spaced, 1, 4) for _ in range(chance.randint(0, 3))]
    blocking = [some(chance, spaced, 1, 4) for _ in range(chance.randint(0, 2))] if chance.random() < 0.5 else []
    words = [*masking, *blocking] or [""]
    phrases = [
        some(chance, spaced, 0, 2) + chance.choice(words) + some(chance, spaced, 0, 2) for _ in range(chance.randint(0, 3))
    ]
    return Words(tuple(masking), tuple(blocking), tuple(phrases))


def some_text(chance: random.Random, listed: Words) -> str:
    """Return words and phrases of a list, pieces of them and other letters, with or without something between them."""
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
    return some(chance, chance.choice([SEPARATORS, [*SEPARATORS, *UNSEEN]]), 0, chance.choice([1, 5]))


def case(chance: random.Random) -> tuple[Words, str]:
    listed = some_words(chance)
    return listed, some_text(chance, listed)


cases = st.randoms(use_true_random=False).map(case)


def pieces(text: str, cuts: Iterable[int]) -> list[str]:
    places = [0, *sorted(cuts), len(text)]
    return [text[start:end] for start, end in zip(places, places[1:], strict=False)]


def streamed(lexicon: Lexicon, deltas: list[str], protected: set[int]) -> tuple[str, bool]:
    """Return what comes out of a stream; at every moment it is checked that nothing of a hit has got out."""
    screen = Screen(lexicon)
    out = ""
    for delta in [*deltas, None]:
        out += screen.flush() if delta is None else screen.feed(delta, lexicon)
        assert all(out[at] == "*" for at in protected if at < len(out)), (out, deltas)
        if screen.blocked:
            break
    return out, screen.blocked


@hypothesis(max_examples=EXAMPLES)
@given(cases, st.randoms(use_true_random=False))
def test_it_works(case: tuple[Words, str], chance: random.Random) -> None:
    """A text comes out of a stream as it does when every word is tried at every place, however it is cut."""
    listed, text = case
    wanted, protected, lexicon = listed.screen(text), listed.protected(text), listed.lexicon()
    for count in (0, 1, 3):
        cuts = [chance.randint(0, len(text)) for _ in range(count)]
        assert streamed(lexicon, pieces(text, cuts), protected) == wanted
    assert streamed(lexicon, list(text), protected) == wanted


@hypothesis(max_examples=EXAMPLES)
@given(cases)
def test_whole_texts(case: tuple[Words, str]) -> None:
    """The automaton finds in a whole text what trying every word at every place finds."""
    listed, text = case
    hits = listed.lexicon().find(text)
    cut = min([hit.start for hit in hits if hit.term.blocks], default=len(text))
    shown = masked(text, [(hit.start, hit.end) for hit in hits])[:cut]
    assert (shown, cut < len(text)) == listed.screen(text)


@pytest.mark.soak
def test_many_cuts_of_many_texts() -> None:
    """A hundred texts, each cut in many ways, come out as they do in one piece."""
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
    """So do many texts cut into single characters; a third of them have hits, and many end at one."""
    chance = random.Random(5)
    hit = ended = 0
    for _ in range(100_000 if SOAK else 1_500):
        listed, text = case(chance)
        wanted, protected, lexicon = listed.screen(text), listed.protected(text), listed.lexicon()
        assert streamed(lexicon, list(text), protected) == wanted, (listed, text)
        hit += bool(protected)
        ended += wanted[1]
    assert hit > 300
    assert ended > 50
