"""The fields of chunks: usage, reasoning and content, in all the forms in use."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from providers.wire.base import Delta, Reasoning, Usage

# Fields of a delta with reasoning: those of DeepSeek and of OpenRouter, Copilot's, and those of relays.
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking_content", "thinking", "thought")

Piece = tuple[type[Delta] | type[Reasoning], str]


# Where the parts of the counts stand: beside them, or in objects with the details.
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
# The largest number of tokens that the database takes.
MAX_TOKENS = 2**31 - 1


def read_usage(fields: object) -> Usage | None:
    """Return the usage that an upstream reported; None unless both counts are there."""
    if not isinstance(fields, dict):
        return None
    given = _first_count(fields, "prompt_tokens", "input_tokens")
    made = _first_count(fields, "completion_tokens", "output_tokens")
    if given is None or made is None:
        return None
    if len(fields) == 3 and "total_tokens" in fields:  # no details, as in the usage that relays send with every chunk
        return Usage(given, made)
    if "cache_read_input_tokens" in fields and not ("prompt_tokens" in fields or "total_tokens" in fields):
        # Anthropic's own shape counts the tokens of its cache apart.
        apart = (count(fields.get(name)) or 0 for name in ("cache_read_input_tokens", "cache_creation_input_tokens"))
        given = min(given + sum(apart), MAX_TOKENS)
    cached = _part(fields, _INPUT_DETAILS, _CACHED, given)
    return Usage(given, made, cached, _part(fields, _OUTPUT_DETAILS, ("reasoning_tokens",), made))


def _part(fields: Mapping[str, Any], holders: tuple[str, ...], names: tuple[str, ...], whole: int) -> int | None:
    """Return a count that is part of `whole`; None where it is not reported."""
    for holder in (*(fields.get(name) for name in holders), fields):
        if isinstance(holder, dict) and (found := _first_count(holder, *names)) is not None:
            return min(found, whole)
    return None


def _first_count(fields: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these counts that is there; relays fill the others with null."""
    return next((found for name in names if (found := count(fields.get(name))) is not None), None)


def count(value: object) -> int | None:
    """Return a number of tokens; relays write `9.0` and `"9"` too."""
    if type(value) is int:
        return value if 0 <= value <= MAX_TOKENS else None
    if isinstance(value, str) and len(value) < 16 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS:
        return None
    return int(value) if value == int(value) else None


def encoded(items: object) -> str:
    """Return JSON, in which half a character stays as it came."""
    try:
        return orjson.dumps(items).decode()
    except orjson.JSONEncodeError:
        return json.dumps(items)


def thought(delta: Mapping[str, Any]) -> str:
    """Return the reasoning of a delta, from the first of its fields that has any."""
    for name in _THOUGHTS:
        if (text := delta.get(name)) and isinstance(text, str):
            return text
    details = delta.get("reasoning_details")
    listed = [part for part in details if isinstance(part, dict)] if isinstance(details, list) else []
    texts = (part.get("text") or part.get("summary") for part in listed)
    return "".join(text for text in texts if isinstance(text, str))


def pieces(content: object) -> list[Piece]:
    """Return the texts of content that is no string: a number or parts.

    Mistral's parts may be thoughts.
    """
    if isinstance(content, int | float) and not isinstance(content, bool):
        return [(Delta, str(content))]
    found: list[Piece] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and part.get("type") == "thinking":
            inner = part.get("thinking")
            found += [
                (Reasoning, text) for each in (inner if isinstance(inner, list) else [inner]) for text in _text(each)
            ]
        else:
            found += [(Delta, text) for text in _text(part)]
    return found


def _text(part: object) -> list[str]:
    """Return the text of a part, in a list that is empty without any."""
    if isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
        part = part.get("text")
    return [part] if isinstance(part, str) and part else []
