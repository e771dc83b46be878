"""Unfinished text: what this process's generations have said so far, and storing it once a second.

The owner of a draft is its generation's run, on the event loop; the database has a copy that lags by a second at most.
"""

from collections.abc import Iterable

from chat.models import Generation
from runtime import database

# Together with the time a flush takes this stays below the second that a killed process may lose.
FLUSH_SECONDS = 0.8


class Text:
    """Text that grows by appending; joined only when somebody asks."""

    __slots__ = ("_parts", "chars")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.chars = 0

    def append(self, text: str) -> None:
        self._parts.append(text)
        self.chars += len(text)

    def clear(self) -> None:
        self._parts.clear()
        self.chars = 0

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
        self.visible = False
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
        """Take over what somebody else has stored."""
        self.withdraw()
        self.content.append(content)
        self.reasoning.append(reasoning)

    def withdraw(self) -> None:
        """Take back all that was said."""
        self.content.clear()
        self.reasoning.clear()
        self.dirty = True

    def snapshot(self) -> dict[str, str]:
        return {"content": str(self.content), "reasoning": str(self.reasoning)}


async def flush(drafts: Iterable[Draft]) -> list[str]:
    """Store all drafts that changed since they were last stored, in one transaction. Repeating is safe.

    Return the ids of generations that somebody else has ended.
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
