"""The words that count in one direction, compiled; finds and masks them in whole texts.

Almost every text has none of them, so an automaton looks at its bare letters first, which is the work of a moment. Only
where that finds something, what it found is held against separators, ends of words and allowed phrases. What is found
is exactly what a `Tracker` finds that goes through the same text; the tests hold the two against each other.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from ahocorasick_rs import AhoCorasick, Implementation

from chat.screening.folding import CLASS, FOLDED, LETTERS, MARK, NO_END, NO_LETTER, NO_START, SEPARATOR
from chat.screening.folding import letters as letters_of
from chat.screening.tracking import MOST_SEPARATORS, Match, Several, Term, Terms, Tracker, uncovered

T = TypeVar("T")

# The automaton's library holds Python still while it builds: with 50,000 words for a tenth of a second, with so many
# letters for four milliseconds, which streams do not feel. Fewer letters make more automata, and texts go through each.
AUTOMATON_LETTERS = 10_000
# Elsewhere the compiling thread looks at the clock after so many words, and when it has worked for so long it sleeps
# for as long: only to offer others their turn is not enough, they must find nobody in the way when they wake.
LOOK_EVERY = 20
TURN_SECONDS = 0.001
# Stands where separators are too many to be skipped; no folded letter.
BREAK = "\n"
MASK = "*"


def in_turns(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, and let other threads of this process have their turn in between."""
    since = time.perf_counter()
    for count, item in enumerate(items):
        if count % LOOK_EVERY == 0 and time.perf_counter() - since > TURN_SECONDS:
            time.sleep(TURN_SECONDS)
            since = time.perf_counter()
        yield item


def let_go(pieces: list[object]) -> None:
    """Drop pieces that nobody else has any more, and let other threads have their turn in between.

    To free a hundred thousand objects at once would keep all others waiting.
    """
    for _ in in_turns(range(len(pieces))):
        pieces.pop()


class Automaton:
    """Some thousand plain terms; terms of the same letters, which differ in their spaces, share a pattern."""

    __slots__ = ("_automaton", "_terms")

    def __init__(self, patterns: dict[str, Term | Several]) -> None:
        self._terms = list(patterns.values())
        self._automaton = AhoCorasick(patterns, implementation=Implementation.ContiguousNFA, store_patterns=False)

    def finds_any(self, letters: str) -> bool:
        return bool(self._automaton.find_matches_as_indexes(letters))

    def matches(self, letters: "Letters") -> Iterator[Match]:
        """Yield all terms that are where they may be, overlapping ones too."""
        for pattern, start, end in self._automaton.find_matches_as_indexes(letters.joined, overlapping=True):
            for term in self._terms[pattern].terms:
                if match := letters.match(term, start, end):
                    yield match


def automata(terms: Iterable[Term]) -> tuple[Automaton, ...]:
    """Compile the plain ones among the terms, in pieces between which other threads get their turn."""
    built = []
    patterns: dict[str, Term | Several] = {}
    size = 0
    for term in in_turns(term for term in terms if term.plain):
        pattern = term.key.replace(" ", "")
        known = patterns.get(pattern)
        patterns[pattern] = Several(pattern, (*known.terms, term)) if known else term
        size += len(term.key)
        if size >= AUTOMATON_LETTERS:
            time.sleep(TURN_SECONDS)
            built.append(Automaton(patterns))
            patterns, size = {}, 0
    if patterns:
        built.append(Automaton(patterns))
    return tuple(built)


class Letters:
    """The folded letters of a text with what stands before each, and where each came from."""

    __slots__ = ("_after_separator", "_origins", "_text", "joined")

    def __init__(self, text: str) -> None:
        self._text = text
        found: list[str] = []
        origins: list[int] = []
        after_separator: list[bool] = []
        separators = 0
        for at, character in enumerate(text):
            kind, value = FOLDED[character]
            if kind == LETTERS:
                if separators > MOST_SEPARATORS:
                    value = BREAK + value
                for letter in value:
                    found.append(letter)
                    origins.append(at)
                    after_separator.append(separators > 0)
                    separators = separators if letter is BREAK else 0
            elif kind == SEPARATOR:
                separators += 1
        self._origins, self._after_separator, self.joined = origins, after_separator, "".join(found)

    def match(self, term: Term, start: int, end: int) -> Match | None:
        """Return the match of a term whose letters these are; None where it may not stand."""
        if not (self._may_start(start) and self._may_end(end) and self._has_spaces(term, start)):
            return None
        last = self._origins[end - 1]
        while last + 1 < len(self._text) and FOLDED[self._text[last + 1]][0] == MARK:
            last += 1
        return Match(self._origins[start], last, term)

    def _may_start(self, start: int) -> bool:
        before = NO_LETTER if start == 0 or self._after_separator[start] else CLASS[self.joined[start - 1]]
        return (before, CLASS[self.joined[start]]) not in NO_START

    def _may_end(self, end: int) -> bool:
        last = end == len(self.joined) or self._after_separator[end]
        after = NO_LETTER if last else CLASS[self.joined[end]]
        return (CLASS[self.joined[end - 1]], after) not in NO_END

    def _has_spaces(self, term: Term, start: int) -> bool:
        if " " not in term.key:
            return True
        at = start
        for character in term.key:
            if character != " ":
                at += 1
            elif not self._after_separator[at]:
                return False
        return True


class Lexicon:
    """The words and phrases of one direction."""

    __slots__ = ("_automata", "_symbolic", "empty", "terms")

    def __init__(self, automata: Sequence[Automaton] = (), terms: Iterable[Term] = ()) -> None:
        """`automata` hold the plain ones among `terms`: other directions may share them."""
        self._automata = tuple(automata)
        self.terms, self._symbolic = Terms(), Terms()
        self.empty = True
        for term in in_turns(terms):
            self.empty = self.empty and not term.id
            self.terms.add(term)
            if not term.plain:
                self._symbolic.add(term)

    def pieces(self) -> list[object]:
        """Return what it consists of, each piece small: see `let_go`."""
        return [*self._automata, *self.terms.root.values(), *self._symbolic.root.values()]

    def find(self, text: str) -> list[Match]:
        """Return all hits, in the order of the text; overlapping ones each."""
        if self.empty:
            return []
        bare = letters_of(text)
        matches: list[Match] = []
        if finding := [automaton for automaton in self._automata if automaton.finds_any(bare)]:
            letters = Letters(text)
            for automaton in finding:
                matches += automaton.matches(letters)
        if self._has_symbols(text):
            matches += self._with_symbols(text)
        return uncovered(matches)

    def _has_symbols(self, text: str) -> bool:
        symbols = self._symbolic.symbols
        return bool(symbols) and any(not symbols.isdisjoint(FOLDED[character][1]) for character in set(text))

    def _with_symbols(self, text: str) -> list[Match]:
        tracker = Tracker(self._symbolic)
        tracker.go(text, 0)
        tracker.end()
        return tracker.found


def masked(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Replace each character from the first to the last of each place."""
    characters = list(text)
    for start, end in places:
        first, behind = max(0, start), min(len(characters), end + 1)
        if first < behind:
            characters[first:behind] = MASK * (behind - first)
    return "".join(characters)
