"""Drafts: the unfinished text of generations on the event loop, stored once a second."""

from collections.abc import Iterable

from chat.events.text import Prefix, Text
from chat.generations.pipeline import PARTING
from chat.models import Generation
from runtime import database

# Seconds between two flushes. A killed process may lose at most one second of text, the time of a flush included.
FLUSH_SECONDS = 0.8


class Draft:
    """The content and reasoning of one running generation.

    The first `seam_chars` characters of a continuation repeat the end of the earlier text, so they are nothing new.
    """

    __slots__ = (
        *("content", "dirty", "generation", "last_event", "reasoning", "seam_chars", "visible", "visible_reasoning"),
    )

    def __init__(self, generation: str, seam_chars: int = 0) -> None:
        self.generation, self.seam_chars = generation, seam_chars
        self.content, self.reasoning = Text(), Text()
        # Whether there was content, and reasoning, that is not white space. Withdrawn text counts, because it was sent.
        self.visible = self.visible_reasoning = False
        # Whether the database lacks the latest change.
        self.dirty = False
        self.last_event = 0

    def add_content(self, text: str) -> None:
        if not self.visible:
            new = text[max(0, self.seam_chars - self.content.length) :]
            self.visible = bool(new.strip())
        self.content.append(text)
        self.dirty = True

    def add_reasoning(self, text: str) -> None:
        self.reasoning.append(text)
        self.visible_reasoning = self.visible_reasoning or (text != PARTING and bool(text.strip()))
        self.dirty = True

    def replace(self, content: str, reasoning: str) -> None:
        """Take over the text that another process has stored."""
        self.withdraw()
        self.content.append(content)
        self.reasoning.append(reasoning)

    def withdraw(self) -> None:
        """Start again without text. Readers of the earlier text may still read it."""
        self.content, self.reasoning = Text(), Text()
        self.dirty = True

    def rethink(self) -> None:
        """Make the content reasoning; there was none before."""
        self.content, self.reasoning = Text(), self.content
        self.visible_reasoning = self.visible
        self.dirty = True

    def snapshot(self) -> dict[str, str]:
        return {"content": str(self.content), "reasoning": str(self.reasoning)}

    def prefixes(self) -> dict[str, Prefix]:
        """Return the same without copies, for readers of the log."""
        return {"content": Prefix(self.content), "reasoning": Prefix(self.reasoning)}


async def flush(drafts: Iterable[Draft]) -> list[str]:
    """Store all changed drafts; return the generations that another process has ended. Repeating is safe."""
    dirty = [draft for draft in drafts if draft.dirty]
    if not dirty:
        return []
    rows = [(str(draft.content), str(draft.reasoning), draft.last_event, draft.generation) for draft in dirty]
    for draft in dirty:
        draft.dirty = False
    try:
        return await database.run(Generation.objects.save_drafts, rows)
    except BaseException:
        for draft in dirty:
            draft.dirty = True
        raise
