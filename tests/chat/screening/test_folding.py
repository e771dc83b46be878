"""chat/screening/folding.py: characters fold one by one, and equal-looking text folds alike."""

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

# All characters of the first two planes, with a sample of the ideographs and Korean syllables.
CODES = (*range(0x3400), *range(0x3400, 0xD800, 13), *range(0xF900, 0x1F800), *range(0x20000, 0x323B0, 100))
CHARACTERS = [chr(code) for code in CODES]


@pytest.mark.contract("words in every disguise")
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
def test_kinds_of_characters(character: str, kind: int, value: str) -> None:
    """Each kind of character folds as documented."""
    assert FOLDED[character] == (kind, value)


def test_folding_is_idempotent() -> None:
    """Folded letters fold to themselves."""
    values = {value for character in CHARACTERS for kind, value in [folding._fold(character)] if kind == LETTERS}
    assert {value for value in values if letters(value) != value} == set()


def test_composed_or_not() -> None:
    """A composed character and its parts have the same letters, Korean syllables included."""
    different = {
        character
        for character in CHARACTERS
        if letters(unicodedata.normalize("NFD", character)) != letters(character)
        or letters(unicodedata.normalize("NFC", character)) != letters(character)
    }
    assert different == set()


def test_upper_or_lower() -> None:
    """Case is ignored, except where it turns a Greek mark into a letter."""
    different = {
        character
        for character in CHARACTERS
        if letters(character.upper()) != letters(character) or letters(character.lower()) != letters(character)
    }
    assert {character for character in different if "GEGRAMMENI" not in unicodedata.name(character)} <= {"ı"}


def test_the_table_of_simplified_characters() -> None:
    """The table has thousands of single characters and contains no chains."""
    table = dict(zip(TRADITIONAL, SIMPLIFIED, strict=True))
    assert len(table) == len(TRADITIONAL) > 4000
    assert not set(TRADITIONAL) & set(SIMPLIFIED)
    for traditional, simplified in zip("臺灣獨體國產個這隻後裡", "台湾独体国产个这只后里", strict=True):
        assert table.get(traditional) == simplified


@hypothesis(max_examples=50)
@given(st.text(max_size=30), st.integers(0, 30))
def test_splitting_changes_nothing(text: str, at: int) -> None:
    """The parts of a text fold to the same letters as the whole."""
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
    """A key has letters and symbols, and spaces only between Latin words or numbers."""
    assert key(word) == wanted
    assert is_plain(wanted) == all(character.isalnum() or character == " " for character in wanted)


def test_only_long_invisible_runs_are_shortened() -> None:
    """Only runs of invisible characters that are too long are shortened."""
    longest = "\u200b" * MOST_INVISIBLE
    for text in ("", "abc" * 500, f"a{longest}b{longest}c", "e\u0301" * 500):
        assert shortened(text) == text
    assert shortened(f"a{longest}\u0301\u200bb\u200b") == f"a{longest}b\u200b"
    assert shortened(longest, 10) == longest[10:]
    assert shortened("\u200ba\u200b", MOST_INVISIBLE) == "a\u200b"
    assert [invisible_at_end(text, 5) for text in ("a", "\u200b\u0301", "a\u200b", "")] == [0, 7, 1, 5]


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of a million different characters does not fill the memory."""
    table = folding.Cache(folding._fold)
    for code in range(0, sys.maxunicode, 20):
        table[chr(code)]
    assert len(table) == 50_000
