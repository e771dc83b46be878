"""Find a `</think>` without an opening tag: all content before it was reasoning.

Templates of several models end the prompt with `<think>`. Until the closing tag comes, such a thought looks like
content. Only a tag on its own line, or directly behind the end of a sentence, ends a thought. Any other is named by the
text, and so is a tag in code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from providers.wire.base import Delta, Event, Finished, Reasoning, ToolCallDelta, Withdrawn

TAG = "</think>"
# Pieces of a line that are kept apart; then they are joined, and what no tag depends on is left out.
MOST_PIECES = 32
_OPENING = "<think"
# A fence, also inside of quotes and list items.
_FENCE = re.compile(r"(?:[\s>]|[-*+] |\d{1,9}[.)] )*(`{3,}|~{3,})(.*)")
# What may stand before a fence, with the most characters that may become more of it; text that is part of no fence.
_BEFORE_FENCE, _PLAIN = re.compile(r"(?:[\s>]|[-*+] |\d{1,9}[.)] )*.{0,11}", re.DOTALL), re.compile(r"[^`~]+")
_TICKS = re.compile(r"`+")
# What may stand between the beginning of a line and a tag; more spaces begin code.
_INDENTS = ("", " ", "  ", "   ")
_SENTENCE_ENDS = tuple(".!?。！？…）)")


@dataclass(frozen=True, slots=True)
class Rethought:
    """All content so far was reasoning."""


PipelineEvent = Event | Rethought


class LateThought:
    """Watches the content for the first closing tag; `passed` once none can matter any more."""

    __slots__ = ("_found", "_held", "_line", "_place", "holds", "passed")

    def __init__(self) -> None:
        # Whether the next text may pass only in part; `passed`: none can be held back any more.
        self.holds = self.passed = False
        self._place = _Place()
        # The text since the place: a part of one line.
        self._line: list[str] = []
        # The beginning of a tag at the end of the content.
        self._held = ""
        # Whether the tag came, and the blank lines after it are dropped.
        self._found = False

    def feed(self, event: Event) -> Sequence[PipelineEvent]:
        """Return what is certain by now."""
        if isinstance(event, Delta):
            text = event.text
            if self.holds or "<" in text:
                passed = self._content(text)
                self.holds = self._found or bool(self._held)
                return passed
            self.keep(text)
            return (event,)
        if isinstance(event, Reasoning | ToolCallDelta):
            # Such a model marks its reasoning otherwise, or the thought is over.
            self.passed = True
        elif isinstance(event, Withdrawn):
            self._place = _Place()
            self._line.clear()
            self._held, self.holds = "", self._found
            return (event,)
        elif not isinstance(event, Finished):
            return (event,)
        return [*self.flush(), event]

    def flush(self) -> list[PipelineEvent]:
        """Return the text that was held back."""
        held, self._held, self.holds = self._held, "", self._found
        return [Delta(held)] if held else []

    def _content(self, text: str) -> Sequence[PipelineEvent]:
        if self._found:
            text = text.lstrip()
            self.passed = bool(text)
            return (Delta(text),) if text else ()
        text, self._held = self._held + text, ""
        start, opening = 0, text.find(_OPENING)
        while (at := text.find(TAG, start)) >= 0 and not 0 <= opening < at:
            self._line.append(text[start:at])
            if self._place.ends_thought("".join(self._line)):
                return self._end(text[:at], text[at + len(TAG) :])
            self._line.clear()
            start = at + len(TAG)
        if opening >= 0:
            self.passed = True
            return (Delta(text),)
        last = text.rfind("<", start)
        if last >= 0 and (TAG.startswith(text[last:]) or _OPENING.startswith(text[last:])):
            text, self._held = text[:last], text[last:]
        self.keep(text[start:])
        return (Delta(text),) if text else ()

    def keep(self, text: str) -> None:
        """Keep text without the beginning of a tag."""
        self._line.append(text)
        if len(self._line) >= MOST_PIECES:
            lines, newline, line = "".join(self._line).rpartition("\n")
            if newline:
                self._place.read(lines)
            self._line = [_shortened(line)]

    def _end(self, before: str, after: str) -> list[PipelineEvent]:
        self._found = True
        self._line.clear()
        rest = self._content(after) if after else ()
        return [*((Delta(before),) if before else ()), Rethought(), *rest]


def _shortened(line: str) -> str:
    """Return a shorter line with the same fence, ticks, blanks and end."""
    begin = _BEFORE_FENCE.match(line).end()  # type: ignore[union-attr]  # it matches everything
    middle = _PLAIN.sub(lambda plain: "x" if plain[0].strip() else " ", line[begin:-1])
    return line[:begin] + middle + line[-1:] if begin < len(line) else line


class _Place:
    """A place in Markdown: the beginning of a line, or right behind a tag.

    Text that is read moves it on.
    """

    __slots__ = ("_behind_tag", "_fence", "_ticks", "_visible")

    def __init__(self) -> None:
        self._fence = ""
        # Whether there was visible text.
        self._visible = False
        # Whether a tag was in the line already, and the ticks of the code that was open there.
        self._behind_tag, self._ticks = False, ""

    def read(self, lines: str) -> None:
        """Move to the beginning of the line after these, which have no tag."""
        self._visible = self._visible or bool(lines.strip())
        if "```" in lines or "~~~" in lines:
            # A line with a tag is no fence.
            for line in lines.split("\n")[int(self._behind_tag) :]:
                self._read_fence(line)
        self._behind_tag, self._ticks = False, ""

    def ends_thought(self, text: str) -> bool:
        """Move behind the tag after this text; return whether it ends a thought."""
        lines, newline, line = text.rpartition("\n")
        if newline:
            self.read(lines)
        self._visible = self._visible or self._behind_tag or bool(line.strip())
        for ticks in _TICKS.findall(line):
            self._ticks = ticks if not self._ticks else ("" if ticks == self._ticks else self._ticks)
        begins = not self._behind_tag and line in _INDENTS
        self._behind_tag = True
        return self._visible and not self._fence and not self._ticks and (begins or line.endswith(_SENTENCE_ENDS))

    def _read_fence(self, line: str) -> None:
        marks = _FENCE.match(line)
        if not marks:
            return
        ticks, rest = marks.groups()
        if not self._fence:
            self._fence = "" if "`" in rest and ticks[0] == "`" else ticks
        elif ticks[0] == self._fence[0] and len(ticks) >= len(self._fence) and not rest.strip():
            self._fence = ""
