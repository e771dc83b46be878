"""Trying a text in the admin: its hits, and the results in both directions."""

from dataclasses import dataclass

from chat.screening.lexicon import Lexicon, masked
from chat.screening.live import Words
from chat.screening.models import SensitiveWord
from chat.screening.tracking import Match


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
    hits = sorted({*words.incoming.find(text), *words.outgoing.find(text)})
    rows = SensitiveWord.objects.in_bulk({hit.term.id for hit in hits})
    found = [Found(rows[hit.term.id], text[hit.start : hit.end + 1], hit.start) for hit in hits if hit.term.id in rows]
    outcomes = [_as_prompt(words.incoming, text), _as_completion(words.outgoing, text)]
    return Trial(_pieces(text, hits), found, outcomes)


def _as_prompt(lexicon: Lexicon, text: str) -> Outcome:
    hits = lexicon.find(text)
    blocked = any(hit.term.blocks for hit in hits)
    return Outcome("input", blocked, "" if blocked else masked(text, [hit[:2] for hit in hits]))


def _as_completion(lexicon: Lexicon, text: str) -> Outcome:
    hits = lexicon.find(text)
    cut = min([hit.start for hit in hits if hit.term.blocks], default=len(text))
    return Outcome("output", cut < len(text), masked(text, [hit[:2] for hit in hits])[:cut])


def _pieces(text: str, hits: list[Match]) -> list[tuple[str, bool]]:
    hit_places = {at for hit in hits for at in range(hit.start, hit.end + 1)}
    pieces: list[tuple[str, bool]] = []
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or (at in hit_places) != (start in hit_places):
            pieces.append((text[start:at], start in hit_places))
            start = at
    return pieces
