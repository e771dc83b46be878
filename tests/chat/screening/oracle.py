"""A slow and simple screening to compare with: it tries every word at every position of the whole text.

It uses the product's folding, which has its own tests; the rest is written independently, from the contract.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chat.screening import folding
from chat.screening.folding import DIGIT, FOLDED, LATIN, LEADING, LETTERS, MARK, SEPARATOR, TRAILING, VOWEL
from chat.screening.lexicon import Lexicon, automata
from chat.screening.tracking import Term, term


class Unit(NamedTuple):
    """A folded letter or a separator, and the position of its character."""

    text: str
    at: int
    separator: bool


def units(text: str) -> list[Unit]:
    found = []
    for at, character in enumerate(text):
        kind, value = FOLDED[character]
        if kind == LETTERS:
            found += [Unit(letter, at, False) for letter in value]
        elif kind == SEPARATOR:
            found.append(Unit(value, at, True))
    return found


def kind(unit: Unit | None) -> int:
    return folding.NO_LETTER if unit is None or unit.separator else folding.CLASS[unit.text]


def is_whole_word(row: list[Unit], first: int, last: int) -> bool:
    """Whether no Latin word, number or Korean syllable is cut at either end."""
    before = kind(row[first - 1] if first else None)
    after = kind(row[last + 1] if last + 1 < len(row) else None)
    left, right = kind(row[first]), kind(row[last])
    cut_latin = (left == LATIN and before in {LATIN, DIGIT}) or (right == LATIN and after in {LATIN, DIGIT})
    cut_number = (left == DIGIT and before == DIGIT) or (right == DIGIT and after == DIGIT)
    syllable = [(LEADING, VOWEL), (VOWEL, TRAILING)]
    return not (cut_latin or cut_number or (before, left) in syllable or (right, after) in syllable)


def ends(row: list[Unit], key: str, at: int, skipped: int, first: bool) -> Iterator[int]:
    """Yield the positions at which `key` may end if its next character is searched from `at`."""
    if not key:
        yield at - 1
        return
    needs_space = key[0] == " "
    wanted = key[1:] if needs_space else key
    if at < len(row) and wanted.startswith(row[at].text) and not (needs_space and not skipped):
        yield from ends(row, wanted.removeprefix(row[at].text), at + 1, 0, False)
    if at < len(row) and row[at].separator and not first and skipped < 4:
        yield from ends(row, key, at + 1, skipped + 1, False)


def places(text: str, key: str) -> set[tuple[int, int]]:
    """Return the ranges of all matches of a key, including combining marks at the end."""
    row = units(text)
    found = set()
    for first in range(len(row)):
        for last in ends(row, key, first, 0, True):
            if is_whole_word(row, first, last):
                end = row[last].at
                while end + 1 < len(text) and FOLDED[text[end + 1]][0] == MARK:
                    end += 1
                found.add((row[first].at, end))
    return found


class Words(NamedTuple):
    """A list of words as an operator enters it."""

    masking: tuple[str, ...] = ()
    blocking: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    def terms(self) -> list[Term]:
        words = [*((word, "mask") for word in self.masking), *((word, "block") for word in self.blocking)]
        keys = [(folding.key(word), action) for word, action in words]
        numbered = [term(key, number, action) for number, (key, action) in enumerate(keys, 1) if key]
        return [*numbered, *(term(folding.key(phrase)) for phrase in self.phrases if folding.key(phrase))]

    def lexicon(self) -> Lexicon:
        return lexicon(self.terms())

    def screen(self, text: str) -> tuple[str, bool]:
        """Return what may be shown of a text, and whether a word blocks it."""
        hits, cut = [], len(text)
        covered = [place for one in self.terms() if not one.id for place in places(text, one.key)]
        for one in self.terms():
            for start, end in places(text, one.key) if one.id else ():
                if any(first <= start and end <= last for first, last in covered):
                    continue
                hits.append((start, end))
                if one.blocks:
                    cut = min(cut, start)
        stars = {at for start, end in hits for at in range(start, end + 1)}
        return "".join("*" if at in stars else text[at] for at in range(cut)), cut < len(text)

    def protected(self, text: str) -> set[int]:
        """Return the positions of all characters of hits."""
        shown, _ended = Words((*self.masking, *self.blocking), (), self.phrases).screen(text)
        return {at for at, character in enumerate(shown) if character != text[at]}


def lexicon(terms: Iterable[Term]) -> Lexicon:
    kept = list(terms)
    return Lexicon(automata(kept), kept)
