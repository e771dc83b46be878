"""Screening what people send: the new text, which may be refused, and the earlier turns, which are only masked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chat.screening import live, nested
from chat.screening.lexicon import Lexicon, masked
from providers.wire.base import JSON, PromptMessage

# Of what is passed on, what has words in it for a model to read.
DESCRIBED = frozenset({"tools", "response_format"})


@dataclass(frozen=True, slots=True)
class Screened:
    """Texts as they may be stored and sent; `hits` are the ids of the words found, `blocked` if one of them blocks."""

    texts: tuple[str, ...]
    hits: frozenset[int] = frozenset()
    blocked: bool = False


def screen(*texts: str) -> Screened:
    """Screen a person's new texts. Needs the database until the words are loaded."""
    lexicon = live.loaded().incoming
    found = [lexicon.find(text) for text in texts]
    hits = [match.term for matches in found for match in matches]
    if not hits:
        return Screened(texts)
    shown = [masked(text, [match[:2] for match in matches]) for text, matches in zip(texts, found, strict=True)]
    return Screened(tuple(shown), frozenset(term.id for term in hits), any(term.blocks for term in hits))


def mask_earlier(messages: tuple[PromptMessage, ...], *, new: int) -> tuple[PromptMessage, ...]:
    """Mask a prompt but for its last `new` messages, which have been screened already.

    Words that block are masked here too, so that no conversation locks up for what was said before a word was listed.
    """
    lexicon = live.loaded().incoming
    if lexicon.empty:
        return messages
    earlier = len(messages) - new
    return (*(_masked(message, lexicon) for message in messages[:earlier]), *messages[earlier:])


def mask_extras(extras: Mapping[str, JSON]) -> dict[str, JSON]:
    """Mask the texts in what a program wants passed on: descriptions of tools, and of the form of an answer."""
    lexicon = live.loaded().incoming
    if lexicon.empty:
        return dict(extras)
    return {name: nested.masked(value, lexicon) if name in DESCRIBED else value for name, value in extras.items()}


def _masked(message: PromptMessage, lexicon: Lexicon) -> PromptMessage:
    """Mask a turn: its text as a whole, whatever stands between its parts, and what stands beside it."""
    hits = lexicon.find(message.content)
    fields = {name: _beside(name, value, lexicon) for name, value in message.fields.items()}
    if not hits:
        return replace(message, fields=fields)
    content = masked(message.content, [match[:2] for match in hits])
    parts, start = [], 0
    for part in message.parts:
        if "text" in part:
            end = start + len(str(part["text"]))
            parts.append({**part, "text": content[start:end]})
            start = end
        else:
            parts.append(part)
    return replace(message, content=content, parts=tuple(parts), fields=fields)


def _beside(name: str, value: JSON, lexicon: Lexicon) -> Any:
    return value if name == "tool_call_id" else nested.masked(value, lexicon)
