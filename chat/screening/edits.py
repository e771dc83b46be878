"""Apply the actions of hits to a text, as edits of its places.

Of hits that overlap, the one that begins first keeps its characters, of two that begin together the longer one; then a
replacement comes before a mask. Another hit has the rest: a mask is one `*` for each of its own characters, a
replacement stands where its own first character was. A hit that lies within another one leaves no trace.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from chat.screening.tracking import Match

MASK = "*"


class Edit(NamedTuple):
    """The first and last character of a place, and its new text; None masks."""

    start: int
    end: int
    text: str | None = None


def add(edits: list[Edit], hits: Iterable[Match]) -> None:
    """Add the edits of hits, none of which begins before those that are there."""
    for hit in sorted((hit for hit in hits if hit.term.hides), key=_order):
        replacement = hit.term.replacement if hit.term.action == "replace" else None
        last = edits[-1] if edits else None
        start = max(hit.start, last.end + 1) if last else hit.start
        if start > hit.end:
            continue
        if last and last.text is replacement is None and last.end + 1 == start:
            # Adjacent masks become one, because there could be one for each letter.
            edits[-1] = last._replace(end=hit.end)
        else:
            edits.append(Edit(start, hit.end, replacement))


def _order(hit: Match) -> tuple[object, ...]:
    return hit.start, -hit.end, hit.term.action != "replace", hit.term.source, hit.term.id


def of(hits: Iterable[Match]) -> list[Edit]:
    """Return the edits of all hits of a text."""
    edits: list[Edit] = []
    add(edits, hits)
    return edits


def applied(edits: Sequence[Edit], text: str, at: int = 0) -> str:
    """Edit a piece that begins at position `at` of the whole text."""
    shown, behind, until = [], at, at + len(text)
    for edit in edits:
        start, end = max(edit.start, behind), min(edit.end + 1, until)
        if start >= end:
            continue
        shown.append(text[behind - at : start - at])
        if edit.text is None:
            shown.append(MASK * (end - start))
        elif edit.start == start:  # else its text stands in an earlier piece
            shown.append(edit.text)
        behind = end
    return "".join(shown) + text[behind - at :]


def screened(text: str, hits: Iterable[Match]) -> str:
    """Return a text with its hits masked, those that block too, or replaced."""
    return applied(of(hits), text)
