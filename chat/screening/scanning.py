"""Finding patterns symbol by symbol: matches, and starts that may become one.

Each pattern is searched for alone, from left to right: the match that begins first counts, in its greatest length that
the pattern, its check and the symbols beside it allow; the search goes on behind it. None of this depends on how the
text was split. Invisible characters within a match belong to it, marks after it too.

The work is counted in steps. A text that needs far more of them than ordinary texts do is searched no further, and
counts as blocked from its first undecided character. Only its characters decide that, never time or how it was split.
"""

import structlog

from chat.screening.automaton import NOTHING, Automaton, State
from chat.screening.expressions import MOST_MATCH_CHARS
from chat.screening.tracking import TOO_COSTLY, Match

log = structlog.get_logger("screening")

# Symbols after which those are dropped that no start needs.
MOST_SYMBOLS = 1_000

# Steps that a text may take for each of its characters, and as many for so many characters more. One is a start that
# meets a symbol, or a pattern that ends there; it takes less than a microsecond.
MOST_STEPS = 16
SPARE_CHARS = 8_000
# Steps of a check, such as a sum of digits.
CHECK_STEPS = 8
# The number in `found` of what is no pattern: `TOO_COSTLY`.
GIVEN_UP = -1

# A place is a position and, in its last PLACE_BITS, the number of the symbol there: "ﬁ" has two. No character folds to
# more than eighteen.
PLACE_BITS = 5
# A start that may lead to a match: its place, the index of its first symbol, and its state.
Start = tuple[int, int, State]


class Steps:
    """Count the work for texts that are searched one after the other."""

    __slots__ = ("before", "is_logged", "taken")

    def __init__(self) -> None:
        self.taken = 0
        # Characters of the texts before the current one.
        self.before = SPARE_CHARS
        self.is_logged = False

    def exceed(self, at: int) -> bool:
        """Return whether these are too many at this position of the current text."""
        return self.taken > MOST_STEPS * (self.before + at)


class PatternTracker:
    """Search one text, forward only; the interface is that of `tracking.Tracker`.

    `alive` are the starts, in order. `found` has the chosen matches of each pattern, in order, without overlaps; those
    before `undecided_from` are final.
    """

    __slots__ = ("_automaton", "_before", "_end", "_reach", "_steps", "_symbols", "alive", "found", "harmless")

    # Matches that wait for the next symbol are among `alive`.
    waiting = ()

    def __init__(self, automaton: Automaton, steps: Steps | None = None) -> None:
        self._automaton = automaton
        self._steps = steps or Steps()
        self.harmless = automaton.harmless
        # The class of the last symbol, and where it ends, with its marks.
        self._before = self._end = NOTHING
        self._symbols: list[str] = []
        self.alive: list[Start] = []
        self.found: dict[int, list[tuple[int, int]]] = {}
        # The ends of the last matches that were taken.
        self._reach: dict[int, int] = {}

    def resume(self, last: str) -> None:
        """Pass over a text in which nothing begins, with this last character."""
        self._before = self._automaton.characters[last][1][-1][1]

    def go(self, text: str, at: int) -> int:
        """Search a piece of text that starts at position `at`; return the position after it."""
        characters, roots = self._automaton.characters, self._automaton.roots
        until = at + len(text)
        if GIVEN_UP in self.found:
            return until
        for character in text:
            is_mark, symbols, begins = characters[character]
            if begins or (self.alive and symbols):
                for place, (symbol, symbol_class) in enumerate(symbols, at << PLACE_BITS):
                    if self.alive:
                        if self._steps.exceed(at):
                            return self._give_up(until)
                        self._follow(symbol, symbol_class, place)
                    elif (begun := roots[self._before][symbol_class]) is not None:
                        self._symbols = [symbol]
                        self._begin(begun, place, 1, 0)
                    self._before, self._end = symbol_class, at
            elif symbols:
                self._before = symbols[-1][1]
            elif is_mark:
                self._mark(at)
            at += 1
        return at

    def _give_up(self, until: int) -> int:
        """Search no further, because the text costs too much."""
        start = self.alive[0][0]
        self.found[GIVEN_UP], self.alive = [(start, until - 1)], []
        if not self._steps.is_logged:
            self._steps.is_logged = True
            log.warning("text costs too much to search for patterns", position=start >> PLACE_BITS)
        return until

    def _follow(self, symbol: str, symbol_class: int, place: int) -> None:
        """Go on with one more symbol, while there are starts."""
        if len(self._symbols) > MOST_SYMBOLS:
            self._forget_symbols()
        going, self.alive = self.alive, []
        self._steps.taken += len(going)
        symbols, alive = self._symbols, self.alive
        symbols.append(symbol)
        length = len(symbols)
        # The patterns that an earlier start has just matched: what begins within that match is none of them.
        covered = now = 0
        for start, first, state in going:
            if covered and not state.owners & ~covered:
                continue
            if state.waits:
                covered |= self._choose(state.ends[symbol_class], start, first, -1, self._end)
            following = state[symbol_class]
            if following is None or length - first > MOST_MATCH_CHARS:
                continue
            if following.accepts:
                now |= self._choose(following.accepts, start, first, length, place >> PLACE_BITS)
                covered |= now
            if following.owners:
                alive.append((start, first, following))
        if (begun := self._automaton.roots[self._before][symbol_class]) is not None:
            self._begin(begun, place, length, now)

    def _begin(self, begun: State, place: int, length: int, now: int) -> None:
        """Begin with the last symbol, unless a match has just reached it."""
        if begun.accepts:
            self._choose(begun.accepts, place, length - 1, length, place >> PLACE_BITS)
        if begun.owners & ~now:
            self.alive.append((place, length - 1, begun))

    def _forget_symbols(self) -> None:
        """Drop the symbols before the first start."""
        dropped = self.alive[0][1]
        del self._symbols[:dropped]
        self.alive = [(start, first - dropped, state) for start, first, state in self.alive]

    def _choose(self, numbers: tuple[int, ...], start: int, first: int, last: int, end: int) -> int:
        """Choose a match of these patterns from the place `start` to the position `end`.

        Return which of them have it, as bits. The check gets the symbols from `first` to `last`. A match that begins
        within an earlier one is none.
        """
        matched = 0
        for number in numbers:
            check = self._automaton.patterns[number].check
            self._steps.taken += CHECK_STEPS if check else 1
            if check and not check("".join(self._symbols[first:last])):
                continue
            chosen = self.found.get(number, [])
            place = len(chosen)
            while place and chosen[place - 1][0] > start:
                place -= 1
            if place and chosen[place - 1][0] == start:
                place -= 1
            elif (chosen[place - 1][1] if place else self._reach.get(number, NOTHING)) >= start >> PLACE_BITS:
                continue
            chosen[place:] = [(start, end)]
            self.found[number] = chosen
            matched |= 1 << number
        return matched

    def _mark(self, at: int) -> None:
        """Extend the matches that end just before a combining mark."""
        if self._end == at - 1:
            self._end = at
        for chosen in self.found.values():
            if chosen and chosen[-1][1] == at - 1:
                chosen[-1] = chosen[-1][0], at

    def end(self) -> None:
        """Accept the matches that wait for the next symbol, because the text ends."""
        symbols, covered = self._symbols, 0
        for start, first, state in self.alive:
            if state.owners & ~covered and state.waits:
                covered |= self._choose(state.ends[NOTHING], start, first, len(symbols), self._end)
        self.alive = []

    def undecided_from(self, otherwise: int) -> int:
        """Return the first position that may become part of another match, else `otherwise`."""
        return min(otherwise, self.alive[0][0] >> PLACE_BITS) if self.alive else otherwise

    def taken(self, until: int) -> list[Match]:
        """Remove and return the matches that begin before a position."""
        taken = []
        for number, chosen in list(self.found.items()):
            term = TOO_COSTLY if number == GIVEN_UP else self._automaton.patterns[number].term
            before = [match for match in chosen if match[0] >> PLACE_BITS < until]
            taken += [Match(start >> PLACE_BITS, end, term) for start, end in before]
            if before:
                self._reach[number] = before[-1][1]
            if len(before) == len(chosen):
                del self.found[number]
            else:
                self.found[number] = chosen[len(before) :]
        return taken
