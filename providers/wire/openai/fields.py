"""The fields of chunks: usage, reasoning and content, in all the forms in use."""

from collections.abc import Mapping
from typing import Any

from providers.wire.base import Delta, Reasoning, Usage

# Fields of a delta with reasoning: those of DeepSeek and of OpenRouter, Copilot's, and those of relays.
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking_content", "thinking", "thought")

Piece = tuple[type[Delta] | type[Reasoning], str]


def read_usage(fields: object) -> Usage | None:
    """Return the usage that an upstream reported; None unless both counts are there."""
    if not isinstance(fields, dict):
        return None
    given = _first_count(fields, "prompt_tokens", "input_tokens")
    made = _first_count(fields, "completion_tokens", "output_tokens")
    return None if given is None or made is None else Usage(given, made)


def _first_count(fields: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these counts that is there; relays fill the others with null."""
    return next((count for name in names if (count := _count(fields.get(name))) is not None), None)


def _count(value: object) -> int | None:
    """Return a number of tokens; relays write `9.0` and `"9"` too."""
    if isinstance(value, str) and len(value) < 16 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return None
    return int(value) if value == int(value) else None


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
