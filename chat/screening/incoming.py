"""Screening prompts: new texts may be refused, earlier turns are only masked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext_lazy as _

from chat.screening import nested
from chat.screening.lexicon import Lexicon, masked
from providers.wire.base import EMBEDDINGS, JSON, PromptMessage
from web.refusals import InvalidRequest

# The request fields beside the messages that contain text for a model to read.
DESCRIBED = frozenset({"tools", "tool_choice", "response_format"})


@dataclass(frozen=True, slots=True)
class Screened:
    """Masked texts, the ids of the words found, and whether one of them blocks."""

    texts: tuple[str, ...]
    hits: frozenset[int] = frozenset()
    blocked: bool = False

    def together_with(self, other: "Screened | None") -> "Screened":
        """Return these texts with the words found in others too."""
        if other is None:
            return self
        return replace(self, hits=self.hits | other.hits, blocked=self.blocked or other.blocked)


@dataclass(frozen=True, slots=True)
class ScreenedCall:
    """A call of /v1: its new text screened, its messages and other fields masked."""

    new: Screened
    messages: tuple[PromptMessage, ...]
    extras: dict[str, JSON]


def screen_call(
    lexicon: Lexicon, new_text: str, messages: tuple[PromptMessage, ...], extras: Mapping[str, JSON]
) -> ScreenedCall:
    """Screen all texts of a call of /v1, which may be megabytes."""
    masked_messages = mask_earlier(lexicon, messages, new=0)
    return ScreenedCall(screen(lexicon, new_text, ""), masked_messages, mask_extras(lexicon, extras))


def screen(lexicon: Lexicon, *texts: str) -> Screened:
    matches = [lexicon.find(text) for text in texts]
    terms = [match.term for found in matches for match in found]
    if not terms:
        return Screened(texts)
    shown = [masked(text, found) for text, found in zip(texts, matches, strict=True)]
    return Screened(tuple(shown), frozenset(term.id for term in terms), any(term.blocks for term in terms))


def mask_earlier(lexicon: Lexicon, messages: tuple[PromptMessage, ...], *, new: int) -> tuple[PromptMessage, ...]:
    """Mask a prompt except its last `new` messages, which `screen` has handled.

    Words that block are only masked here, so that a conversation can continue after one of its words is listed.
    """
    if lexicon.empty:
        return messages
    earlier = len(messages) - new
    return (*(_masked(message, lexicon) for message in messages[:earlier]), *messages[earlier:])


def mask_extras(lexicon: Lexicon, extras: Mapping[str, JSON]) -> dict[str, JSON]:
    """Mask the texts in tools, their choice and the response format of a `/v1` request."""
    if lexicon.empty:
        return dict(extras)
    return {name: nested.masked(value, lexicon) if name in DESCRIBED else value for name, value in extras.items()}


def refuse_tokens(lexicon: Lexicon, extras: Mapping[str, JSON]) -> None:
    """Refuse lists of tokens where words are configured, because they have no words to compare."""
    embedded = extras.get(EMBEDDINGS)
    if not lexicon.empty and isinstance(embedded, Mapping) and "input" in embedded:
        text = _("Lists of tokens cannot be screened for sensitive words; please send texts.")
        raise InvalidRequest(details={"input": [text]})


def _masked(message: PromptMessage, lexicon: Lexicon) -> PromptMessage:
    """Mask a turn: its content and parts as one text, and its other fields."""
    fields: dict[str, Any] = {
        name: value if name == "tool_call_id" else nested.masked(value, lexicon)
        for name, value in message.fields.items()
    }
    hits = lexicon.find(message.content)
    if not hits:
        return replace(message, fields=fields)
    content = masked(message.content, hits)
    parts, start = [], 0
    for part in message.parts:
        if "text" in part:
            end = start + len(str(part["text"]))
            parts.append({**part, "text": content[start:end]})
            start = end
        else:
            parts.append(part)
    return replace(message, content=content, parts=tuple(parts), fields=fields)
