"""Finding words in a text that comes character by character: what has been found, and what may yet become something.

A word is found where its characters stand in order with at most MOST_SEPARATORS separators between two of them, and
where it may begin and end (`folding.NO_START`, `NO_END`). Allowed phrases are found in the same way.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from chat.screening.folding import (
    CLASS,
    FOLDED,
    LETTERS,
    MARK,
    NO_END,
    NO_LETTER,
    NO_START,
    OPEN_ENDED,
    SEPARATOR,
    TRAILING,
    is_plain,
)

MOST_SEPARATORS = 4
# The same as NO_START, by the class of the right one.
NO_START_AFTER = tuple(
    frozenset(left for left, right in NO_START if right == letter_class) for letter_class in range(TRAILING + 1)
)
# What a list of words remembers of characters is bounded.
MOST_CHARACTERS = 50_000


class Term(NamedTuple):
    """A sensitive word as it counts, or, with the id 0, an allowed phrase; `plain` if it has letters only."""

    key: str
    plain: bool
    id: int = 0
    blocks: bool = False

    @property
    def terms(self) -> tuple["Term", ...]:
        return (self,)


def term(key: str, row_id: int = 0, *, blocks: bool = False) -> Term:
    return Term(key, is_plain(key), row_id, blocks)


class Match(NamedTuple):
    """Where a term was found: its first and its last character."""

    start: int
    end: int
    term: Term


class Several(NamedTuple):
    """The terms of one key, where it has more than one."""

    key: str
    terms: tuple[Term, ...]


# Where a key can be followed from: by the next character to the next node, or, where only one key is left, to what it
# is: a term, or several. Under "" stands what ends here. A node for every character would be ten times as many of them,
# and each object more is one more for the garbage collector to look at, for which all others wait.
Node = dict[str, Any]
# What a first letter leads to: where it can be followed from, if at all, the terms that it is, and after which classes
# of letters nothing may begin with it.
First = tuple[Any, tuple[Term, ...], frozenset[int]]


class Terms:
    """All terms of one direction, to be followed character by character."""

    __slots__ = ("characters", "root", "spaced", "symbols")

    def __init__(self) -> None:
        self.root: Node = {}
        self.characters = Characters(self.root)
        self.symbols: set[str] = set()
        self.spaced = False

    def add(self, term: Term) -> None:
        """Take in a term; a word may be an allowed phrase too, which then covers it wherever it stands."""
        key = term.key
        self.spaced = self.spaced or " " in key
        if not term.plain:
            self.symbols |= {character for character in key if character != " "}
        node, depth = self.root, 0
        while True:
            step = key[depth : depth + 1]
            there = node.get(step)
            if there is None:
                node[step] = term
                return
            depth += 1
            if type(there) is not dict:
                if there.key == key:
                    node[step] = Several(key, (*there.terms, term))
                    return
                there = node[step] = {there.key[depth : depth + 1]: there}
            node = there


class Characters(dict[str, tuple[int, str, int, First | None]]):
    """All that is to be known of a character at once: how it is folded, to what class of letter, and what it begins.

    One look instead of three: where words are many, most of the time goes into waiting for memory.
    """

    def __init__(self, root: Node) -> None:
        super().__init__()
        self._root = root

    def __missing__(self, character: str) -> tuple[int, str, int, First | None]:
        kind, value = FOLDED[character]
        letter = value if kind == LETTERS and len(value) == 1 else ""
        known = (kind, value, CLASS[letter], self._first(letter) if letter in self._root else None)
        if len(self) < MOST_CHARACTERS:
            self[character] = known
        return known

    def _first(self, letter: str) -> First:
        return *_landed(self._root[letter], 1), NO_START_AFTER[CLASS[letter]]


def _landed(node: Any, depth: int) -> tuple[Any, tuple[Term, ...]]:
    """Return from where to follow on, None where nothing does, and the terms that end here."""
    if type(node) is not dict:
        return (None, node.terms) if depth == len(node.key) else (node, ())
    ended = node.get("")
    if ended is None:
        return node, ()
    return (node if len(node) > 1 else None), ended.terms


# What may yet become something: where it began, where it stands, how many characters of its key have come, and the
# count of separators then.
Begun = tuple[int, Any, int, int]


class Tracker:
    """Goes through one text, and never back.

    `found` is for the caller to take from. What is `waiting` is complete, but the next character decides whether it
    ends there. What is `alive` may yet become something.
    """

    __slots__ = ("_before", "_separators", "_terms", "alive", "found", "waiting")

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._before = NO_LETTER
        self._separators = 0
        self.alive: list[Begun] = []
        self.waiting: list[Match] = []
        self.found: list[Match] = []

    def go(self, text: str, at: int) -> int:
        """Go through a piece of text whose first character has the place `at`; return the place behind its last."""
        characters = self._terms.characters
        for character in text:
            kind, value, letter_class, first = characters[character]
            if letter_class:
                if self.alive or self.waiting:
                    self._letter(value, letter_class, at)
                if first is not None and self._before not in first[2]:
                    self._begin(first, at)
                self._before = letter_class
            elif kind == SEPARATOR:
                self._separator(value, at)
            elif kind == LETTERS:
                for letter in value:
                    self._one_of_several(letter, at)
            elif kind == MARK:
                self._mark(at)
            at += 1
        return at

    def _one_of_several(self, letter: str, at: int) -> None:
        """Go on with one of the letters of a character."""
        _kind, _value, letter_class, first = self._terms.characters[letter]
        self._letter(letter, letter_class, at)
        if first is not None and self._before not in first[2]:
            self._begin(first, at)
        self._before = letter_class

    def _begin(self, first: First, at: int) -> None:
        """Let begin what begins with a letter."""
        node, ended, _barred = first
        if node is not None:
            self.alive.append((at, node, 1, self._separators))
        if ended:
            self._complete(ended, at, at)

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

    def _letter(self, letter: str, letter_class: int, at: int) -> None:
        """Go on with a letter from what has begun earlier."""
        if self.waiting:
            if (self._before, letter_class) not in NO_END:
                self.found += self.waiting
            self.waiting = []
        going, self.alive = self.alive, []
        for start, node, depth, _separators in going:
            # Almost all end here: they are not worth a call.
            if type(node) is dict:
                if (following := node.get(letter)) is not None:
                    self._land(start, following, depth + 1, at, self._separators)
            elif node.key.startswith(letter, depth):
                self._land(start, node, depth + 1, at, self._separators)
        if self._terms.symbols:
            self._join_ways()

    def _separator(self, symbol: str, at: int) -> None:
        """Go on with a separator, which may be skipped, or be a part of a term that has symbols."""
        self.end()
        self._separators += 1
        taken = symbol[0] in self._terms.symbols
        going = self.alive
        if not going and not taken:
            return
        self.alive = []
        for begun in going:
            start, node, depth, separators = begun
            skipped = self._separators - separators
            if skipped <= MOST_SEPARATORS:
                self.alive.append(begun)
                if skipped == 1 and self._terms.spaced:
                    self._step(start, node, depth, " ", at, separators)
            if taken:
                self._step(start, node, depth, symbol, at, self._separators)
        if taken:
            self._step(at, self._terms.root, 0, symbol, at, self._separators)
            self._join_ways()

    def _join_ways(self) -> None:
        """Where separators may be skipped or be a part of something, several ways lead to the same place: keep one."""
        self.alive = list({(begun[0], id(begun[1]), *begun[2:]): begun for begun in self.alive}.values())

    def _mark(self, at: int) -> None:
        """Go on with a combining mark: it belongs to what ends just before it."""
        for matches in (self.waiting, self.found):
            for index, match in enumerate(matches):
                if match.end == at - 1:
                    matches[index] = match._replace(end=at)

    def _step(self, start: int, node: Any, depth: int, text: str, at: int, separators: int) -> None:
        """Follow from a node by a text, mostly one character; keep where that leads, and what ends there."""
        for character in text:
            if type(node) is dict:
                node = node.get(character)
                if node is None:
                    return
            elif not node.key.startswith(character, depth):
                return
            depth += 1
        self._land(start, node, depth, at, separators)

    def _land(self, start: int, node: Any, depth: int, at: int, separators: int) -> None:
        """Keep from where to follow on, and what ends here."""
        if type(node) is not dict:
            if depth < len(node.key):
                self.alive.append((start, node, depth, separators))
            else:
                self._complete(node.terms, start, at)
            return
        ended = node.get("")
        if ended is None:
            self.alive.append((start, node, depth, separators))
            return
        if len(node) > 1:
            self.alive.append((start, node, depth, separators))
        self._complete(ended.terms, start, at)

    def _complete(self, terms: tuple[Term, ...], start: int, at: int) -> None:
        # All of them have the same key.
        open_ended = CLASS[terms[0].key[-1]] in OPEN_ENDED
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


def widest(phrases: Iterable[Match]) -> list[Match]:
    """Return the phrases that lie within no other one: these cover all that the others do."""
    found: list[Match] = []
    for match in sorted(phrases, key=lambda match: (match.start, -match.end)):
        if not found or match.end > found[-1].end:
            found.append(match)
    return found
