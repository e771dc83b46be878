"""Finding words character by character: complete matches, and prefixes that may become one.

A word matches if its characters follow each other with at most MOST_SEPARATORS separators between two of them, and if
it may begin and end there (`folding.NO_START`, `NO_END`). Allowed phrases match in the same way.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from chat.screening.folding import (
    CLASS,
    FOLDED,
    LETTERS,
    MARK,
    MOST_CACHED,
    NO_END,
    NO_LETTER,
    NO_START,
    OPEN_ENDED,
    SEPARATOR,
    TRAILING,
    Cache,
    is_plain,
)
from chat.screening.found import Found

MOST_SEPARATORS = 4
# NO_START by the class of the right letter.
NO_START_AFTER = tuple(
    frozenset(left for left, right in NO_START if right == letter_class) for letter_class in range(TRAILING + 1)
)


class Term(NamedTuple):
    """A sensitive word, a pattern, or an allowed phrase if `id` is 0.

    It is `plain` without symbols. A pattern has no key. Each word is one object, because more of them lengthen the
    garbage collector's pauses.
    """

    key: str
    plain: bool
    id: int = 0
    action: str = "mask"
    category: str = ""
    replacement: str = ""
    source: str = "word"

    @property
    def terms(self) -> tuple["Term", ...]:
        return (self,)

    @property
    def blocks(self) -> bool:
        return self.action == "block"

    @property
    def hides(self) -> bool:
        """Whether no character of its hits may be shown."""
        return self.action != "flag"

    @property
    def found(self) -> Found:
        return Found(self.source, self.id, self.category, self.action)


# The hit of a text whose search for patterns costs too much; it lies from the first undecided character to the end.
TOO_COSTLY = Term("", False, -2, "block", "costly", source="pattern")


def term(key: str, row_id: int = 0, action: str = "mask", category: str = "", replacement: str = "") -> Term:
    return Term(key, is_plain(key), row_id, action, category, replacement)


class Match(NamedTuple):
    """A term and the positions of its first and last character."""

    start: int
    end: int
    term: Term


class SharedKey(NamedTuple):
    """Terms that have the same key."""

    key: str
    terms: tuple[Term, ...]


# A node of a compressed trie: the next character leads to the next node or, where only one key is left, to its Term or
# SharedKey; "" leads to the terms that end here. One node per character would make ten times as many objects, and each
# one lengthens the pauses of the garbage collector.
Node = dict[str, Any]
# A first letter: the node to continue from, if any; the terms that it completes; the classes of letters after which no
# term may begin with it.
First = tuple[Any, tuple[Term, ...], frozenset[int]]


class Terms:
    """The terms of one direction as a trie, searched character by character."""

    __slots__ = ("characters", "harmless", "root", "spaced", "symbols")

    def __init__(self) -> None:
        self.root: Node = {}
        self.symbols: set[str] = set()
        # The characters so far that no term begins with, marks apart, which belong to what stands before them.
        self.harmless: set[str] = set()
        # Everything about a character in one lookup: folding, letter class, and what it begins. Because long lists
        # spend most of their time on memory access, one lookup is faster than three.
        self.characters = Cache(partial(_character, self.root, self.symbols, self.harmless))
        self.spaced = False

    def add(self, term: Term) -> None:
        """Add a term; a word that is also an allowed phrase never matches."""
        key = term.key
        self.spaced = self.spaced or " " in key
        if not term.plain:
            self.symbols.update(character for character in key if character != " ")
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
                    node[step] = SharedKey(key, (*there.terms, term))
                    return
                there = node[step] = {there.key[depth : depth + 1]: there}
            node = there


def _character(root: Node, symbols: set[str], harmless: set[str], character: str) -> tuple[int, str, int, First | None]:
    kind, value = FOLDED[character]
    letter = value if kind == LETTERS and len(value) == 1 else ""
    first = (*_landed(root[letter], 1), NO_START_AFTER[CLASS[letter]]) if letter in root else None
    if len(harmless) < MOST_CACHED and (first is None if letter else kind == SEPARATOR and value[0] not in symbols):
        harmless.add(character)
    return kind, value, CLASS[letter], first


def _landed(node: Any, depth: int) -> tuple[Any, tuple[Term, ...]]:
    """Return the node to continue from, if any, and the terms that end here."""
    if type(node) is not dict:
        return (None, node.terms) if depth == len(node.key) else (node, ())
    ended = node.get("")
    if ended is None:
        return node, ()
    return (node if len(node) > 1 else None), ended.terms


# A prefix of a term: its start, its node, the number of characters of its key so far, and the tracker's count of
# separators at that point.
Prefix = tuple[int, Any, int, int]


class Tracker:
    """Search one text, forward only.

    The caller may remove matches from `found`. Those in `waiting` are complete, but the next character decides whether
    they end there. `alive` holds the prefixes that may still become matches.
    """

    __slots__ = ("_before", "_separators", "_terms", "alive", "found", "harmless", "waiting")

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.harmless = terms.harmless
        self._before = NO_LETTER
        self._separators = 0
        self.alive: list[Prefix] = []
        self.waiting: list[Match] = []
        self.found: list[Match] = []

    def resume(self, last: str) -> None:
        """Pass over a text in which nothing begins; `last` is its end."""
        # The separators in it need not be counted: only those after the beginning of a prefix matter.
        self._before = self._terms.characters[last][2]

    def go(self, text: str, at: int) -> int:
        """Search a piece of text that starts at position `at`; return the position after it."""
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
                for letter in value:  # several letters, such as those of ﬁ
                    self.go(letter, at)
            elif kind == MARK:
                self._mark(at)
            at += 1
        return at

    def _begin(self, first: First, at: int) -> None:
        node, ended, _barred = first
        if node is not None:
            self.alive.append((at, node, 1, self._separators))
        if ended:
            self._complete(ended, at, at)

    def end(self) -> None:
        """Accept the waiting matches, because the text ends or a separator follows."""
        if self.waiting:
            self.found += self.waiting
            self.waiting = []
        self._before = NO_LETTER

    def undecided_from(self, otherwise: int) -> int:
        """Return the first position that may become part of a match, else `otherwise`."""
        # Both lists are ordered by start.
        start = min(otherwise, self.alive[0][0]) if self.alive else otherwise
        return min(start, self.waiting[0].start) if self.waiting else start

    def _letter(self, letter: str, letter_class: int, at: int) -> None:
        if self.waiting:
            if (self._before, letter_class) not in NO_END:
                self.found += self.waiting
            self.waiting = []
        going, self.alive = self.alive, []
        for start, node, depth, _separators in going:
            # Most prefixes end here, so this check is inlined.
            if type(node) is dict:
                if (following := node.get(letter)) is not None:
                    self._land(start, following, depth + 1, at, self._separators)
            elif node.key.startswith(letter, depth):
                self._land(start, node, depth + 1, at, self._separators)
        if self._terms.symbols:
            self._merge_equal()

    def _separator(self, symbol: str, at: int) -> None:
        """Skip a separator, or extend the prefixes of terms that contain it as a symbol."""
        self.end()
        self._separators += 1
        taken = symbol[0] in self._terms.symbols
        going = self.alive
        if not going and not taken:
            return
        self.alive = []
        for prefix in going:
            start, node, depth, separators = prefix
            skipped = self._separators - separators
            if skipped <= MOST_SEPARATORS:
                self.alive.append(prefix)
                if skipped == 1 and self._terms.spaced:
                    self._step(start, node, depth, " ", at, separators)
            if taken:
                self._step(start, node, depth, symbol, at, self._separators)
        if taken:
            self._step(at, self._terms.root, 0, symbol, at, self._separators)
            self._merge_equal()

    def _merge_equal(self) -> None:
        """Drop equal prefixes: skipping a separator and matching it may lead to the same node."""
        self.alive = list({(prefix[0], id(prefix[1]), *prefix[2:]): prefix for prefix in self.alive}.values())

    def _mark(self, at: int) -> None:
        """Extend the matches that end just before a combining mark."""
        for matches in (self.waiting, self.found):
            for index, match in enumerate(matches):
                if match.end == at - 1:
                    matches[index] = match._replace(end=at)

    def _step(self, start: int, node: Any, depth: int, text: str, at: int, separators: int) -> None:
        """Follow a text, mostly one character, from a node; keep the result."""
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
        """Keep a prefix that can continue, and the matches that end here."""
        following, ended = _landed(node, depth)
        if following is not None:
            self.alive.append((start, following, depth, separators))
        if ended:
            self._complete(ended, start, at)

    def _complete(self, terms: tuple[Term, ...], start: int, at: int) -> None:
        # All these terms have the same key.
        open_ended = CLASS[terms[0].key[-1]] in OPEN_ENDED
        (self.waiting if open_ended else self.found).extend(Match(start, at, term) for term in terms)


def uncovered(matches: Iterable[Match]) -> list[Match]:
    """Return the matched words and patterns that no matched phrase covers, in text order.

    No phrase covers a text that costs too much, because its rest is unknown.
    """
    hits = []
    reach = -1
    # At the same start phrases come first, because they cover words that start with them.
    for match in sorted(set(matches), key=_order):
        if not match.term.id:
            reach = max(reach, match.end)
        elif match.end > reach or match.term is TOO_COSTLY:
            hits.append(match)
    return hits


def _order(match: Match) -> tuple[object, ...]:
    return match.start, match.term.id != 0, match.end, match.term.source, match.term.id


def widest(phrases: Iterable[Match]) -> list[Match]:
    """Return the phrases that lie inside no other: they cover the same characters."""
    found: list[Match] = []
    for match in sorted(phrases, key=lambda match: (match.start, -match.end)):
        if not found or match.end > found[-1].end:
            found.append(match)
    return found
