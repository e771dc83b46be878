"""Trying a text in the admin: its hits, and the results in both directions."""

from itertools import groupby
from typing import Any

from chat.screening.lexicon import masked
from chat.screening.live import Words
from chat.screening.models import SensitiveWord


def try_text(text: str, words: Words) -> dict[str, Any]:
    """Screen a text in both directions for the template, without storing anything.

    `pieces` are the text in order, each with whether it is part of a hit; an outcome's `text` is what would be shown.
    """
    incoming, outgoing = words.incoming.find(text), words.outgoing.find(text)
    hits = sorted({*incoming, *outgoing})
    rows = SensitiveWord.objects.in_bulk({hit.term.id for hit in hits})
    refused = any(hit.term.blocks for hit in incoming)
    end = min((hit.start for hit in outgoing if hit.term.blocks), default=len(text))
    places = {at for hit in hits for at in range(hit.start, hit.end + 1)}
    return {
        "pieces": [
            ("".join(text[at] for at in run), hit) for hit, run in groupby(range(len(text)), places.__contains__)
        ],
        "found": [
            {"word": rows[hit.term.id], "text": text[hit.start : hit.end + 1], "start": hit.start}
            for hit in hits
            if hit.term.id in rows
        ],
        "outcomes": [
            {"direction": "input", "blocked": refused, "text": "" if refused else masked(text, incoming)},
            {"direction": "output", "blocked": end < len(text), "text": masked(text, outgoing)[:end]},
        ],
    }
