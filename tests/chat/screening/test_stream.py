"""However an answer is cut, what comes out is the whole text screened at once, and no character of a hit gets out."""

import os
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from chat.screening.lexicon import masked
from chat.screening.stream import Screen
from tests.chat.screening.oracle import Words

SOAK = os.environ.get("SOAK") == "1"
# Few letters make many hits; with them go expansions, marks, what cannot be seen, separators, and characters of no word.
LETTERS = ["a", "b", "s", "ａ", "B", "ß", "ﬁ", "fi", "独", "獨", "立", "台", "臺", "1", "２", "하", "한", "\u1112", "\u1161", "\u11ab"]
BETWEEN = ["\u0301", "\u200b", "\ufe0f", " ", "\n", ".", "-", "+", "😀", "…", "*", "'", "’", "\u3000"]
texts = st.lists(st.sampled_from([*LETTERS, *LETTERS, *BETWEEN, "x", "中"]), max_size=40).map("".join)
words = st.lists(st.sampled_from([*LETTERS, *LETTERS, " ", "+", "-", "\u0301"]), min_size=1, max_size=4).map("".join)
lists = st.builds(
    Words,
    st.lists(words, max_size=4).map(tuple),
    st.lists(words, max_size=1).map(tuple),
    st.lists(words, max_size=3).map(tuple),
)


def pieces(text: str, cuts: Iterable[int]) -> list[str]:
    places = [0, *sorted(cuts), len(text)]
    return [text[start:end] for start, end in zip(places, places[1:], strict=False)]


def streamed(listed: Words, deltas: list[str]) -> tuple[str, bool]:
    """Return what comes out of a stream; at every moment it is checked that nothing of a hit has got out."""
    text = "".join(deltas)
    protected = listed.protected(text)
    lexicon = listed.lexicon()
    screen = Screen(lexicon)
    out = ""
    for last, delta in enumerate([*deltas, None]):
        out += screen.flush() if delta is None else screen.feed(delta, lexicon)
        leaked = [at for at, character in enumerate(out) if at in protected and character != "*"]
        assert not leaked, (out, text)
        if screen.blocked:
            break
    return out, screen.blocked


@hypothesis(max_examples=20_000 if SOAK else 400)
@given(lists, texts, st.data())
def test_it_works(listed: Words, text: str, data: st.DataObject) -> None:
    """Streamed in pieces, a text comes out as it does when it is screened as a whole, by the book."""
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    assert streamed(listed, pieces(text, cuts)) == listed.screen(text)


@hypothesis(max_examples=20_000 if SOAK else 400)
@given(lists, texts)
def test_whole_texts(listed: Words, text: str) -> None:
    """The automaton finds in a whole text what trying every word at every place finds."""
    hits = listed.lexicon().find(text)
    cut = min([hit.start for hit in hits if hit.term.blocks], default=len(text))
    shown = masked(text, [(hit.start, hit.end) for hit in hits])[:cut]
    assert (shown, cut < len(text)) == listed.screen(text)
