"""All patterns of a list as one automaton; texts build its states on demand.

A state is the set of positions that one start can have reached; the positions of all patterns stand in one row. Symbols
that no expression tells apart share a class, so a state has few transitions. The number of states is bounded: beyond it
all transitions are forgotten and built again.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from chat.screening.expressions import Chars, Expression, symbols
from chat.screening.folding import FOLDED, LETTERS, MARK, MOST_CACHED, SEPARATOR, Cache
from chat.screening.tracking import Term

# States of one automaton at most; each takes about a kilobyte.
MOST_STATES = 4_000
# Positions that `explore` looks at, at most, and how many cost as much as a transition. A million take half a second.
MOST_EXPLORED = 4_000_000
POSITIONS_PER_TRANSITION = 5
# The class of what stands before and after a text.
NOTHING = -1


class Pattern(NamedTuple):
    """A compiled pattern, and the check of what matches, if it has one."""

    term: Term
    expression: Expression
    check: Callable[[str], bool] | None = None


class State(dict[int, "State | None"]):
    """The next states by the class of the next symbol; None where nothing can follow."""

    __slots__ = ("_automaton", "accepts", "candidates", "ends", "owners", "waits")

    def __init__(
        self, automaton: "Automaton", candidates: Iterable[int], accepts: Sequence[int], waits: Sequence[int]
    ) -> None:
        self.candidates = tuple(candidates)
        # Patterns that match up to here: at once, and if the next symbol may stand after the match.
        self.accepts, self.waits = tuple(accepts), tuple(waits)
        # The patterns that match up to here, by the class of the next symbol.
        self.ends: Cache[int, tuple[int, ...]] = Cache(partial(automaton.ended, self.waits))
        # The patterns that a longer text may still match, and those in `waits`, as bits.
        self.owners = automaton.bits(self.candidates, self.waits)
        self._automaton = automaton

    def __missing__(self, symbol_class: int) -> "State | None":
        following = self[symbol_class] = self._automaton.following(self, symbol_class)
        return following


# Whether the character belongs to what stands before it; its symbols with their classes; whether a pattern may begin.
Character = tuple[bool, tuple[tuple[str, int], ...], bool]


class Automaton:
    """The patterns of one direction; many texts and threads search with it at once."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        # The charset, the followers and the pattern of each position.
        self._charset: list[int] = []
        self._follow: list[tuple[int, ...]] = []
        self._owner: list[int] = []
        self._last: set[int] = set()
        self._first: list[list[int]] = []
        self._charsets: dict[Chars, int] = {}
        self._literals: dict[str, int] = {}
        for number, pattern in enumerate(self.patterns):
            self._add(number, pattern.expression)
        self._before = [self._number(pattern.expression.before) for pattern in self.patterns]
        self._after = [self._number(pattern.expression.after) for pattern in self.patterns]
        # The charsets that contain the symbols of a class.
        self._signatures: dict[int, frozenset[int]] = {NOTHING: frozenset()}
        self._classes: dict[frozenset[int], int] = {}
        self._states: dict[object, State] = {}
        self._starts = {position for first in self._first for position in first}
        self.harmless: set[str] = set()
        self.characters: Cache[str, Character] = Cache(self._character)
        # The state from which a match begins, by the class of the symbol before it.
        self.roots: Cache[int, State] = Cache(self._root)

    def _add(self, number: int, expression: Expression) -> None:
        offset = len(self._charset)
        self._charset += [self._number(chars) for chars in expression.chars]
        self._follow += [tuple(offset + position for position in follow) for follow in expression.follow]
        self._owner += [number] * len(expression.chars)
        self._last |= {offset + position for position in expression.last}
        self._first.append([offset + position for position in expression.first])

    def _number(self, chars: Chars | None) -> int:
        if chars is None:
            return -1
        number = self._charsets.setdefault(chars, len(self._charsets))
        if chars.literal:
            self._literals[chars.literal] = number
        return number

    def _class(self, symbol: str) -> int:
        found = {number for chars, number in self._charsets.items() if not chars.literal and chars.has(symbol)}
        if symbol in self._literals:
            found.add(self._literals[symbol])
        signature = frozenset(found)
        # Another thread may add a class meanwhile: the signature comes first, and `setdefault` decides.
        number = self._classes.get(signature)
        if number is None:
            number = len(self._signatures)
            while self._signatures.setdefault(number, signature) is not signature:
                number += 1
            number = self._classes.setdefault(signature, number)
        return number

    def _character(self, character: str) -> Character:
        kind = FOLDED[character][0]
        found = tuple((symbol, self._class(symbol)) for symbol in symbols(character))
        begins = any(
            self._charset[position] in self._signatures[each] for _symbol, each in found for position in self._starts
        )
        if kind in {LETTERS, SEPARATOR} and not begins and len(self.harmless) < MOST_CACHED:
            self.harmless.add(character)
        return kind == MARK, found, begins

    def _root(self, before: int) -> State:
        signature = self._signatures[before]
        allowed = [number for number, chars in enumerate(self._before) if chars not in signature]
        return self._state(("root", *allowed), (position for number in allowed for position in self._first[number]), ())

    def following(self, state: State, symbol_class: int) -> State | None:
        """Return the state after one more symbol."""
        signature = self._signatures[symbol_class]
        reached = frozenset(position for position in state.candidates if self._charset[position] in signature)
        if not reached:
            return None
        return self._state(
            reached,
            sorted({following for position in reached for following in self._follow[position]}),
            sorted({self._owner[position] for position in reached & self._last}),
        )

    def _state(self, key: object, candidates: Iterable[int], ended: Sequence[int]) -> State:
        found = self._states.get(key)
        if found is None:
            if len(self._states) >= MOST_STATES:
                self._forget()
            accepts = [number for number in ended if self._after[number] < 0]
            waits = [number for number in ended if self._after[number] >= 0]
            found = self._states.setdefault(key, State(self, candidates, accepts, waits))
        return found

    def _forget(self) -> None:
        for state in list(self._states.values()):
            state.clear()
        self._states.clear()
        self.roots.clear()

    def ended(self, waits: Sequence[int], symbol_class: int) -> tuple[int, ...]:
        """Return which of the waiting patterns end before a symbol."""
        signature = self._signatures[symbol_class]
        return tuple(number for number in waits if self._after[number] not in signature)

    def bits(self, candidates: Iterable[int], waits: Iterable[int]) -> int:
        owners = {self._owner[position] for position in candidates} | set(waits)
        return sum(1 << number for number in owners)

    def explore(self, most: int) -> int:
        """Build all states, at most so many; return their number.

        It is also more than `most` where building them would take too long.
        """
        for symbol in {low for chars in self._charsets for low, _high in chars.ranges} | set("a0 _\u4e00-"):
            self._class(symbol)
        waiting = list({id(root): root for root in map(self.roots.__getitem__, list(self._signatures))}.values())
        known, left = set(map(id, waiting)), MOST_EXPLORED
        while waiting and len(known) <= most:
            state = waiting.pop()
            left -= (len(state.candidates) + POSITIONS_PER_TRANSITION) * len(self._signatures)
            if left < 0:
                return most + 1
            for symbol_class in list(self._signatures):
                following = state[symbol_class]
                if following is not None and id(following) not in known:
                    known.add(id(following))
                    waiting.append(following)
        return len(known)
