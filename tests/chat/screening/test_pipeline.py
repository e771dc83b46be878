"""The screening stage between the upstream's events and the log: what passes, when, and how it ends."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from chat.apps import chat
from chat.generations.pipeline import PARTING, limited, screened
from chat.screening.live import Words
from chat.screening.tracking import MOST_SEPARATORS
from providers.wire.base import Delta, Event, Finished, Notice, Reasoning, ToolCallDelta, Usage, Withdrawn
from providers.wire.errors import ProviderError
from tests.chat.screening import oracle

STOP = Finished("stop")


class Upstream:
    """Scripted events, and whether their consumer has closed them."""

    def __init__(self, *events: Event | Exception) -> None:
        self.events, self.closed, self.taken = events, False, 0

    async def run(self) -> AsyncGenerator[Event, None]:
        try:
            for event in self.events:
                self.taken += 1
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Use these words as if they had been loaded."""

    def set_words(*masking: str, blocking: tuple[str, ...] = ()) -> None:
        lexicon = oracle.Words(masking, blocking).lexicon()
        monkeypatch.setattr(chat().words, "_words", Words(1, lexicon, lexicon))

    return set_words


async def passed(upstream: Upstream, limit: int = 1000) -> list[Event]:
    """Return all events that pass."""
    return [event async for event in limited(screened(upstream.run(), set(), limit, ["offered"]), limit)]


async def test_held_back_text_comes_before_the_end(listed: Any) -> None:
    """Held back text comes before the end; events without text pass at once, in order."""
    listed("abc", "ba")
    events = [Delta("x a"), Notice("retrying", 1), Delta("b"), Usage(1, 2), Delta("c "), Delta("b"), STOP]
    wanted = [Delta("x "), Notice("retrying", 1), Usage(1, 2), Delta("*** "), Delta("b"), STOP]
    assert await passed(Upstream(*events)) == wanted


async def test_without_words(listed: Any) -> None:
    """With an empty list the upstream's own event objects pass."""
    listed()
    events = [Reasoning("hm"), Delta("a"), Delta("b"), STOP]
    assert [id(event) for event in await passed(Upstream(*events))] == [id(event) for event in events]


async def test_nothing_passes_before_the_words_are_loaded() -> None:
    """Without loaded words the stage raises."""
    with pytest.raises(RuntimeError):
        await passed(Upstream(Delta("a"), STOP))


async def test_blocked(listed: Any) -> None:
    """A blocking word closes the upstream and ends with content_filter; no event follows."""
    listed("mask", blocking=("stop",))
    upstream = Upstream(Delta("mask a s"), Delta("top!"), Delta("more"), STOP)
    assert await passed(upstream) == [Delta("**** a "), Finished("content_filter")]
    assert upstream.closed
    assert upstream.taken == 2


async def test_blocked_at_the_end(listed: Any) -> None:
    """A word that only the upstream's end completes also blocks."""
    listed(blocking=("stop",))
    assert await passed(Upstream(Delta("a stop"), STOP)) == [Delta("a "), Finished("content_filter")]


async def test_withdrawn(listed: Any) -> None:
    """Withdrawn text does not combine with later text."""
    listed("ab")
    assert await passed(Upstream(Delta("x a"), Withdrawn(), Delta("b"), STOP)) == [
        *(Delta("x "), Withdrawn(), Delta("b"), STOP)
    ]


async def test_reasoning_is_flushed_when_content_begins(listed: Any) -> None:
    """Held back reasoning comes before content; reasoning that resumes later is set apart."""
    listed("ab", "cd")
    events = [Reasoning("x a"), Delta("b c"), Reasoning("b c"), Reasoning("d"), Delta("d"), STOP]
    wanted = [Reasoning("x "), Reasoning("a"), Delta("b "), Reasoning(PARTING), Reasoning("b "), Reasoning("**")]
    assert await passed(Upstream(*events)) == [*wanted, Delta("**"), STOP]
    assert len(PARTING) > MOST_SEPARATORS


async def test_reasoning_without_held_back_text_continues(listed: Any) -> None:
    """Reasoning that was shown completely continues without a separator."""
    listed("ab")
    events = [Reasoning("x. "), Delta("y"), Reasoning("z"), STOP]
    assert await passed(Upstream(*events)) == events


async def test_a_blocked_word_in_reasoning_hides_the_content(listed: Any) -> None:
    """If a blocking word ends the reasoning, no content is shown."""
    listed(blocking=("stop",))
    upstream = Upstream(Reasoning("now stop"), Delta("Hello"), STOP)
    assert await passed(upstream) == [Reasoning("now "), Finished("content_filter")]
    assert upstream.closed


async def test_a_word_across_the_limit(listed: Any) -> None:
    """A word across the length limit is masked too."""
    listed("limits", blocking=("boundary",))
    upstream = Upstream(Delta("1234567 "), Delta("li"), Delta("mits"), Delta(" and more"), STOP)
    assert await passed(upstream, 10) == [Delta("1234567 "), Delta("**"), Finished("length")]
    assert upstream.closed
    upstream = Upstream(Delta("1234567 bound"), Delta("ary "), Delta("more"), STOP)
    assert await passed(upstream, 10) == [Delta("1234567 "), Finished("content_filter")]


def call(arguments: str, index: int = 0) -> ToolCallDelta:
    return ToolCallDelta(json.dumps([{"index": index, "function": {"arguments": arguments}}]))


async def test_tool_calls(listed: Any) -> None:
    """Tool calls are held back to the end and masked; text is not."""
    listed("abc")
    events = [call('{"q": "a'), Delta("x a"), call('b"}'), Finished("tool_calls")]
    wanted = [Delta("x "), Delta("a"), events[0], events[2], events[3]]
    assert await passed(Upstream(*events)) == wanted
    out = await passed(Upstream(call('{"q": "a'), call('bc"}'), Finished("tool_calls")))
    assert out == [call('{"q": "***"}'), call(""), Finished("tool_calls")]


async def test_tool_calls_that_are_not_made(listed: Any) -> None:
    """A blocking word in calls or text drops all calls, and so does a failure."""
    listed(blocking=("stop",))
    upstream = Upstream(call("1 "), call("st"), call("op"), Delta("hm"), Finished("tool_calls"))
    assert await passed(upstream) == [Delta("hm"), Finished("content_filter")]
    assert await passed(Upstream(call("1"), Delta("stop"), Finished("tool_calls"))) == [Finished("content_filter")]
    with pytest.raises(ProviderError):
        await passed(Upstream(call("1"), ProviderError("gone", action="ops")))


async def test_tool_calls_are_bounded(listed: Any) -> None:
    """Held back calls are no longer than a completion may be."""
    listed("abc")
    upstream = Upstream(*[call("1234")] * 1000, STOP)
    size = len(call("1234").json)
    assert await passed(upstream, size * 5) == [*[call("1234")] * 4, Finished("length")]
    assert upstream.taken == 5


async def test_failure(listed: Any) -> None:
    """The upstream's failure follows the text that was held back."""
    listed("abc", blocking=("xyz",))
    for text, shown in (("1 ab", ["1 ", "ab"]), ("1 abc", ["1 ", "***"]), ("1 xyz", ["1 "])):
        stage = screened(Upstream(Delta(text), ProviderError("gone", action="ops")).run(), set(), 1000)
        assert [await anext(stage) for _ in shown] == [Delta(piece) for piece in shown]
        with pytest.raises(ProviderError):
            await anext(stage)


async def test_hits(listed: Any) -> None:
    """The ids of all found words are reported, each once."""
    listed("ab", "cd", blocking=("ef",))
    hits: set[int] = set()
    upstream = Upstream(Reasoning("cd cd "), Delta("ab ef"), STOP)
    assert [event async for event in screened(upstream.run(), hits, 1000)][-1] == Finished("content_filter")
    assert hits == {1, 2, 3}
