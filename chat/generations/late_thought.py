"""Find a `</think>` without an opening tag: all content before it was reasoning.

Templates of several models end the prompt with `<think>`. Until the closing tag comes, such a thought looks like
content. A tag in code is text, and so is one after a space or a quotation mark, because there a sentence names it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from providers.wire.base import Delta, Event, Finished, Reasoning, ToolCallDelta, Withdrawn

TAG = "</think>"
_OPENING = "<think"
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^\n]*)")
_TICKS = re.compile(r"`+")


@dataclass(frozen=True, slots=True)
class Rethought:
    """All content so far was reasoning."""


PipelineEvent = Event | Rethought


class LateThought:
    """Watches the content for the first closing tag; `passed` once none can matter any more."""

    def __init__(self) -> None:
        self.passed = False
        self._texts: list[str] = []
        # The beginning of a tag at the end of the content.
        self._held = ""
        # Whether the tag came, and the blank lines after it are dropped.
        self._found = False

    def feed(self, event: Event) -> Sequence[PipelineEvent]:
        """Return what is certain by now."""
        if isinstance(event, Delta):
            return self._content(event)
        if isinstance(event, Reasoning | ToolCallDelta):
            # Such a model marks its reasoning otherwise, or the thought is over.
            self.passed = True
        elif isinstance(event, Withdrawn):
            self._texts.clear()
            self._held = ""
            return (event,)
        elif not isinstance(event, Finished):
            return (event,)
        return [*self.flush(), event]

    def flush(self) -> list[PipelineEvent]:
        """Return the text that was held back."""
        held, self._held = self._held, ""
        return [Delta(held)] if held else []

    def _content(self, event: Delta) -> Sequence[PipelineEvent]:
        text = event.text
        if self._found:
            text = text.lstrip()
            self.passed = bool(text)
            return (Delta(text),) if text else ()
        if "<" not in text and not self._held:
            self._texts.append(text)
            return (event,)
        text, self._held = self._held + text, ""
        start = 0
        while (place := text.find(TAG, start)) >= 0:
            before = "".join([*self._texts, text[:place]])
            if _OPENING in before:
                break
            if _closes_a_thought(before):
                return self._end(text[:place], text[place + len(TAG) :])
            start = place + len(TAG)
        keep = next((size for size in range(len(TAG) - 1, 0, -1) if text.endswith(TAG[:size])), 0)
        text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self._texts.append(text)
        return (Delta(text),) if text else ()

    def _end(self, before: str, after: str) -> list[PipelineEvent]:
        self._found = True
        self._texts.clear()
        rest = self._content(Delta(after)) if after else ()
        return [*((Delta(before),) if before else ()), Rethought(), *rest]


def _closes_a_thought(before: str) -> bool:
    """Return whether a tag after this text is outside of code and sentences."""
    line = before[before.rfind("\n") + 1 :]
    if line.strip() and (line[-1].isspace() or line[-1] in "\"'“‘「(（"):
        return False
    return bool(before.strip()) and not _in_fence(before) and not _in_code_span(line)


def _in_fence(text: str) -> bool:
    fence = ""
    for line in text.split("\n"):
        marks = _FENCE.match(line)
        if not marks:
            continue
        ticks, rest = marks.groups()
        if not fence:
            fence = "" if "`" in rest and ticks[0] == "`" else ticks
        elif ticks[0] == fence[0] and len(ticks) >= len(fence) and not rest.strip():
            fence = ""
    return bool(fence)


def _in_code_span(line: str) -> bool:
    opened = ""
    for ticks in _TICKS.findall(line):
        opened = ticks if not opened else ("" if ticks == opened else opened)
    return bool(opened)
