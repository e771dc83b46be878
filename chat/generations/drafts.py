"""Drafts: the unfinished text of this process's generations, stored once a second.

A draft belongs to its generation's run, on the event loop. The database has a copy that lags by a second at most.
"""

from collections.abc import Iterable

from chat.models import Generation
from runtime import database

# Seconds between two flushes. A killed process may lose at most one second of text, the time of a flush included.
FLUSH_SECONDS = 0.8


class Text:
    """Text that grows by appending; joined only when it is read."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[str] = []

    def append(self, text: str) -> None:
        self._parts.append(text)

    def clear(self) -> None:
        self._parts.clear()

    def __str__(self) -> str:
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""


class Draft:
    """The content and reasoning of one running generation."""

    __slots__ = ("content", "dirty", "generation", "last_event", "reasoning", "visible")

    def __init__(self, generation: str) -> None:
        self.generation = generation
        self.content, self.reasoning = Text(), Text()
        # Whether there was content that is not white space.
        self.visible = False
        # Whether the database lacks the latest change.
        self.dirty = False
        self.last_event = 0

    def add_content(self, text: str) -> None:
        self.content.append(text)
        self.visible = self.visible or bool(text.strip())
        self.dirty = True

    def add_reasoning(self, text: str) -> None:
        self.reasoning.append(text)
        self.dirty = True

    def replace(self, content: str, reasoning: str) -> None:
        """Take over the text that another process has stored."""
        self.withdraw()
        self.content.append(content)
        self.reasoning.append(reasoning)

    def withdraw(self) -> None:
        """Delete all text."""
        self.content.clear()
        self.reasoning.clear()
        self.dirty = True

    def snapshot(self) -> dict[str, str]:
        return {"content": str(self.content), "reasoning": str(self.reasoning)}


async def flush(drafts: Iterable[Draft]) -> list[str]:
    """Store all drafts that have changed, in one transaction. Repeating is safe.

    Return the ids of generations that another process has ended.
    """
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
