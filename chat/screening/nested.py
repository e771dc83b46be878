"""Screening texts inside JSON: request fields, and the tool calls of a completion.

A call's arguments are JSON as well, sent as text and split anywhere, perhaps with escaped characters (`\\u72ec`): words
are found in the unescaped text. Each string is a text of its own. Function names and ids are not screened, because they
must match elsewhere.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from chat.screening import edits
from chat.screening.lexicon import Costs, Lexicon
from chat.screening.tracking import Match
from providers.wire.base import JSON

# Keys whose values are identifiers, never masked.
IDENTIFIERS = frozenset({"id", "name", "type", "tool_call_id"})
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_CHARACTER = re.compile(rf"{_HIGH}{_LOW}|\\u[0-9a-fA-F]{{4}}|\\.|.", re.DOTALL)
_ESCAPES = {"\\b": "\b", "\\f": "\f", "\\n": "\n", "\\r": "\r", "\\t": "\t"}

# The path of a text inside the calls: the call, then keys and indexes.
Path = tuple[Any, ...]


def screened(text: str, lexicon: Lexicon, costs: Costs) -> tuple[str, list[Match]]:
    """Mask a text and return it with its hits; inside JSON, screen each string separately."""
    if not text.lstrip().startswith(("{", "[", '"')):
        hits = lexicon.find(text, costs)
        return edits.screened(text, hits) if hits else text, hits
    shown, found = [], list[Match]()
    for string in _strings(text):
        hits = lexicon.find("".join(map(_read, string)), costs)
        found += hits
        shown.append(_edited(string, hits) if hits else "".join(string))
    return '"'.join(shown), found


def masked(value: Any, lexicon: Lexicon, costs: Costs) -> Any:
    """Mask all texts in a JSON value, including JSON written as text."""
    if isinstance(value, str):
        return screened(value, lexicon, costs)[0]
    if isinstance(value, dict):
        return {key: each if key in IDENTIFIERS else masked(each, lexicon, costs) for key, each in value.items()}
    return [masked(each, lexicon, costs) for each in value] if isinstance(value, list | tuple) else value


def _strings(text: str) -> Iterator[list[str]]:
    """Yield what stands between bare quotes, as lists of raw characters."""
    string: list[str] = []
    for character in _CHARACTER.findall(text) if "\\" in text else text:
        if character == '"':
            yield string
            string = []
        else:
            string.append(character)
    yield string


def _edited(raw: list[str], hits: list[Match]) -> str:
    """Edit raw characters; a replacement is escaped as inside a string."""
    shown = list(raw)
    for start, end, text in edits.of(hits):
        shown[start : end + 1] = [edits.MASK] * (end + 1 - start)
        if text is not None:
            shown[start : end + 1] = [json.dumps(text, ensure_ascii=False)[1:-1], *[""] * (end - start)]
    return "".join(shown)


def _read(raw: str) -> str:
    """Unescape a character."""
    if len(raw) == 1:
        return raw
    if raw[1] == "u" and len(raw) > 2:
        return str(json.loads(f'"{raw}"'))
    return _ESCAPES.get(raw, raw[1])


class Calls:
    """Hold the tool calls of one completion back until `flush`: half a call is useless.

    `known` are the names of the offered tools; other function names are screened as text.
    """

    __slots__ = ("_held", "_known", "chars")

    def __init__(self, known: Collection[str]) -> None:
        self._held: list[str] = []
        self._known = frozenset(known)
        self.chars = 0

    def feed(self, pieces: str) -> None:
        """Add pieces of calls, a JSON list."""
        self._held.append(pieces)
        self.chars += len(pieces)

    def flush(self, lexicon: Lexicon) -> tuple[list[str], list[Match]]:
        """Return all pieces, masked, and the hits; unchanged if there are none."""
        held, self._held, self.chars = self._held, [], 0
        lists = [json.loads(pieces) for pieces in held]
        texts: dict[Path, list[tuple[Any, Any]]] = defaultdict(list)
        for path, parent, key in _texts(lists):
            texts[path].append((parent, key))
        hits, costs = [], Costs()
        for path, places in texts.items():
            pieces = [parent[key] for parent, key in places]
            if path[-1] == "name" and ({*pieces} <= self._known or "".join(pieces) in self._known):
                continue
            shown, found = screened("".join(pieces), lexicon, costs)
            if found:
                hits += found
                for (parent, key), piece in zip(places, [shown, *[""] * len(places)], strict=False):
                    parent[key] = piece
        return ([json.dumps(pieces) for pieces in lists] if hits else held), hits


def _texts(lists: list[Any]) -> Iterator[tuple[Path, Any, Any]]:
    """Yield the path of each piece of text, its parent, and its key there."""
    call: Any = 0
    for number, piece in ((number, piece) for number, pieces in enumerate(lists) for piece in pieces):
        if isinstance(piece, dict):
            if isinstance(piece.get("index"), int):
                call = piece["index"]
            elif piece.get("id"):
                call = ("without an index", number, piece["id"])
            yield from _inside(piece, (call,))


def _inside(value: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if not isinstance(inner, str):
            yield from _inside(inner, (*path, key))
        elif len(path) > 1 or key not in IDENTIFIERS:
            yield (*path, key), value, key


def tool_names(extras: Mapping[str, JSON]) -> list[str]:
    """Return the names of the tools that were passed on."""
    tools = extras.get("tools")
    listed = tools if isinstance(tools, list) else []
    kinds = [tool.get(str(tool.get("type"))) for tool in listed if isinstance(tool, dict)]
    return [str(kind["name"]) for kind in kinds if isinstance(kind, dict) and "name" in kind]
