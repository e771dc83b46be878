"""Screening prompts: new texts may be refused, earlier turns are only masked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext_lazy as _

from chat.screening import edits, nested
from chat.screening.found import Found
from chat.screening.lexicon import Costs, Lexicon
from providers.wire.base import EMBEDDINGS, JSON, PromptMessage
from web.refusals import InvalidRequest

# The request fields beside the messages that contain text for a model to read.
DESCRIBED = frozenset({"tools", "tool_choice", "response_format"})


@dataclass(frozen=True, slots=True)
class Screened:
    """Screened texts, what was found, whether it blocks, and the category of what does."""

    texts: tuple[str, ...]
    hits: frozenset[Found] = frozenset()
    blocked: bool = False
    category: str = ""

    def together_with(self, other: "Screened | None") -> "Screened":
        """Return these texts with what was found in others too."""
        if other is None:
            return self
        category = self.category if self.blocked else other.category
        return replace(self, hits=self.hits | other.hits, blocked=self.blocked or other.blocked, category=category)


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
    costs = Costs()
    matches = [lexicon.find(text, costs) for text in texts]
    terms = [match.term for found in matches for match in found]
    if not terms:
        return Screened(texts)
    shown = tuple(edits.screened(text, found) for text, found in zip(texts, matches, strict=True))
    category = next((term.category for term in terms if term.blocks), None)
    return Screened(shown, frozenset(term.found for term in terms), category is not None, category or "")


def mask_earlier(lexicon: Lexicon, messages: tuple[PromptMessage, ...], *, new: int) -> tuple[PromptMessage, ...]:
    """Mask a prompt except its last `new` messages, which `screen` has handled.

    Words that block are only masked here, so that a conversation can continue after one of its words is listed.
    """
    if lexicon.empty:
        return messages
    earlier, costs = len(messages) - new, Costs()
    return (*(_masked(message, lexicon, costs) for message in messages[:earlier]), *messages[earlier:])


def mask_extras(lexicon: Lexicon, extras: Mapping[str, JSON]) -> dict[str, JSON]:
    """Mask the texts in tools, their choice and the response format of a `/v1` request."""
    if lexicon.empty:
        return dict(extras)
    costs = Costs()
    return {
        name: nested.masked(value, lexicon, costs) if name in DESCRIBED else value for name, value in extras.items()
    }


def refuse_tokens(lexicon: Lexicon, extras: Mapping[str, JSON]) -> None:
    """Refuse lists of tokens where words are configured, because they have no words to compare."""
    embedded = extras.get(EMBEDDINGS)
    if not lexicon.empty and isinstance(embedded, Mapping) and "input" in embedded:
        text = _("Lists of tokens cannot be screened for sensitive words; please send texts.")
        raise InvalidRequest(details={"input": [text]})


def _masked(message: PromptMessage, lexicon: Lexicon, costs: Costs) -> PromptMessage:
    """Mask a turn: its content and parts as one text, and its other fields."""
    fields: dict[str, Any] = {
        name: value if name == "tool_call_id" else nested.masked(value, lexicon, costs)
        for name, value in message.fields.items()
    }
    places = edits.of(lexicon.find(message.content, costs))
    if not places:
        return replace(message, fields=fields)
    parts, start = [], 0
    for part in message.parts:
        if "text" in part:
            text = str(part["text"])
            parts.append({**part, "text": edits.applied(places, text, start)})
            start += len(text)
        else:
            parts.append(part)
    return replace(message, content=edits.applied(places, message.content), parts=tuple(parts), fields=fields)
