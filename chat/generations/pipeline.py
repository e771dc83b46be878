"""Stages between a provider's events and the channel: async generators from events to events, composed like pipes."""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from chat.screening import live
from chat.screening.nested import Calls
from chat.screening.stream import Screen
from providers.wire.base import Delta, Event, Finished, Reasoning, ToolCallDelta, Withdrawn
from providers.wire.errors import ProviderError

# Between two pieces of thinking with an answer in between: more separators than words are matched through.
PARTING = "\n\n…\n\n"


async def limited(events: AsyncGenerator[Event, None], max_chars: int) -> AsyncGenerator[Event, None]:
    """End an answer that reaches `max_chars` characters, reasoning included, with `length`; the upstream is closed."""
    left = max_chars
    async with aclosing(events) as source:
        async for event in source:
            if isinstance(event, Delta | Reasoning):
                # NUL is text to nobody, and PostgreSQL would refuse the whole answer for it.
                text = event.text.replace("\0", "")
                if not text:
                    continue
                if len(text) >= left:
                    yield type(event)(text[:left])
                    yield Finished("length")
                    return
                left -= len(text)
                yield event if len(text) == len(event.text) else type(event)(text)
            else:
                if isinstance(event, ToolCallDelta):
                    left -= len(event.json)
                    if left <= 0:  # a piece of JSON cannot be cut
                        yield Finished("length")
                        return
                elif isinstance(event, Withdrawn):
                    left = max_chars
                yield event


async def screened(
    events: AsyncGenerator[Event, None], hits: set[int], max_chars: int, tools: Collection[str] = ()
) -> AsyncGenerator[Event, None]:
    """Mask sensitive words, and end with `content_filter` before one that blocks; the upstream is closed then.

    `hits` takes the ids of the words found, `tools` are the names of those offered. Before `limited`, so that a word
    that lies across the limit is found too; of tool calls no more is held back than will pass that.
    """
    screens = Screens(hits, max_chars, tools)
    async with aclosing(events) as source:
        try:
            async for event in source:
                if screens.idle:
                    yield event
                    continue
                for passed in screens.passed(event):
                    yield passed
                if screens.blocked:
                    yield Finished("content_filter")
                    return
        except ProviderError:
            # Routing has seen what is held back, and tries no more: it is the end of the text that is kept.
            for passed in screens.flushed():
                yield passed
            raise


class Screens:
    """Content, reasoning and tool calls of one answer, each screened as a text of its own."""

    def __init__(self, hits: set[int], max_chars: int, tools: Collection[str]) -> None:
        self._hits, self._max_chars, self._tools = hits, max_chars, tools
        self._used = self._call_blocked = False
        self._begin()

    def _begin(self) -> None:
        lexicon = live.now().outgoing
        self._content, self._reasoning = Screen(lexicon), Screen(lexicon)
        self._calls = Calls(self._tools)
        self._interrupted = False

    @property
    def idle(self) -> bool:
        """Whether there are no words and have been none: they may come in the middle of an answer."""
        return not self._used and live.now().outgoing.empty

    @property
    def blocked(self) -> bool:
        return self._content.blocked or self._reasoning.blocked or self._call_blocked

    def passed(self, event: Event) -> list[Event]:
        """Return what may be said now that this event has come."""
        self._used = True
        if isinstance(event, Delta):
            # The answer begins: nobody is to wait until its end for the last words of the thinking.
            said = self._flushed_reasoning()
            self._interrupted = self._interrupted or bool(said)
            return said if self.blocked else said + self._said(Delta, self._content, event.text)
        if isinstance(event, Reasoning):
            return self._resumed() + self._said(Reasoning, self._reasoning, event.text)
        if isinstance(event, ToolCallDelta):
            self._calls.feed(event.json)
            return self._called() if self._calls.chars >= self._max_chars else []
        if isinstance(event, Withdrawn):
            self._begin()
        said = [*self.flushed(), *self._called()] if isinstance(event, Finished) else []
        return said if self.blocked else [*said, event]

    def flushed(self) -> list[Event]:
        """Return what is held back, as nothing follows it."""
        said = self._flushed_reasoning()
        return said if self.blocked else said + self._said(Delta, self._content, None)

    def _called(self) -> list[Event]:
        """Return the tool calls that were held back; none where a word blocks."""
        if self.blocked:
            return []
        calls, hits = self._calls.flush(live.now().outgoing)
        self._hits |= {hit.term.id for hit in hits}
        self._call_blocked = any(hit.term.blocks for hit in hits)
        return [] if self._call_blocked else [ToolCallDelta(pieces) for pieces in calls]

    def _flushed_reasoning(self) -> list[Event]:
        return self._said(Reasoning, self._reasoning, None) if self._reasoning.is_holding else []

    def _resumed(self) -> list[Event]:
        """Part thinking that goes on from thinking that was let go: no word may come of the two."""
        if not self._interrupted:
            return []
        self._interrupted = False
        self._reasoning = Screen(live.now().outgoing)
        return [Reasoning(PARTING)]

    def _said(self, kind: type[Delta | Reasoning], screen: Screen, text: str | None) -> list[Event]:
        said = screen.flush() if text is None else screen.feed(text, live.now().outgoing)
        self._hits |= screen.hits
        return [kind(said)] if said else []
