"""Trying a text in the admin: its hits, and the results in both directions."""

from itertools import groupby
from typing import Any

from django.urls import reverse

from chat.screening import edits
from chat.screening.automaton import Automaton
from chat.screening.lexicon import Lexicon
from chat.screening.live import Words, compiled_pattern
from chat.screening.models import SensitivePattern, SensitiveWord
from chat.screening.tracking import Match

_MODELS: dict[str, Any] = {"word": SensitiveWord, "pattern": SensitivePattern}


def try_text(text: str, words: Words) -> dict[str, Any]:
    """Screen a text in both directions for the template, without storing anything.

    `pieces` are the text in order, each with whether it is part of a hit; an outcome's `text` is what would be shown.
    """
    incoming, outgoing = words.incoming.find(text), words.outgoing.find(text)
    hits = sorted({*incoming, *outgoing})
    rows = {
        (source, row.pk): row
        for source, model in _MODELS.items()
        for row in model.objects.in_bulk({hit.term.id for hit in hits if hit.term.source == source}).values()
    }
    refused = any(hit.term.blocks for hit in incoming)
    end = min((hit.start for hit in outgoing if hit.term.blocks), default=len(text))
    return {
        "pieces": _pieces(text, hits),
        "found": [
            {
                "row": row,
                "page": reverse(f"admin:chat_{row._meta.model_name}_change", args=[row.pk]),
                "text": text[hit.start : hit.end + 1],
                "start": hit.start,
            }
            for hit in hits
            if (row := rows.get((hit.term.source, hit.term.id)))
        ],
        "outcomes": [
            {"direction": "input", "blocked": refused, "text": "" if refused else edits.screened(text, incoming)},
            {"direction": "output", "blocked": end < len(text), "text": edits.applied(edits.of(outgoing), text[:end])},
        ],
    }


def try_pattern(row: SensitivePattern, text: str) -> dict[str, Any]:
    """Return what a pattern, which may not be stored yet, finds in a text."""
    pattern = compiled_pattern(row)
    hits = Lexicon(patterns=Automaton([pattern])).find(text) if pattern else []
    return {"pieces": _pieces(text, hits), "found": hits, "outcomes": []}


def _pieces(text: str, hits: list[Match]) -> list[tuple[str, bool]]:
    places = {at for hit in hits for at in range(hit.start, hit.end + 1)}
    return [("".join(text[at] for at in run), hit) for hit, run in groupby(range(len(text)), places.__contains__)]
