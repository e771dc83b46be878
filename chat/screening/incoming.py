"""Screening what people send: the new text, which may be refused, and the earlier turns, which are only masked."""

from dataclasses import dataclass

from chat.screening import live
from chat.screening.lexicon import Lexicon, masked
from providers.wire.base import PromptMessage


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


def _masked(message: PromptMessage, lexicon: Lexicon) -> PromptMessage:
    def change(text: str) -> str:
        hits = lexicon.find(text)
        return masked(text, [match[:2] for match in hits]) if hits else text

    return message.with_text(change)
