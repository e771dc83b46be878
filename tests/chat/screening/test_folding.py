"""Characters are folded one by one; what is the same to a reader is folded alike, however it was typed."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from chat.screening import folding
from chat.screening.folding import (
    FOLDED,
    INVISIBLE,
    LETTERS,
    MARK,
    MOST_INVISIBLE,
    SEPARATOR,
    invisible_at_end,
    is_plain,
    key,
    letters,
    shortened,
)
from chat.screening.simplified import SIMPLIFIED, TRADITIONAL

# All of the basic plane and of the next one that is no ideograph or Korean syllable; some of those.
CODES = (*range(0x3400), *range(0x3400, 0xD800, 13), *range(0xF900, 0x1F800), *range(0x20000, 0x323B0, 100))
CHARACTERS = [chr(code) for code in CODES]


@pytest.mark.parametrize(
    ("character", "kind", "value"),
    [
        *(("A", LETTERS, "a"), ("Ａ", LETTERS, "a"), ("é", LETTERS, "e"), ("ß", LETTERS, "ss"), ("ﬁ", LETTERS, "fi")),
        *(
            ("㎏", LETTERS, "kg"),
            ("①", LETTERS, "1"),
            ("臺", LETTERS, "台"),
            ("著", LETTERS, "着"),
            ("が", LETTERS, "か"),
        ),
        *(("⑴", LETTERS, "1"), ("ŉ", LETTERS, "n"), ("한", LETTERS, "\u1112\u1161\u11ab")),
        *((" ", SEPARATOR, " "), ("\n", SEPARATOR, " "), ("\u3000", SEPARATOR, " "), ("\x85", SEPARATOR, " ")),
        *(("，", SEPARATOR, ","), ("…", SEPARATOR, "..."), ("’", SEPARATOR, "'"), ("—", SEPARATOR, "-")),
        *(("😀", SEPARATOR, "😀"), ("\ue000", SEPARATOR, "\ue000"), ("\ud800", SEPARATOR, "\ud800")),
        *(("\u0301", MARK, ""), ("\ufe0f", MARK, ""), ("\u20dd", MARK, ""), ("\uff9e", MARK, "")),
        *(("\u200b", INVISIBLE, ""), ("\u00ad", INVISIBLE, ""), ("\u3164", INVISIBLE, ""), ("\x00", INVISIBLE, "")),
        *(("\x08", INVISIBLE, ""), ("\U000e0041", INVISIBLE, ""), ("\u2065", INVISIBLE, "")),
    ],
)
def test_it_works(character: str, kind: int, value: str) -> None:
    """Each kind of character is what it is said to be."""
    assert FOLDED[character] == (kind, value)


def test_nothing_is_left_to_fold() -> None:
    """Folded letters are folded to themselves, so that words and texts may be folded as often as one likes."""
    values = {value for character in CHARACTERS for kind, value in [folding._fold(character)] if kind == LETTERS}
    assert {value for value in values if letters(value) != value} == set()


def test_composed_or_not() -> None:
    """A character and the same one in parts have the same letters, Korean syllables included."""
    different = {
        character
        for character in CHARACTERS
        if letters(unicodedata.normalize("NFD", character)) != letters(character)
        or letters(unicodedata.normalize("NFC", character)) != letters(character)
    }
    assert different == set()


def test_upper_or_lower() -> None:
    """Case does not count; where a Greek letter's mark becomes a letter of its own by it, it does."""
    different = {
        character
        for character in CHARACTERS
        if letters(character.upper()) != letters(character) or letters(character.lower()) != letters(character)
    }
    assert {character for character in different if "GEGRAMMENI" not in unicodedata.name(character)} <= {"ı"}


def test_the_table() -> None:
    """The table knows some thousand characters, ends its own chains, and is one character for one."""
    table = dict(zip(TRADITIONAL, SIMPLIFIED, strict=True))
    assert len(table) == len(TRADITIONAL) > 4000
    assert not set(TRADITIONAL) & set(SIMPLIFIED)
    for traditional, simplified in zip("臺灣獨體國產個這隻後裡", "台湾独体国产个这只后里", strict=True):
        assert table.get(traditional) == simplified


@hypothesis(max_examples=50)
@given(st.text(max_size=30), st.integers(0, 30))
def test_cuts(text: str, at: int) -> None:
    """A text that is cut folds to the same letters as the whole of it."""
    assert letters(text[:at]) + letters(text[at:]) == letters(text)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        *(
            ("  The  Rapist ", "the rapist"),
            ("台 湾", "台湾"),
            ("AV 女优", "av女优"),
            ("第 9 条", "第9条"),
            ("1 2", "1 2"),
        ),
        *(("C++", "c++"), ("+ +", "++"), ("t . me", "t.me"), ("Hell’s", "hell's"), ("rock–n—roll", "rock-n-roll")),
        *(("\u200b\u3164\u0301", ""), (" \n", ""), ("…", "..."), ("e\u0301te\u0301", "ete")),
    ],
)
def test_keys(word: str, wanted: str) -> None:
    """The key of a word has its letters and symbols, and spaces only where Latin words need them."""
    assert key(word) == wanted
    assert is_plain(wanted) == all(character.isalnum() or character == " " for character in wanted)


def test_short_texts_are_left_alone() -> None:
    """Runs of invisible characters are cut where they are too long, and nowhere else."""
    longest = "\u200b" * MOST_INVISIBLE
    for text in ("", "abc" * 500, f"a{longest}b{longest}c", "e\u0301" * 500):
        assert shortened(text) == text
    assert shortened(f"a{longest}\u0301\u200bb\u200b") == f"a{longest}b\u200b"
    assert shortened(longest, 10) == longest[10:]
    assert shortened("\u200ba\u200b", MOST_INVISIBLE) == "a\u200b"
    assert [invisible_at_end(text, 5) for text in ("a", "\u200b\u0301", "a\u200b", "")] == [0, 7, 1, 5]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of a million different characters does not fill the memory."""
    table = folding._Table()
    for code in range(0, sys.maxunicode, 20):
        table[chr(code)]
    assert len(table) == 50_000
