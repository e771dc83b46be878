"""The compiled words and patterns of one direction; finds them in whole texts.

Most texts contain no word, so an Aho-Corasick automaton searches their bare letters first, which is fast. Only its
matches are checked against separators, word ends and allowed phrases. The result equals that of a `Tracker` on the same
text; tests compare both.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from ahocorasick_rs import AhoCorasick, Implementation

from chat.screening.automaton import Automaton as Patterns
from chat.screening.folding import CLASS, FOLDED, LETTERS, MARK, NO_END, NO_LETTER, NO_START, SEPARATOR
from chat.screening.folding import letters as letters_of
from chat.screening.scanning import PatternTracker, Steps
from chat.screening.tracking import MOST_SEPARATORS, Match, SharedKey, Term, Terms, Tracker, uncovered

T = TypeVar("T")


class Costs(defaultdict[Patterns, Steps]):
    """The work of patterns for texts that belong together, such as those of one call.

    Otherwise many short texts could cost more than a long one.
    """

    def __init__(self) -> None:
        super().__init__(Steps)


# Letters per automaton at most. Building one holds the GIL: 4 ms with this many, 100 ms with 50,000 words, which would
# delay streams. Fewer letters make more automata, and each text is searched by every automaton.
AUTOMATON_LETTERS = 10_000
# The compiling thread reads the clock after this many items; after PAUSE_SECONDS of work it sleeps as long. Yielding
# the GIL is not enough, because a thread that wakes up would still wait for it.
ITEMS_PER_CLOCK_READ = 20
PAUSE_SECONDS = 0.001
# Replaces separators that are too many to be skipped; not a folded letter.
BREAK = "\n"


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


class Part:
    """Words and phrases that are compiled once, with the patterns beside them."""

    __slots__ = ("_automata", "_symbolic", "empty", "patterns", "terms")

    def __init__(self, automata: Sequence[Automaton], terms: Iterable[Term], patterns: Patterns | None) -> None:
        self._automata = tuple(automata)
        self.terms, self._symbolic = Terms(), Terms()
        self.patterns = patterns
        self.empty = patterns is None
        for term in with_pauses(terms):
            self.empty = self.empty and not term.id
            self.terms.add(term)
            if not term.plain:
                self._symbolic.add(term)

    def pieces(self) -> list[object]:
        """Return what it consists of, in small pieces, for `free_with_pauses`."""
        return [*self._automata, *self.terms.root.values(), *self._symbolic.root.values()]

    def matches(self, text: str, bare: str, costs: Costs) -> Iterator[Match]:
        """Yield the matches in a text, whose bare letters are given."""
        if finding := [automaton for automaton in self._automata if automaton.finds_any(bare)]:
            letters = Letters(text)
            for automaton in finding:
                yield from automaton.matches(letters)
        symbols = self._symbolic.symbols
        if symbols and any(not symbols.isdisjoint(FOLDED[character][1]) for character in set(text)):
            tracker = Tracker(self._symbolic)
            tracker.go(text, 0)
            tracker.end()
            yield from tracker.found
        if self.patterns and not self.patterns.harmless.issuperset(text):
            steps = costs[self.patterns]
            scanner = PatternTracker(self.patterns, steps)
            scanner.go(text, 0)
            scanner.end()
            steps.before += len(text)
            yield from scanner.taken(len(text))


class Lexicon:
    """The compiled words and patterns of one direction: general ones, and those for groups."""

    __slots__ = ("empty", "harmless", "parts")

    def __init__(
        self, automata: Sequence[Automaton] = (), terms: Iterable[Term] = (), patterns: Patterns | None = None
    ) -> None:
        """Take all `terms`, and `automata` of the plain ones, which both directions may share."""
        self._use(Part(automata, terms, patterns))

    def _use(self, *parts: Part) -> None:
        self.parts = parts
        self.empty = all(part.empty for part in parts)
        # No hit begins in a text whose characters are in all of these sets.
        words = [part.terms.harmless for part in parts if part.terms.root]
        self.harmless = (*words, *(part.patterns.harmless for part in parts if part.patterns))

    @classmethod
    def joined(cls, lexicons: "Iterable[Lexicon]") -> "Lexicon":
        """Return one with the parts of several; nothing is compiled or copied."""
        lexicon = cls.__new__(cls)
        lexicon._use(*(part for each in lexicons for part in each.parts))
        return lexicon

    def pieces(self) -> list[object]:
        """Return its parts, each small, for `free_with_pauses`."""
        return [piece for part in self.parts for piece in part.pieces()]

    def trackers(self) -> "tuple[Tracker | PatternTracker, ...]":
        """Return what searches a new text character by character."""
        words = [Tracker(part.terms) for part in self.parts if part.terms.root]
        return *words, *(PatternTracker(part.patterns) for part in self.parts if part.patterns)

    def find(self, text: str, costs: Costs | None = None) -> list[Match]:
        """Return all hits in text order, including overlapping ones.

        `costs` counts texts that belong together.
        """
        if self.empty or not text:
            return []
        bare, costs = letters_of(text), Costs() if costs is None else costs
        return uncovered(match for part in self.parts for match in part.matches(text, bare, costs))

    @property
    def has_patterns(self) -> bool:
        return any(part.patterns for part in self.parts)
