"""The frozen copy of a branch: what it keeps, and how readers see it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired, cast

import orjson
from typing_extensions import TypedDict

from chat import sources
from chat.attachments.models import Attachment
from chat.generations.pipeline import screened_sources
from chat.models import Message
from chat.screening import edits
from chat.screening.lexicon import Costs, Lexicon
from chat.screening.live import Words
from chat.sources import CitedSource
from providers.wire.base import Source


class Turn(TypedDict):
    """One turn of a copy. Reasoning, attachments and ids are left out.

    `attachments` is how many the prompt had.
    """

    role: str
    content: str
    model: str
    created_at: str
    sources: NotRequired[list[CitedSource]]
    attachments: NotRequired[int]


def freeze(branch: Iterable[Message], attached: Mapping[int, Sequence[Attachment]]) -> str:
    """Return the turns with text or attachments as stored; empty if there are none."""
    turns = [_turn(message, len(attached.get(message.pk, ()))) for message in branch]
    turns = [turn for turn in turns if turn["content"].strip() or "attachments" in turn]
    return orjson.dumps(turns).decode() if turns else ""


def _turn(message: Message, attachments: int) -> Turn:
    turn = Turn(
        role=message.role,
        content=message.content,
        model=message.model,
        created_at=message.created_at.isoformat(),
    )
    if message.sources:
        turn["sources"] = sources.decode(message.sources)
    if attachments:
        turn["attachments"] = attachments
    return turn


def shown(turns: str, words: Words) -> list[dict[str, Any]]:
    """Return the turns for the page; the sensitive words of today are masked."""
    costs = Costs()
    return [_shown(turn, words, costs) for turn in cast("list[Turn]", orjson.loads(turns))]


def _shown(turn: Turn, words: Words, costs: Costs) -> dict[str, Any]:
    lexicon = words.incoming if turn["role"] == Message.Role.USER else words.outgoing
    listed = [Source(page["url"], page["title"]) for page in turn.get("sources", ())]
    return {
        "role": turn["role"],
        "content": screened(turn["content"], lexicon, costs),
        "model": turn["model"],
        "created_at": datetime.fromisoformat(turn["created_at"]),
        "attachments": turn.get("attachments", 0),
        "sources": sources.as_json(screened_sources(listed, lexicon, set())),
    }


def screened(text: str, lexicon: Lexicon, costs: Costs) -> str:
    """Return the text with all hits masked or replaced, those that block a prompt too."""
    hits = lexicon.find(text, costs)
    return edits.screened(text, hits) if hits else text
