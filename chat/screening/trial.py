"""Trying a text in the admin: its hits, and the results in both directions."""

from dataclasses import dataclass
from itertools import groupby

from chat.screening.lexicon import masked
from chat.screening.live import Words
from chat.screening.models import SensitiveWord


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result in one direction; `text` is what would be shown."""

    direction: str
    blocked: bool
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """A hit: the word, where it starts, and the matching text."""

    word: SensitiveWord
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Trial:
    """`pieces`: the text in order, each piece with whether it is part of a hit."""

    pieces: list[tuple[str, bool]]
    found: list[Found]
    outcomes: list[Outcome]


def try_text(text: str, words: Words) -> Trial:
    """Screen a text in both directions without storing anything."""
    incoming, outgoing = words.incoming.find(text), words.outgoing.find(text)
    hits = sorted({*incoming, *outgoing})
    rows = SensitiveWord.objects.in_bulk({hit.term.id for hit in hits})
    found = [Found(rows[hit.term.id], text[hit.start : hit.end + 1], hit.start) for hit in hits if hit.term.id in rows]
    refused = any(hit.term.blocks for hit in incoming)
    end = min((hit.start for hit in outgoing if hit.term.blocks), default=len(text))
    outcomes = [
        Outcome("input", refused, "" if refused else masked(text, incoming)),
        Outcome("output", end < len(text), masked(text, outgoing)[:end]),
    ]
    places = {at for hit in hits for at in range(hit.start, hit.end + 1)}
    pieces = [("".join(text[at] for at in run), hit) for hit, run in groupby(range(len(text)), places.__contains__)]
    return Trial(pieces, found, outcomes)
