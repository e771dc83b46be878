"""A slow and simple search for patterns to compare with: it tries every start and every end with Python's `re`.

Like `oracle` it uses the product's folding and nothing else of it but the bounds.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from chat.screening.automaton import Automaton, Pattern
from chat.screening.expressions import MOST_MATCH_CHARS, compiled
from chat.screening.folding import FOLDED, LETTERS, MARK, SEPARATOR
from chat.screening.lexicon import Lexicon, automata
from chat.screening.tracking import Term, term
from tests.chat.screening import oracle

# The first and the last character.
Place = tuple[int, int]


class Rule(NamedTuple):
    """A word or an expression, as an operator enters it; `check` stands for a checksum."""

    text: str
    action: str
    is_word: bool = True
    check: Callable[[str], bool] | None = None

    @property
    def replacement(self) -> str:
        return f"<{self.text}>" if self.action == "replace" else ""

    def places(self, text: str) -> Iterable[Place]:
        return oracle.places(text, oracle.folding.key(self.text)) if self.is_word else list(self._found(text))

    def _found(self, text: str) -> Iterator[Place]:
        row = [
            (symbol, at)
            for at, character in enumerate(text)
            if FOLDED[character][0] in {LETTERS, SEPARATOR}
            for symbol in FOLDED[character][1]
        ]
        folded = "".join(symbol for symbol, _at in row)
        wanted, behind = re.compile(self.text, re.DOTALL), -1
        for first in range(len(row)):
            if row[first][1] <= behind:
                continue
            for last in range(min(len(row), first + MOST_MATCH_CHARS), first, -1):
                found = wanted.fullmatch(folded[first:last])
                if found and self._stands(folded, first, last) and (not self.check or self.check(found[0])):
                    behind = row[last - 1][1]
                    while behind + 1 < len(text) and FOLDED[text[behind + 1]][0] == MARK:
                        behind += 1
                    yield row[first][1], behind
                    break

    def _stands(self, folded: str, first: int, last: int) -> bool:
        before, after = folded[first - 1 : first] if first else "", folded[last : last + 1]
        return not (
            (self.text.startswith(r"\b") and re.match(r"[a-z0-9_]", before))
            or (self.text.endswith(r"\b") and re.match(r"[a-z0-9_]", after))
        )


class Rules(NamedTuple):
    """A list with all actions, and allowed phrases."""

    rules: tuple[Rule, ...]
    phrases: tuple[str, ...] = ()

    def lexicon(self) -> Lexicon:
        terms = [term(oracle.folding.key(phrase)) for phrase in self.phrases]
        patterns = []
        for number, rule in enumerate(self.rules, 1):
            if rule.is_word:
                terms.append(term(oracle.folding.key(rule.text), number, rule.action, "", rule.replacement))
            else:
                found = Term("", False, number, rule.action, "", rule.replacement, "pattern")
                patterns.append(Pattern(found, compiled(rule.text), rule.check))
        return Lexicon(automata(terms), terms, Automaton(patterns) if patterns else None)

    def hits(self, text: str) -> list[tuple[Place, Rule]]:
        """Return all hits that no phrase covers, in the order in which they keep their characters."""
        covered = [place for phrase in self.phrases for place in oracle.places(text, oracle.folding.key(phrase))]
        found = [
            ((start, end), rule)
            for rule in self.rules
            for start, end in rule.places(text)
            if not any(first <= start and end <= last for first, last in covered)
        ]
        # Equal places in the order of the product: replacements first, then patterns, then in the order of the list.
        number = {id(rule): place for place, rule in enumerate(self.rules)}
        return sorted(
            found,
            key=lambda hit: (hit[0][0], -hit[0][1], hit[1].action != "replace", hit[1].is_word, number[id(hit[1])]),
        )

    def screen(self, text: str) -> tuple[str, bool]:
        """Return what may be shown of a text, and whether something blocks it."""
        hits = [hit for hit in self.hits(text) if hit[1].action != "flag"]
        cut = min((place[0] for place, rule in hits if rule.action == "block"), default=len(text))
        shown, before = "", None
        for at in range(cut):
            owner = next((hit for hit in hits if hit[0][0] <= at <= hit[0][1]), None)
            if owner is None:
                shown += text[at]
            elif owner[1].action != "replace":
                shown += "*"
            elif owner is not before:
                shown += owner[1].replacement
            before = owner
        return shown, cut < len(text)
