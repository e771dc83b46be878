"""The stage between the upstream's events and the log: what passes when, and how it ends."""

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
    """Events, and whether whoever asked for them has closed them."""

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
    """Let these words count, as they would had they been loaded."""

    def set_words(*masking: str, blocking: tuple[str, ...] = ()) -> None:
        lexicon = oracle.Words(masking, blocking).lexicon()
        monkeypatch.setattr(chat().words, "_words", Words(1, lexicon, lexicon))

    return set_words


async def passed(upstream: Upstream, limit: int = 1000) -> list[Event]:
    """Return all events that come out."""
    return [event async for event in limited(screened(upstream.run(), set(), limit, ["offered"]), limit)]


async def test_it_works(listed: Any) -> None:
    """What is held back comes before the end; events without text pass at once and in order."""
    listed("abc", "ba")
    events = [Delta("x a"), Notice("retrying", 1), Delta("b"), Usage(1, 2), Delta("c "), Delta("b"), STOP]
    wanted = [Delta("x "), Notice("retrying", 1), Usage(1, 2), Delta("*** "), Delta("b"), STOP]
    assert await passed(Upstream(*events)) == wanted


async def test_without_words(listed: Any) -> None:
    """With an empty list the very events of the upstream pass."""
    listed()
    events = [Reasoning("hm"), Delta("a"), Delta("b"), STOP]
    assert [id(event) for event in await passed(Upstream(*events))] == [id(event) for event in events]


async def test_nothing_passes_before_the_words_are_loaded() -> None:
    """A process that has not read its words says nothing."""
    with pytest.raises(RuntimeError):
        await passed(Upstream(Delta("a"), STOP))


async def test_blocked(listed: Any) -> None:
    """A word that blocks closes the upstream, ends with content_filter, and nothing follows."""
    listed("mask", blocking=("stop",))
    upstream = Upstream(Delta("mask a s"), Delta("top!"), Delta("more"), STOP)
    assert await passed(upstream) == [Delta("**** a "), Finished("content_filter")]
    assert upstream.closed
    assert upstream.taken == 2


async def test_blocked_at_the_end(listed: Any) -> None:
    """A word that blocks may turn out to be one only when the upstream ends; then that is how it ends."""
    listed(blocking=("stop",))
    assert await passed(Upstream(Delta("a stop"), STOP)) == [Delta("a "), Finished("content_filter")]


async def test_withdrawn(listed: Any) -> None:
    """What is withdrawn is no part of what follows it."""
    listed("ab")
    assert await passed(Upstream(Delta("x a"), Withdrawn(), Delta("b"), STOP)) == [
        *(Delta("x "), Withdrawn(), Delta("b"), STOP)
    ]


async def test_thinking_ends_when_the_answer_begins(listed: Any) -> None:
    """Thinking that was held back is shown before the answer begins; what comes after all is parted from it."""
    listed("ab", "cd")
    events = [Reasoning("x a"), Delta("b c"), Reasoning("b c"), Reasoning("d"), Delta("d"), STOP]
    wanted = [Reasoning("x "), Reasoning("a"), Delta("b "), Reasoning(PARTING), Reasoning("b "), Reasoning("**")]
    assert await passed(Upstream(*events)) == [*wanted, Delta("**"), STOP]
    assert len(PARTING) > MOST_SEPARATORS


async def test_thinking_that_held_nothing_back_goes_on(listed: Any) -> None:
    """Thinking that was shown whole needs no parting."""
    listed("ab")
    events = [Reasoning("x. "), Delta("y"), Reasoning("z"), STOP]
    assert await passed(Upstream(*events)) == events


async def test_a_blocked_thought_before_the_answer(listed: Any) -> None:
    """A word that blocks may end the thinking; then nothing of the answer is shown."""
    listed(blocking=("stop",))
    upstream = Upstream(Reasoning("now stop"), Delta("Hello"), STOP)
    assert await passed(upstream) == [Reasoning("now "), Finished("content_filter")]
    assert upstream.closed


async def test_a_word_across_the_limit(listed: Any) -> None:
    """A word that lies across the end of an answer that is cut for its length does not get out either."""
    listed("limits", blocking=("boundary",))
    upstream = Upstream(Delta("1234567 "), Delta("li"), Delta("mits"), Delta(" and more"), STOP)
    assert await passed(upstream, 10) == [Delta("1234567 "), Delta("**"), Finished("length")]
    assert upstream.closed
    upstream = Upstream(Delta("1234567 bound"), Delta("ary "), Delta("more"), STOP)
    assert await passed(upstream, 10) == [Delta("1234567 "), Finished("content_filter")]


def call(arguments: str, index: int = 0) -> ToolCallDelta:
    return ToolCallDelta(json.dumps([{"index": index, "function": {"arguments": arguments}}]))


async def test_tool_calls(listed: Any) -> None:
    """Calls are held back until the end, and come as they came, or masked; text is not kept waiting by them."""
    listed("abc")
    events = [call('{"q": "a'), Delta("x a"), call('b"}'), Finished("tool_calls")]
    wanted = [Delta("x "), Delta("a"), events[0], events[2], events[3]]
    assert await passed(Upstream(*events)) == wanted
    out = await passed(Upstream(call('{"q": "a'), call('bc"}'), Finished("tool_calls")))
    assert out == [call('{"q": "***"}'), call(""), Finished("tool_calls")]


async def test_tool_calls_that_are_not_made(listed: Any) -> None:
    """A word that blocks keeps all calls back, and so do a failure and a word in the text before them."""
    listed(blocking=("stop",))
    upstream = Upstream(call("1 "), call("st"), call("op"), Delta("hm"), Finished("tool_calls"))
    assert await passed(upstream) == [Delta("hm"), Finished("content_filter")]
    assert await passed(Upstream(call("1"), Delta("stop"), Finished("tool_calls"))) == [Finished("content_filter")]
    with pytest.raises(ProviderError):
        await passed(Upstream(call("1"), ProviderError("gone", action="ops")))


async def test_tool_calls_are_bounded(listed: Any) -> None:
    """No more of calls is held back than an answer may have."""
    listed("abc")
    upstream = Upstream(*[call("1234")] * 1000, STOP)
    size = len(call("1234").json)
    assert await passed(upstream, size * 5) == [*[call("1234")] * 4, Finished("length")]
    assert upstream.taken == 5


async def test_failure(listed: Any) -> None:
    """The failure of the upstream comes after the text that was held back, and is not taken for an end of ours."""
    listed("abc", blocking=("xyz",))
    for text, shown in (("1 ab", ["1 ", "ab"]), ("1 abc", ["1 ", "***"]), ("1 xyz", ["1 "])):
        stage = screened(Upstream(Delta(text), ProviderError("gone", action="ops")).run(), set(), 1000)
        assert [await anext(stage) for _ in shown] == [Delta(piece) for piece in shown]
        with pytest.raises(ProviderError):
            await anext(stage)


async def test_hits(listed: Any) -> None:
    """The ids of all words found are told, each once."""
    listed("ab", "cd", blocking=("ef",))
    hits: set[int] = set()
    upstream = Upstream(Reasoning("cd cd "), Delta("ab ef"), STOP)
    assert [event async for event in screened(upstream.run(), hits, 1000)][-1] == Finished("content_filter")
    assert hits == {1, 2, 3}
