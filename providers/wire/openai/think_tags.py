"""Thoughts in tags at the beginning of the content."""

from providers.wire.base import Delta, Reasoning
from providers.wire.openai.fields import Piece

# Tags around the thoughts of models that write them into the content; Gemini's relays use the second.
_TAGS = {f"<{word}>": f"</{word}>" for word in ("think", "thought", "thinking", "reasoning")}
# Characters of white space to hold back while the opening tag of a thought may still follow.
_MAX_LEADING_SPACE = 64


class ThinkTags:
    """Splits a leading thought in tags off the content, cut anywhere; then `passed` is set."""

    def __init__(self) -> None:
        self.passed = False
        self._inside = False
        self._closed = False
        self._close = ""
        self._held = ""

    def feed(self, text: str) -> list[Piece]:
        """Return the pieces that are certain by now."""
        text, self._held = self._held + text, ""
        if self._closed:
            return self._after(text)
        if self._inside:
            return self._thought(text)
        start = text.lstrip()
        if len(text) - len(start) <= _MAX_LEADING_SPACE:
            for opening, self._close in _TAGS.items():
                if start.startswith(opening):
                    self._inside = True
                    return self._thought(start[len(opening) :])
            if any(opening.startswith(start) for opening in _TAGS):
                self._held = text
                return []
        self.passed = True
        return [(Delta, text)]

    def flush(self) -> list[Piece]:
        """Return what was held back, at the end of the stream."""
        held, self._held = self._held, ""
        return [(Reasoning if self._inside else Delta, held)] if held else []

    def _thought(self, text: str) -> list[Piece]:
        close = self._close
        thought, tag, rest = text.partition(close)
        if tag:
            self._inside, self._closed = False, True
            return [(Reasoning, thought), *self._after(rest)]
        keep = next((n for n in range(len(close) - 1, 0, -1) if text.endswith(close[:n])), 0)
        self._held = text[len(text) - keep :]
        return [(Reasoning, text[: len(text) - keep])]

    def _after(self, text: str) -> list[Piece]:
        """Drop the blank lines that separate the reasoning from the text."""
        text = text.lstrip()
        self.passed = bool(text)
        return [(Delta, text)] if text else []
