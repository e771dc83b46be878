"""Finding words in a text that comes character by character: what has been found, and what may yet become something.

A word is found where its characters stand in order with at most MOST_SEPARATORS separators between two of them, and where
it may begin and end (`folding.NO_START`, `NO_END`). Allowed phrases are found in the same way.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from chat.screening.folding import CLASS, NO_END, NO_LETTER, NO_START, OPEN_ENDED, is_plain

MOST_SEPARATORS = 4


class Term(NamedTuple):
    """A sensitive word as it counts, or, with the id 0, an allowed phrase."""

    key: str
    id: int = 0
    blocks: bool = False


class Match(NamedTuple):
    """Where a term was found: its first and its last character."""

    start: int
    end: int
    term: Term


class Terms:
    """All terms of one direction in order, so that what begins with a given text is found by bisection.

    Prefixes kept one by one would be several times as many strings as there are terms.
    """

    __slots__ = ("_by_first", "spaced", "symbols", "terms")

    def __init__(self) -> None:
        # A word may be an allowed phrase too, which then covers it wherever it stands: hence more than one for a key.
        self.terms: dict[str, tuple[Term, ...]] = {}
        self._by_first: dict[str, list[str]] = {}
        self.symbols: set[str] = set()
        self.spaced = False

    def add(self, term: Term) -> None:
        known = self.terms.get(term.key, ())
        if not known:
            self._by_first.setdefault(term.key[0], []).append(term.key)
        self.terms[term.key] = (*known, term)
        self.spaced = self.spaced or " " in term.key
        if not is_plain(term.key):
            self.symbols |= {character for character in term.key if character != " "}

    def sort(self) -> None:
        """Put in order what was added; to be called once, before anything is looked up."""
        for keys in self._by_first.values():
            keys.sort()

    def begins(self, character: str) -> bool:
        return character in self._by_first

    def look_up(self, text: str) -> tuple[tuple[Term, ...], bool]:
        """Return the terms that `text` is, and whether a longer one begins with it."""
        keys = self._by_first.get(text[0])
        if keys is None:
            return (), False
        at = bisect_left(keys, text)
        if at == len(keys) or not keys[at].startswith(text):
            return (), False
        if keys[at] != text:
            return (), True
        return self.terms[text], at + 1 < len(keys) and keys[at + 1].startswith(text)


class Tracker:
    """Goes through one text, a folded letter or separator at a time, and never back.

    `found` is for the caller to take from. What is `waiting` is complete, but the next character decides whether it ends
    there. What is `alive` may yet become something: where it began, what of it has come, and the count of separators then.
    """

    __slots__ = ("_before", "_separators", "_terms", "alive", "found", "waiting")

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._before = NO_LETTER
        self._separators = 0
        self.alive: list[tuple[int, str, int]] = []
        self.waiting: list[Match] = []
        self.found: list[Match] = []

    def letter(self, letter: str, at: int) -> None:
        """Go on with a folded letter; `at` is the place of its character."""
        kind, terms = CLASS[letter], self._terms
        if self.waiting:
            if (self._before, kind) not in NO_END:
                self.found += self.waiting
            self.waiting = []
        going, self.alive = self.alive, []
        for start, text, _separators in going:
            self._extend(start, text + letter, at)
        if terms.begins(letter) and (self._before, kind) not in NO_START:
            self._extend(at, letter, at)
        if terms.symbols:  # two ways to the same place
            self.alive = list(dict.fromkeys(self.alive))
        self._before = kind

    def separator(self, symbol: str, at: int) -> None:
        """Go on with a separator, which may be skipped, or be a part of a term that has symbols."""
        self.end()
        terms = self._terms
        self._separators += 1
        going, self.alive = self.alive, []
        taken = symbol[0] in terms.symbols
        for start, text, separators in going:
            skipped = self._separators - separators
            if skipped <= MOST_SEPARATORS:
                self.alive.append((start, text, separators))
                if skipped == 1 and terms.spaced and terms.look_up(text + " ")[1]:
                    self.alive.append((start, text + " ", separators))
            if taken:
                self._extend(start, text + symbol, at)
        if taken:
            self._extend(at, symbol, at)
            self.alive = list(dict.fromkeys(self.alive))

    def mark(self, at: int) -> None:
        """Go on with a combining mark: it belongs to what ends just before it."""
        for matches in (self.waiting, self.found):
            for index, match in enumerate(matches):
                if match.end == at - 1:
                    matches[index] = match._replace(end=at)

    def end(self) -> None:
        """Let the text end here, or a separator come: what was waiting ends here too."""
        if self.waiting:
            self.found += self.waiting
            self.waiting = []
        self._before = NO_LETTER

    def undecided_from(self, otherwise: int) -> int:
        """Return the place of the first character that may yet be a part of something; `otherwise` if there is none."""
        # Both lists are in the order of their beginnings.
        begun = self.alive[0][0] if self.alive else otherwise
        return min(begun, self.waiting[0].start) if self.waiting else begun

    def _extend(self, start: int, text: str, at: int) -> None:
        terms, more = self._terms.look_up(text)
        if more:
            self.alive.append((start, text, self._separators))
        if terms:
            open_ended = CLASS[text[-1]] in OPEN_ENDED
            (self.waiting if open_ended else self.found).extend(Match(start, at, term) for term in terms)


def uncovered(matches: Iterable[Match]) -> list[Match]:
    """Return the words among the matches that lie within no allowed phrase among them, in the order of the text."""
    hits = []
    reach = -1
    # Phrases first where places are equal: they cover what begins with them.
    for match in sorted(set(matches), key=lambda match: (match.start, match.term.id != 0, match.end, match.term.id)):
        if not match.term.id:
            reach = max(reach, match.end)
        elif match.end > reach:
            hits.append(match)
    return hits
