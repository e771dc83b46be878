r"""Own regular expressions: a subset that costs bounded time and memory whatever the text.

Literals, `.`, `[...]`, `\d \w \s \D \W \S`, groups, `|`, and the repetitions `? * + {n} {n,} {n,m}`. `\b` may stand at
both ends and holds for the whole expression: no Latin letter, digit or `_` beside the match. An expression matches
folded text (`symbols`), so neither width, case, marks nor script matter; every white space is one space.

A parsed expression becomes a Glushkov automaton: one position per character of the expression, repetitions written out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from unicodedata import decimal

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from chat.screening.folding import FOLDED, LETTERS, SEPARATOR

# Characters of a match at most; a longer repetition gives several matches. It bounds the text that a stream holds back.
MOST_MATCH_CHARS = 96
# Positions of one expression at most, with its repetitions written out.
MOST_POSITIONS = 200
# Groups within each other at most.
MOST_DEPTH = 20
_QUANTIFIERS = "?*+{"
_SPECIAL = frozenset(".^$*+?{}[]\\|()")


class NotAnExpression(ValueError):  # noqa: N818
    """The expression is refused; the user sees the reason."""

    def __init__(self, reason: str | Promise) -> None:
        super().__init__(reason)
        self.reason = reason


def symbols(character: str) -> tuple[str, ...]:
    """Return a character's folded letters or symbols; nothing if it is invisible."""
    kind, value = FOLDED[character]
    return tuple(str(decimal(symbol, symbol)) for symbol in value) if kind in {LETTERS, SEPARATOR} else ()


class Chars(NamedTuple):
    """A set of symbols: ranges, and the letters of classes such as `d` for digits."""

    ranges: frozenset[tuple[str, str]] = frozenset()
    classes: frozenset[str] = frozenset()
    negated: bool = False

    def has(self, symbol: str) -> bool:
        found = any(low <= symbol <= high for low, high in self.ranges)
        return (found or any(_in_class(symbol, name) for name in self.classes)) != self.negated

    @property
    def literal(self) -> str:
        """The only symbol, if there is just one."""
        if self.negated or self.classes or len(self.ranges) != 1:
            return ""
        ((low, high),) = self.ranges
        return low if low == high else ""


def _in_class(symbol: str, name: str) -> bool:
    kind = name.lower()
    found = {"d": "0" <= symbol <= "9", "s": symbol == " ", "w": symbol.isalnum() or symbol == "_"}[kind]
    return found != name.isupper()


ANY = Chars(negated=True)
DIGITS = Chars(classes=frozenset("d"))
LATIN_WORD = Chars(frozenset({("a", "z"), ("0", "9"), ("_", "_")}))


class Sequenced(NamedTuple):
    parts: tuple["Node", ...]


class Either(NamedTuple):
    parts: tuple["Node", ...]


class Repeated(NamedTuple):
    part: "Node"
    least: int
    most: int | None


Node = Chars | Sequenced | Either | Repeated


@dataclass(slots=True)
class Expression:
    """A compiled expression: which positions may begin, follow each other, and end a match."""

    chars: list[Chars] = field(default_factory=list)
    follow: list[set[int]] = field(default_factory=list)
    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    # Symbols that may not stand before or after a match.
    before: Chars | None = None
    after: Chars | None = None


def compiled(text: str) -> Expression:
    """Compile an expression; raise NotAnExpression."""
    body, before = (text[2:], LATIN_WORD) if text.startswith("\\b") else (text, None)
    bounded = _ends_with_boundary(body)
    node = _Parser(body[:-2] if bounded else body, offset=len(text) - len(body)).parse()
    if _size(node) > MOST_POSITIONS:
        reason = _("With its repetitions written out this is longer than %(most)s characters.")
        raise NotAnExpression(reason % {"most": MOST_POSITIONS})
    least = _shortest(node)
    if not least:
        raise NotAnExpression(_("This would match an empty text."))
    if least > MOST_MATCH_CHARS:
        raise NotAnExpression(_("A match can have at most %(most)s characters.") % {"most": MOST_MATCH_CHARS})
    expression = Expression(before=before, after=LATIN_WORD if bounded else None)
    _nullable, first, last = _Builder(expression).build(node)
    expression.first, expression.last = frozenset(first), frozenset(last)
    return expression


def _ends_with_boundary(body: str) -> bool:
    """Return whether a text ends with `\\b`, not with a backslash and the letter b."""
    stem = body[:-1].rstrip("\\")
    return body.endswith("\\b") and (len(body) - 1 - len(stem)) % 2 == 1


def _size(node: Node) -> int:
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Repeated):
        return _size(node.part) * max(1, node.least if node.most is None else node.most)
    return sum(map(_size, node.parts))


def _shortest(node: Node) -> int:
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Repeated):
        return _shortest(node.part) * node.least
    lengths = map(_shortest, node.parts)
    return sum(lengths) if isinstance(node, Sequenced) else min(lengths)


class _Parser:
    """A recursive descent; positions in messages count from 1."""

    def __init__(self, text: str, offset: int) -> None:
        self._text, self._at, self._offset, self._depth = text, 0, offset, 0

    def parse(self) -> Node:
        node = self._either()
        if self._at < len(self._text):
            raise self._refusal()
        return node

    def _refusal(self) -> NotAnExpression:
        if self._at >= len(self._text):
            return NotAnExpression(_("The expression ends too early."))
        shown = {"text": self._text[self._at : self._at + 3], "at": self._at + self._offset + 1}
        return NotAnExpression(_("This cannot be used: “%(text)s” (character %(at)s).") % shown)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise self._refusal()
        self._at += 1
        return self._text[self._at - 1]

    def _either(self) -> Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._repeated())
        return parts[0] if len(parts) == 1 else Sequenced(tuple(parts))

    def _repeated(self) -> Node:
        node = self._atom()
        quantifier = self._peek()
        if quantifier and quantifier in _QUANTIFIERS:
            node = Repeated(node, *self._bounds())
            if self._peek() and self._peek() in _QUANTIFIERS:  # lazy, possessive, or a repetition repeated
                raise self._refusal()
        return node

    def _bounds(self) -> tuple[int, int | None]:
        quantifier = self._take()
        if quantifier != "{":
            return {"?": (0, 1), "*": (0, None), "+": (1, None)}[quantifier]
        start = self._at
        end = self._text.find("}", start)
        least, comma, most = self._text[start : end if end >= 0 else start].partition(",")
        numbers = [least, most] if most else [least]
        if not all(number.isascii() and number.isdigit() and len(number) <= 3 for number in numbers):
            raise self._refusal()
        self._at = end + 1
        bounds = int(least), int(most) if most else None if comma else int(least)
        if bounds[1] is not None and not 0 < max(1, bounds[0]) <= bounds[1]:
            self._at = start
            raise self._refusal()
        return bounds

    def _atom(self) -> Node:
        character = self._peek()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == ".":
            self._at += 1
            return ANY
        if character == "\\":
            return self._escape()
        if character in _SPECIAL:
            raise self._refusal()
        self._at += 1
        return self._literal(character)

    def _group(self) -> Node:
        if self._text.startswith("(?:", self._at):
            self._at += 3
        elif self._text.startswith("(?", self._at):
            raise self._refusal()
        else:
            self._at += 1
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise self._refusal()
        node = self._either()
        if self._take() != ")":
            raise self._refusal()
        self._depth -= 1
        return node

    def _literal(self, character: str) -> Node:
        folded = symbols(character)
        if not folded:
            self._at -= 1
            raise self._refusal()
        parts = tuple(Chars(frozenset({(symbol, symbol)})) for symbol in folded)
        return parts[0] if len(parts) == 1 else Sequenced(parts)

    def _escape(self) -> Node:
        name = self._escaped()
        return Chars(classes=frozenset(name[1])) if len(name) == 2 else self._literal(name)

    def _escaped(self) -> str:
        """Take an escape; return its character, or a backslash and the letter of its class."""
        self._at += 1
        name = self._take()
        if name in "dwsDWS":
            return "\\" + name
        if name in "tnrfv":
            return " "
        if name in "xu":
            digits = self._text[self._at : self._at + (2 if name == "x" else 4)]
            if len(digits) == (2 if name == "x" else 4) and all(digit in "0123456789abcdefABCDEF" for digit in digits):
                self._at += len(digits)
                return chr(int(digits, 16))
        elif not name.isalnum():
            return name
        self._at -= 2
        raise self._refusal()

    def _class(self) -> Chars:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges: set[tuple[str, str]] = set()
        classes: set[str] = set()
        start = self._at
        while (character := self._take()) != "]" or self._at == start + 1:
            self._at -= 1
            low = self._escaped() if character == "\\" else self._take()
            if len(low) == 2:
                classes.add(low[1])
                continue
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                high = self._escaped() if self._peek() == "\\" else self._take()
                if len(high) != 1 or high < low:
                    raise self._refusal()
                ranges |= _range(low, high)
            else:
                folded = symbols(low)
                if len(folded) != 1:
                    raise self._refusal()
                ranges.add((folded[0], folded[0]))
        return Chars(frozenset(ranges), frozenset(classes), negated)


def _range(low: str, high: str) -> set[tuple[str, str]]:
    """Return a range, and the one of its folded ends: `A-Z` is `a-z` too."""
    folded = symbols(low), symbols(high)
    if len(folded[0]) == len(folded[1]) == 1 and folded[0] <= folded[1]:
        return {(low, high), (folded[0][0], folded[1][0])}
    return {(low, high)}


# Whether a part may be empty, and the positions that begin and end it.
Fragment = tuple[bool, set[int], set[int]]
EMPTY: Fragment = (True, set(), set())


class _Builder:
    """Writes the positions of a node into an expression."""

    def __init__(self, expression: Expression) -> None:
        self._expression = expression

    def build(self, node: Node) -> Fragment:
        if isinstance(node, Chars):
            position = len(self._expression.chars)
            self._expression.chars.append(node)
            self._expression.follow.append(set())
            return False, {position}, {position}
        if isinstance(node, Repeated):
            return self._repeat(node)
        fragments = [self.build(part) for part in node.parts]
        return self._in_order(fragments) if isinstance(node, Sequenced) else _either(fragments)

    def _in_order(self, fragments: Sequence[Fragment]) -> Fragment:
        nullable, first, last = EMPTY
        for next_nullable, next_first, next_last in fragments:
            for position in last:
                self._expression.follow[position] |= next_first
            first = first | next_first if nullable else first
            last = last | next_last if next_nullable else next_last
            nullable = nullable and next_nullable
        return nullable, first, last

    def _repeat(self, node: Repeated) -> Fragment:
        if node.most is None:
            *copies, (nullable, first, last) = [self.build(node.part) for _copy in range(max(1, node.least))]
            for position in last:
                self._expression.follow[position] |= first
            return self._in_order([*copies, (nullable or not node.least, first, last)])
        # Optional copies stand within each other, so that few positions follow each one.
        optional = EMPTY
        for _copy in range(node.most - node.least):
            _nullable, first, last = self._in_order([self.build(node.part), optional])
            optional = True, first, last
        return self._in_order([*(self.build(node.part) for _copy in range(node.least)), optional])


def _either(fragments: Sequence[Fragment]) -> Fragment:
    return (
        any(nullable for nullable, _first, _last in fragments),
        set().union(*(first for _nullable, first, _last in fragments)),
        set().union(*(last for _nullable, _first, last in fragments)),
    )
