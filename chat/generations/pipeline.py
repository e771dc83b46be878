"""Stages between an upstream's events and the sink: objects without I/O, from events to events.

`Pipeline` chains them. The first `Finished` that comes out ends the generation: its reader closes the upstream then.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from urllib.parse import unquote

from chat.generations.late_thought import LateThought, PipelineEvent, Rethought
from chat.generations.token_probs import TokenProbs
from chat.screening import edits
from chat.screening.found import Found
from chat.screening.lexicon import Lexicon
from chat.screening.live import LiveWords, UserWords, Words
from chat.screening.nested import Calls
from chat.screening.stream import Screen
from chat.screening.tracking import Match
from providers.wire.base import (
    Delta,
    Event,
    Finished,
    Reasoning,
    Source,
    ToolCallDelta,
    Withdrawn,
)
from providers.wire.images import CompletionImages, address_of, image_at
from providers.wire.openai.fields import encoded
from providers.wire.reasoning_details import ReasoningDetails
from providers.wire.sources import SourceList

# Put between two pieces of reasoning that content separates. It is too long for a sensitive word to match across it.
PARTING = "\n\n…\n\n"
# Characters of structured reasoning for each of text that a completion may have: JSON escapes what is not ASCII.
DETAILS_ROOM = 8
# Characters of the images of a completion, as JSON.
MAX_IMAGE_CHARS = 32 * 2**20
# An image in base64, whose data is no text; the group is the rest.
_INLINE = re.compile(r"(data:image/[\w.+-]+;base64,)[A-Za-z0-9+/=_\s-]*", re.ASCII)
# Characters of an address that are screened; images with a longer one are left out then.
MAX_ADDRESS_CHARS = 8_192
# A tuple, because `isinstance` with `A | B` builds the union anew at each call.
TEXT = (Delta, Reasoning)


class Ended(Exception):  # noqa: N818  (no error)
    """Carries the last event from the upstream's callback to the task."""

    def __init__(self, finished: Finished, *, by_vendor: bool) -> None:
        super().__init__()
        self.finished, self.by_vendor = finished, by_vendor


class Pipeline:
    """All stages as one.

    `thought` is the first one, for models whose thoughts may lack their opening tag; `probs` is for callers who want
    log probabilities.
    """

    __slots__ = ("_limit", "_probs", "_screening", "_thought")

    def __init__(
        self,
        screening: "Screening",
        limit: "LengthLimit",
        thought: LateThought | None = None,
        probs: TokenProbs | None = None,
    ) -> None:
        self._screening, self._limit = screening, limit
        self._thought, self._probs = thought, probs

    def feed(self, event: Event) -> Sequence[PipelineEvent]:
        """Return what passes now. After a `Finished` it is fed no more."""
        if isinstance(event, Delta) and event.text and self.passes(event.text):
            return (event,)
        if self._thought is None:
            return self._screened(event) if self._probs else self._stages(event)
        events = self._thought.feed(event)
        if self._thought.passed:
            self._thought = None
        if len(events) == 1:
            return self._screened(events[0]) if self._probs else self._stages(events[0])
        return self._until_finished(events)

    def passes(self, text: str) -> bool:
        """Feed content if all of it passes at once and unchanged; return whether it does.

        Nearly all content does, and `feed` costs twice as much.
        """
        thought, limit = self._thought, self._limit
        if self._probs is not None or len(text) >= limit.left or "\0" in text:
            return False
        if thought is None:
            passed = self._screening.passes(text)
        elif passed := not (thought.holds or "<" in text) and self._screening.passes(text):
            thought.keep(text)
        limit.left -= len(text) * passed
        return passed

    def flush(self) -> Sequence[PipelineEvent]:
        """Return the text that was held back, because the upstream failed and nothing follows."""
        passed = self._until_finished(self._thought.flush()) if self._thought else []
        if passed and isinstance(passed[-1], Finished):
            return passed
        rest = [out for one in self._screening.flush() for out in self._limit.feed(one)]
        return passed + (self._probs.released(rest) if self._probs else rest)

    def _screened(self, event: PipelineEvent) -> Sequence[PipelineEvent]:
        return self._probs.feed(event, self._stages) if self._probs else self._stages(event)

    def _stages(self, event: PipelineEvent) -> Sequence[PipelineEvent]:
        events = self._screening.feed(event)
        if len(events) == 1:  # nearly always, and the comprehension costs as much as a stage
            return self._limit.feed(events[0])
        return [out for one in events for out in self._limit.feed(one)]

    def _until_finished(self, events: Iterable[PipelineEvent]) -> list[PipelineEvent]:
        passed: list[PipelineEvent] = []
        for event in events:
            passed += self._screened(event)
            if any(isinstance(out, Finished) for out in passed):
                break
        return passed


class LengthLimit:
    """Ends a completion that reaches `max_chars` characters, reasoning included, with `length`.

    NUL characters do not count: they are dropped, because PostgreSQL would refuse the whole completion for one.
    """

    __slots__ = ("_details_left", "_images_left", "_max_chars", "left")

    def __init__(self, max_chars: int) -> None:
        self._max_chars = self.left = max_chars
        self._details_left, self._images_left = DETAILS_ROOM * max_chars, MAX_IMAGE_CHARS

    def feed(self, event: PipelineEvent) -> Sequence[PipelineEvent]:
        if isinstance(event, TEXT):
            if "\0" in event.text:
                event = type(event)(event.text.replace("\0", ""))
            if not event.text:
                return ()
            left = self.left
            self.left = rest = left - len(event.text)
            return (event,) if rest > 0 else (type(event)(event.text[:left]), Finished("length"))
        if isinstance(event, ToolCallDelta):
            self.left -= len(event.json)
            return (event,) if self.left > 0 else (Finished("length"),)  # a piece of JSON cannot be cut
        if isinstance(event, ReasoningDetails):
            # They repeat text that counted already, so they have as much room of their own.
            self._details_left -= len(event.json)
            return (event,) if self._details_left > 0 else ()
        if isinstance(event, CompletionImages):
            self._images_left -= len(event.json)
            return (event,) if self._images_left >= 0 else (Finished("length"),)
        if isinstance(event, Withdrawn):
            self.left = self._max_chars
        return (event,)


class Screening:
    """Masks sensitive words, and ends with `content_filter` before one that blocks.

    Content, reasoning and tool calls are each screened as a text of their own. `hits` receives what was found;
    `tools` are the names of the tools offered. This stage stands before `LengthLimit`, because a word that lies
    across the limit must be found too; of tool calls it holds back no more than passes that limit.

    A continuation begins with its `seam`: the end of the earlier text, which may begin a word that new text completes.
    With `has_reasoning` there is earlier reasoning, from which new reasoning is parted.
    """

    __slots__ = (
        *("_before", "_call_blocked", "_call_category", "_calls", "_content", "_has_reasoning", "_hits", "_max_chars"),
        *("_live", "_plain", "_reasoning", "_reasoning_interrupted", "_seam", "_seen", "_tools", "_used", "_words"),
    )

    def __init__(
        self,
        words: LiveWords | UserWords,
        hits: set[Found],
        max_chars: int,
        tools: Collection[str] = (),
        *,
        seam: str = "",
        has_reasoning: bool = False,
    ) -> None:
        self._words, self._live = words, words.live
        self._hits, self._max_chars, self._tools = hits, max_chars, tools
        self._seam, self._has_reasoning = seam, has_reasoning
        # Whether there were sensitive words at any time; an admin may add some in the middle of a completion.
        self._used = bool(seam) or has_reasoning
        self._call_blocked, self._call_category = False, ""
        self._restart()

    def _restart(self) -> None:
        lexicon = self._words.current.outgoing
        self._content, self._reasoning = Screen(lexicon), Screen(lexicon)
        self._calls = Calls(self._tools)
        self._reasoning_interrupted = self._has_reasoning
        # The seam, until it is screened.
        self._before = self._seam
        # The words at the last event, and whether the next content may pass at once by the same words.
        self._seen: Words | None = None
        self._plain = False

    def feed(self, event: PipelineEvent) -> Sequence[PipelineEvent]:
        self._seen = self._live.latest
        lexicon = self._words.current.outgoing
        passed: Sequence[PipelineEvent] = (event,)
        if self._used or not lexicon.empty:
            self._used = True
            passed = self._screened(event)
        if self._blocked:
            return [*passed, Finished("content_filter")]
        self._plain = not (self._before or self._reasoning.is_holding) and self._content.uses(lexicon)
        return passed

    def passes(self, text: str) -> bool:
        """Feed content if all of it passes at once and unchanged; return whether it does."""
        return self._plain and self._live.latest is self._seen and self._content.passes(text)

    def flush(self) -> list[PipelineEvent]:
        passed = self._flushed_reasoning()
        return passed if self._blocked else passed + self._passed_content(None)

    @property
    def content_blocked(self) -> bool:
        """Whether a word in the content ended the completion."""
        return self._content.blocked

    @property
    def refusal_texts(self) -> tuple[str, str] | None:
        """The texts for the category of what ended the completion, if something did."""
        category = self._content.category or self._reasoning.category or self._call_category
        return self._words.current.texts.get(category)

    @property
    def _blocked(self) -> bool:
        return self._content.blocked or self._reasoning.blocked or self._call_blocked

    def _screened(self, event: PipelineEvent) -> list[PipelineEvent]:
        if isinstance(event, Delta):
            # Content begins, so the held-back end of the reasoning is released now.
            passed = self._flushed_reasoning()
            self._reasoning_interrupted = self._reasoning_interrupted or bool(passed)
            return passed if self._blocked else passed + self._passed_content(event.text)
        if isinstance(event, Reasoning):
            return self._parting() + self._passed(Reasoning, self._reasoning, event.text)
        if isinstance(event, ToolCallDelta):
            self._calls.feed(event.json)
            return self._released_calls() if self._calls.chars >= self._max_chars else []
        if isinstance(event, ReasoningDetails):
            return self._opaque(event)
        if isinstance(event, CompletionImages):
            return self._pictures(event)
        if isinstance(event, Rethought):
            passed, self._content = self.flush(), Screen(self._words.current.outgoing)
            return passed if self._blocked else [*passed, event]
        if isinstance(event, Withdrawn):
            self._restart()
        passed = [*self.flush(), *self._released_calls()] if isinstance(event, Finished) else []
        return passed if self._blocked else [*passed, event]

    def _released_calls(self) -> list[PipelineEvent]:
        """Return the tool calls that were held back; none where a word blocks."""
        if self._blocked:
            return []
        calls, hits = self._calls.flush(self._words.current.outgoing)
        self._hits |= {hit.term.found for hit in hits}
        blocking = [hit.term for hit in hits if hit.term.blocks]
        self._call_blocked, self._call_category = bool(blocking), blocking[0].category if blocking else ""
        return [] if self._call_blocked else [ToolCallDelta(pieces) for pieces in calls]

    def _opaque(self, event: ReasoningDetails) -> list[PipelineEvent]:
        """Return the details that are no text, because words are not masked within signed text."""
        lexicon = self._words.current.outgoing
        items = [item for item in json.loads(event.json) if item.get("type") == "reasoning.encrypted"]
        kept = [item for item in items if not _hides(lexicon.find(json.dumps(item, ensure_ascii=False)))]
        return [ReasoningDetails(json.dumps(kept, separators=(",", ":")))] if kept else []

    def _pictures(self, event: CompletionImages) -> list[PipelineEvent]:
        """Return the images without text beside them; count those whose address has a word."""
        lexicon, kept = self._words.current.outgoing, []
        images = json.loads(event.json)
        for address in map(address_of, images):
            inline = _INLINE.fullmatch(address)
            text = inline[1] if inline else address
            if not 0 < len(text) <= MAX_ADDRESS_CHARS:
                continue
            hits = _in_address(lexicon, text)
            self._hits |= {hit.term.found for hit in hits}
            if not _hides(hits):
                kept.append(image_at(address))
        return [CompletionImages(encoded(kept), len(images) - len(kept))]

    def _flushed_reasoning(self) -> list[PipelineEvent]:
        return self._passed(Reasoning, self._reasoning, None) if self._reasoning.is_holding else []

    def _parting(self) -> list[PipelineEvent]:
        """Part new reasoning from flushed reasoning, so that the two cannot form a word."""
        if not self._reasoning_interrupted:
            return []
        self._reasoning_interrupted = False
        self._reasoning = Screen(self._words.current.outgoing)
        return [Reasoning(PARTING)]

    def _passed_content(self, text: str | None) -> list[PipelineEvent]:
        before, self._before = self._before, ""
        if text is None and before:
            return self._passed(Delta, self._content, before) + self._passed(Delta, self._content, None)
        return self._passed(Delta, self._content, text if text is None else before + text)

    def _passed(self, kind: type[Delta | Reasoning], screen: Screen, text: str | None) -> list[PipelineEvent]:
        passed = screen.flush() if text is None else screen.feed(text, self._words.current.outgoing)
        self._hits |= screen.hits
        return [kind(passed)] if passed else []


def _in_address(lexicon: Lexicon, address: str) -> list[Match]:
    """Return the hits in an address, as written and as a browser shows it."""
    decoded = unquote(address)
    return [*lexicon.find(address), *(lexicon.find(decoded) if decoded != address else ())]


def _hides(hits: Iterable[Match]) -> bool:
    return any(hit.term.hides for hit in hits)


def screened_sources(sources: Iterable[Source], lexicon: Lexicon, hits: set[Found]) -> list[Source]:
    """Return the pages without sensitive words; `hits` receives what was found.

    Only web addresses remain, at most `MAX_SOURCES`, whatever an adapter lets pass. A page whose address has a word is
    left out, because a masked address leads nowhere. A title with a word that blocks is emptied.
    """
    shown, listed = [], SourceList()
    for source in sources:
        listed.add(*source)
    for url, title in listed.event().items:
        in_url, in_title = _in_address(lexicon, url), lexicon.find(title)
        hits |= {hit.term.found for hit in (*in_url, *in_title)}
        if not _hides(in_url):
            blocked = any(hit.term.blocks for hit in in_title)
            shown.append(Source(url, "" if blocked else edits.screened(title, in_title)))
    return shown
