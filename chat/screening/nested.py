"""Screening texts that stand inside JSON: what programs send beside their messages, and the tool calls they get back.

A call's arguments are JSON too, written as text and cut anywhere, and a character may stand there as an escape
(`\\u72ec`): words are found in what its reader will see. Each string of it is a text of its own. Names of functions and
ids are no texts: they must be the same wherever they stand.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from chat.screening.lexicon import MASK, Lexicon
from chat.screening.tracking import MOST_SEPARATORS, Match

# Below these keys stand names that both sides must know each other's things by.
IDENTIFIERS = frozenset({"id", "name", "type", "tool_call_id"})
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_CHARACTER = re.compile(rf"{_HIGH}{_LOW}|\\u[0-9a-fA-F]{{4}}|\\.|.", re.DOTALL)
_ESCAPES = {"\\b": "\b", "\\f": "\f", "\\n": "\n", "\\r": "\r", "\\t": "\t"}

# Stands for the end of a string: more separators than words are matched through.
_PARTING = "\n" * (MOST_SEPARATORS + 1)

Place = tuple[Any, ...]


def screened(text: str, lexicon: Lexicon) -> tuple[str, list[Match]]:
    """Return a text masked, and the hits in it; where it is JSON, each string in it is a text."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return _masked(list(text), lexicon.find(text))
    characters = _CHARACTER.findall(text) if "\\" in text else list(text)
    hits = lexicon.find("".join(map(_read, characters)))
    if not hits:
        return text, hits
    raw: list[str] = []
    for character in characters:
        raw += (character, *[""] * MOST_SEPARATORS) if character == '"' else (character,)
    return _masked(raw, hits)


def masked(value: Any, lexicon: Lexicon) -> Any:
    """Return JSON with all texts in it masked, and those that are JSON themselves."""
    if isinstance(value, str):
        return screened(value, lexicon)[0]
    if isinstance(value, dict):
        return {key: each if key in IDENTIFIERS else masked(each, lexicon) for key, each in value.items()}
    return [masked(each, lexicon) for each in value] if isinstance(value, list | tuple) else value


def _masked(raw: list[str], hits: list[Match]) -> tuple[str, list[Match]]:
    for hit in hits:
        raw[hit.start : hit.end + 1] = MASK * (hit.end + 1 - hit.start)
    return "".join(raw), hits


def _read(raw: str) -> str:
    """Return the character that stands there; for the end of a string, what parts it from the next one."""
    if len(raw) == 1:
        return _PARTING if raw == '"' else raw
    if raw[1] == "u" and len(raw) > 2:
        return str(json.loads(f'"{raw}"'))
    return _ESCAPES.get(raw, raw[1])


class Calls:
    """The tool calls of one answer, held back until it ends: nobody can begin with half of a call.

    `known` are the names of the tools that were offered; no other is taken for a name.
    """

    __slots__ = ("_held", "_known", "chars")

    def __init__(self, known: Collection[str]) -> None:
        self._held: list[str] = []
        self._known = frozenset(known)
        self.chars = 0

    def take(self, pieces: str) -> None:
        """Take pieces of calls, a JSON list."""
        self._held.append(pieces)
        self.chars += len(pieces)

    def release(self, lexicon: Lexicon) -> tuple[list[str], list[Match]]:
        """Return what was held, its texts masked, and the hits; where there are none, it is as it came."""
        held, self._held, self.chars = self._held, [], 0
        lists = [json.loads(pieces) for pieces in held]
        texts: dict[Place, list[tuple[Any, Any]]] = defaultdict(list)
        for place, around, key in _texts(lists):
            texts[place].append((around, key))
        hits = []
        for place, where in texts.items():
            pieces = [around[key] for around, key in where]
            if place[-1] == "name" and ({*pieces} <= self._known or "".join(pieces) in self._known):
                continue
            shown, found = screened("".join(pieces), lexicon)
            if found:
                hits += found
                for (around, key), piece in zip(where, [shown, *[""] * len(where)], strict=False):
                    around[key] = piece
        return ([json.dumps(pieces) for pieces in lists] if hits else held), hits


def _texts(lists: list[Any]) -> Iterator[tuple[Place, Any, Any]]:
    """Yield where the pieces of each text stand: which text it is, what is around the piece, its key there."""
    call: Any = 0
    for number, piece in ((number, piece) for number, pieces in enumerate(lists) for piece in pieces):
        if isinstance(piece, dict):
            if isinstance(piece.get("index"), int):
                call = piece["index"]
            elif piece.get("id"):
                call = ("without an index", number, piece["id"])
            yield from _inside(piece, (call,))


def _inside(value: Any, place: Place) -> Iterator[tuple[Place, Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if not isinstance(inner, str):
            yield from _inside(inner, (*place, key))
        elif len(place) > 1 or key not in IDENTIFIERS:
            yield (*place, key), value, key
