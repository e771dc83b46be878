"""The compiled words of one direction; finds and masks them in whole texts.

Most texts contain no word, so an Aho-Corasick automaton searches their bare letters first, which is fast. Only its
matches are checked against separators, word ends and allowed phrases. The result equals that of a `Tracker` on the same
text; tests compare both.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from ahocorasick_rs import AhoCorasick, Implementation

from chat.screening.folding import CLASS, FOLDED, LETTERS, MARK, NO_END, NO_LETTER, NO_START, SEPARATOR
from chat.screening.folding import letters as letters_of
from chat.screening.tracking import MOST_SEPARATORS, Match, SharedKey, Term, Terms, Tracker, uncovered

T = TypeVar("T")

# Letters per automaton at most. Building one holds the GIL: 4 ms with this many, 100 ms with 50,000 words, which would
# delay streams. Fewer letters make more automata, and each text is searched by every automaton.
AUTOMATON_LETTERS = 10_000
# The compiling thread reads the clock after this many items; after PAUSE_SECONDS of work it sleeps as long. Yielding
# the GIL is not enough, because a thread that wakes up would still wait for it.
ITEMS_PER_CLOCK_READ = 20
PAUSE_SECONDS = 0.001
# Replaces separators that are too many to be skipped; not a folded letter.
BREAK = "\n"
MASK = "*"


def with_pauses(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, sleeping now and then so that other threads can run."""
    since = time.perf_counter()
    for count, item in enumerate(items):
        if count % ITEMS_PER_CLOCK_READ == 0 and time.perf_counter() - since > PAUSE_SECONDS:
            time.sleep(PAUSE_SECONDS)
            since = time.perf_counter()
        yield item


def free_with_pauses(pieces: list[object]) -> None:
    """Drop the last references with pauses, because freeing all at once blocks other threads."""
    for _ in with_pauses(range(len(pieces))):
        pieces.pop()


class Automaton:
    """Search for some thousand plain terms; terms that differ only in spaces share a pattern."""

    __slots__ = ("_automaton", "_terms")

    def __init__(self, patterns: dict[str, Term | SharedKey]) -> None:
        self._terms = list(patterns.values())
        self._automaton = AhoCorasick(patterns, implementation=Implementation.ContiguousNFA, store_patterns=False)

    def finds_any(self, letters: str) -> bool:
        return bool(self._automaton.find_matches_as_indexes(letters))

    def matches(self, letters: "Letters") -> Iterator[Match]:
        """Yield all valid matches, including overlapping ones."""
        for pattern, start, end in self._automaton.find_matches_as_indexes(letters.joined, overlapping=True):
            for term in self._terms[pattern].terms:
                if match := letters.match(term, start, end):
                    yield match


def automata(terms: Iterable[Term]) -> tuple[Automaton, ...]:
    """Compile the plain terms into automata, sleeping in between so that other threads can run."""
    built = []
    patterns: dict[str, Term | SharedKey] = {}
    size = 0
    for term in with_pauses(term for term in terms if term.plain):
        pattern = term.key.replace(" ", "")
        known = patterns.get(pattern)
        patterns[pattern] = SharedKey(pattern, (*known.terms, term)) if known else term
        size += len(term.key)
        if size >= AUTOMATON_LETTERS:
            time.sleep(PAUSE_SECONDS)
            built.append(Automaton(patterns))
            patterns, size = {}, 0
    if patterns:
        built.append(Automaton(patterns))
    return tuple(built)


class Letters:
    """The folded letters of a text, with their positions and preceding separators."""

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
        """Return the match of a term; None if separators or word ends forbid it."""
        letters, after_separator = self.joined, self._after_separator
        before = NO_LETTER if start == 0 or after_separator[start] else CLASS[letters[start - 1]]
        after = NO_LETTER if end == len(letters) or after_separator[end] else CLASS[letters[end]]
        if (before, CLASS[letters[start]]) in NO_START or (CLASS[letters[end - 1]], after) in NO_END:
            return None
        at = start
        for word in term.key.split(" ")[:-1]:
            at += len(word)
            if not after_separator[at]:
                return None
        last = self._origins[end - 1]
        while last + 1 < len(self._text) and FOLDED[self._text[last + 1]][0] == MARK:
            last += 1
        return Match(self._origins[start], last, term)


class Lexicon:
    """The compiled words and phrases of one direction."""

    __slots__ = ("_automata", "_symbolic", "empty", "terms")

    def __init__(self, automata: Sequence[Automaton] = (), terms: Iterable[Term] = ()) -> None:
        """Take all `terms`, and `automata` of the plain ones, which both directions may share."""
        self._automata = tuple(automata)
        self.terms, self._symbolic = Terms(), Terms()
        self.empty = True
        for term in with_pauses(terms):
            self.empty = self.empty and not term.id
            self.terms.add(term)
            if not term.plain:
                self._symbolic.add(term)

    def pieces(self) -> list[object]:
        """Return its parts, each small, for `free_with_pauses`."""
        return [*self._automata, *self.terms.root.values(), *self._symbolic.root.values()]

    def find(self, text: str) -> list[Match]:
        """Return all hits in text order, including overlapping ones."""
        if self.empty:
            return []
        bare = letters_of(text)
        matches: list[Match] = []
        if finding := [automaton for automaton in self._automata if automaton.finds_any(bare)]:
            letters = Letters(text)
            for automaton in finding:
                matches += automaton.matches(letters)
        symbols = self._symbolic.symbols
        if symbols and any(not symbols.isdisjoint(FOLDED[character][1]) for character in set(text)):
            tracker = Tracker(self._symbolic)
            tracker.go(text, 0)
            tracker.end()
            matches += tracker.found
        return uncovered(matches)


def masked(text: str, ranges: Iterable[Match | tuple[int, int]]) -> str:
    """Replace the characters of each match or (first, last) range with the mask."""
    characters = list(text)
    for each in ranges:
        first, behind = max(0, each[0]), min(len(characters), each[1] + 1)
        if first < behind:
            characters[first:behind] = MASK * (behind - first)
    return "".join(characters)
