"""When the first delta of a generation came, and how long its reasoning took."""

import time


class Times:
    """The times of one generation, in seconds; `waits`: the next content or tool call matters."""

    __slots__ = ("_began", "_reasoned_at", "_reasoning_at", "first_delta", "waits")

    def __init__(self) -> None:
        self._began = time.monotonic()
        # From the start; None before it.
        self.first_delta: float | None = None
        # When reasoning began, and when content or a tool call followed it.
        self._reasoning_at: float | None = None
        self._reasoned_at: float | None = None
        self.waits = True

    @property
    def passed(self) -> float:
        """The time from the start until now."""
        return time.monotonic() - self._began

    @property
    def reasoning(self) -> float | None:
        """How long the reasoning took, or has taken so far; None without reasoning."""
        began, ended = self._reasoning_at, self._reasoned_at or time.monotonic()
        return None if began is None else round(ended - began, 1)

    def note_reasoning(self) -> None:
        """Note a piece of reasoning."""
        if self._reasoning_at is None:
            self._reasoning_at, self.waits = time.monotonic(), True

    def note_visible(self) -> None:
        """Note content or a tool call; needed only while the next one matters."""
        now, self.waits = time.monotonic(), False
        if self.first_delta is None:
            self.first_delta = now - self._began
        if self._reasoning_at is not None and self._reasoned_at is None:
            self._reasoned_at = now

    def withdraw(self) -> None:
        """Forget the reasoning, because the vendor withdrew all text."""
        self._reasoning_at = self._reasoned_at = None

    def rethink(self) -> None:
        """Note that all content so far was reasoning, which began with the first delta."""
        if self.first_delta is not None:
            self._reasoning_at, self.waits = self._began + self.first_delta, True
