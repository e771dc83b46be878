"""The stages between the upstream's events and the sink: which events pass when, and how a generation ends."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.apps import chat
from chat.generations.late_thought import LateThought
from chat.generations.pipeline import PARTING, LengthLimit, Pipeline, Screening
from chat.screening.found import Found
from chat.screening.live import Words
from chat.screening.tracking import MOST_SEPARATORS
from providers.wire.base import Delta, Event, Finished, Notice, Reasoning, ToolCallDelta, Usage, Withdrawn
from tests.chat.screening import oracle

STOP = Finished("stop")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Use these words as if they had been loaded."""

    def set_words(*masking: str, blocking: tuple[str, ...] = ()) -> None:
        lexicon = oracle.Words(masking, blocking).lexicon()
        monkeypatch.setattr(chat().words, "latest", Words(1, lexicon, lexicon))

    return set_words


def pipeline(limit: int = 1000, hits: set[Found] | None = None) -> Pipeline:
    screening = Screening(chat().words, set() if hits is None else hits, limit, ["offered"])
    return Pipeline(screening, LengthLimit(limit))


def fed(stages: Pipeline, *events: Event) -> tuple[list[Event], int]:
    """Feed events up to the first `Finished` that comes out; return what came out, and how many were fed."""
    passed: list[Event] = []
    for count, event in enumerate(events, 1):
        for out in stages.feed(event):
            passed.append(out)
            if isinstance(out, Finished):
                return passed, count
    return passed, len(events)


def passed(*events: Event, limit: int = 1000) -> list[Event]:
    return fed(pipeline(limit), *events)[0]


def flushed(*events: Event) -> Sequence[Event]:
    """Return what comes out when the upstream fails after these events."""
    stages = pipeline()
    return [*fed(stages, *events)[0], *stages.flush()]


def test_text_held_back_comes_before_the_end(listed: Any) -> None:
    """Events without text pass at once and in order."""
    listed("abc", "ba")
    events = [Delta("x a"), Notice("retrying", 1), Delta("b"), Usage(1, 2), Delta("c "), Delta("b"), STOP]
    wanted = [Delta("x "), Notice("retrying", 1), Usage(1, 2), Delta("*** "), Delta("b"), STOP]
    assert passed(*events) == wanted


def test_without_words_the_same_events_pass(listed: Any) -> None:
    listed()
    events = [Reasoning("hm"), Delta("a"), Delta("b"), STOP]
    assert [id(event) for event in passed(*events)] == [id(event) for event in events]


def test_nothing_passes_before_the_words_are_loaded() -> None:
    with pytest.raises(RuntimeError):
        passed(Delta("a"), STOP)


def test_blocking_word_finishes_at_once(listed: Any) -> None:
    """The generation ends with content_filter before the word."""
    listed("mask", blocking=("stop",))
    events = (Delta("mask a s"), Delta("top!"), Delta("more"), STOP)
    assert fed(pipeline(), *events) == ([Delta("**** a "), Finished("content_filter")], 2)


def test_blocking_word_recognised_at_the_end(listed: Any) -> None:
    """A word may turn out to be one only when the upstream ends; then the end is content_filter too."""
    listed(blocking=("stop",))
    assert passed(Delta("a stop"), STOP) == [Delta("a "), Finished("content_filter")]


def test_withdrawn_text_forms_no_word_with_what_follows(listed: Any) -> None:
    listed("ab")
    assert passed(Delta("x a"), Withdrawn(), Delta("b"), STOP) == [Delta("x "), Withdrawn(), Delta("b"), STOP]


def test_reasoning_is_flushed_when_content_begins(listed: Any) -> None:
    """Reasoning that comes after content is parted from the reasoning before."""
    listed("ab", "cd")
    events = [Reasoning("x a"), Delta("b c"), Reasoning("b c"), Reasoning("d"), Delta("d"), STOP]
    wanted = [Reasoning("x "), Reasoning("a"), Delta("b "), Reasoning(PARTING), Reasoning("b "), Reasoning("**")]
    assert passed(*events) == [*wanted, Delta("**"), STOP]
    assert len(PARTING) > MOST_SEPARATORS


def test_reasoning_that_held_nothing_back_needs_no_parting(listed: Any) -> None:
    listed("ab")
    events = [Reasoning("x. "), Delta("y"), Reasoning("z"), STOP]
    assert passed(*events) == events


def test_blocking_word_in_reasoning_keeps_content_back(listed: Any) -> None:
    listed(blocking=("stop",))
    events = (Reasoning("now stop"), Delta("Hello"), STOP)
    assert fed(pipeline(), *events) == ([Reasoning("now "), Finished("content_filter")], 2)


def test_word_across_the_length_limit(listed: Any) -> None:
    """A word that lies across the limit is masked or blocked like any other."""
    listed("limits", blocking=("boundary",))
    events: tuple[Event, ...] = (Delta("1234567 "), Delta("li"), Delta("mits"), Delta(" and more"), STOP)
    assert passed(*events, limit=10) == [Delta("1234567 "), Delta("**"), Finished("length")]
    events = (Delta("1234567 bound"), Delta("ary "), Delta("more"), STOP)
    assert passed(*events, limit=10) == [Delta("1234567 "), Finished("content_filter")]


def call(arguments: str, index: int = 0) -> ToolCallDelta:
    return ToolCallDelta(json.dumps([{"index": index, "function": {"arguments": arguments}}]))


def test_tool_calls_wait_for_the_end(listed: Any) -> None:
    """Calls come unchanged or masked; text does not wait for them."""
    listed("abc")
    events = [call('{"q": "a'), Delta("x a"), call('b"}'), Finished("tool_calls")]
    wanted = [Delta("x "), Delta("a"), events[0], events[2], events[3]]
    assert passed(*events) == wanted
    out = passed(call('{"q": "a'), call('bc"}'), Finished("tool_calls"))
    assert out == [call('{"q": "***"}'), call(""), Finished("tool_calls")]


def test_blocked_or_failed_completion_has_no_tool_calls(listed: Any) -> None:
    """A blocking word in any call or in the text keeps all calls back; so does a failure."""
    listed(blocking=("stop",))
    events = (call("1 "), call("st"), call("op"), Delta("hm"), Finished("tool_calls"))
    assert passed(*events) == [Delta("hm"), Finished("content_filter")]
    assert passed(call("1"), Delta("stop"), Finished("tool_calls")) == [Finished("content_filter")]
    assert flushed(call("1")) == []


def test_tool_calls_held_back_are_bounded(listed: Any) -> None:
    """No more is held back than the length limit lets pass."""
    listed("abc")
    stages = pipeline(len(call("1234").json) * 5)
    assert fed(stages, *[call("1234")] * 1000, STOP) == ([*[call("1234")] * 4, Finished("length")], 5)


@pytest.mark.parametrize(("text", "shown"), [("1 ab", ["1 ", "ab"]), ("1 abc", ["1 ", "***"]), ("1 xyz", ["1 "])])
def test_failure_flushes_text_held_back(listed: Any, text: str, shown: list[str]) -> None:
    """A word that blocks stays back, and adds no end to the failure."""
    listed("abc", blocking=("xyz",))
    assert flushed(Delta(text)) == [Delta(piece) for piece in shown]


def test_flushed_text_counts_for_the_limit(listed: Any) -> None:
    listed("abc")
    stages = pipeline(3)
    assert fed(stages, Delta("1 ab")) == ([Delta("1 ")], 1)
    assert stages.flush() == [Delta("a"), Finished("length")]


def test_hits_name_each_word_once(listed: Any) -> None:
    listed("ab", "cd", blocking=("ef",))
    hits: set[Found] = set()
    events, _count = fed(pipeline(hits=hits), Reasoning("cd cd "), Delta("ab ef"), STOP)
    assert events[-1] == Finished("content_filter")
    assert {(hit.id, hit.action) for hit in hits} == {(1, "mask"), (2, "mask"), (3, "block")}


def test_nul_is_dropped(listed: Any) -> None:
    listed()
    assert passed(Delta("a\0b"), Reasoning("\0"), Delta(""), STOP) == [Delta("ab"), STOP]


@pytest.mark.contract("setting: MAX_ANSWER_CHARS")
@pytest.mark.parametrize(
    ("limit", "kept", "reason"), [(3, "abc", "length"), (4, "abcd", "length"), (5, "abcd", "stop")]
)
def test_length_limit(listed: Any, limit: int, kept: str, reason: str) -> None:
    listed()
    events = passed(Delta("ab"), Delta("cd"), STOP, limit=limit)
    assert "".join(event.text for event in events if isinstance(event, Delta)) == kept
    assert events[-1] == Finished(reason)  # type: ignore[arg-type]


def test_length_limit_starts_again_after_withdrawn_text(listed: Any) -> None:
    listed()
    assert passed(Delta("ab"), Withdrawn(), Delta("ab"), STOP, limit=3)[-1] == STOP


def test_tool_calls_count_for_the_limit(listed: Any) -> None:
    """A piece that goes beyond the limit is left out, because JSON cannot be cut."""
    listed()
    events = (Delta("ab"), ToolCallDelta("[{}]"), ToolCallDelta("[{}]"), Finished("tool_calls"))
    assert passed(*events, limit=10) == [Delta("ab"), ToolCallDelta("[{}]"), Finished("length")]


class Slow(Pipeline):
    """Takes all content through all stages."""

    __slots__ = ()

    def passes(self, text: str) -> bool:
        return False


TEXTS = st.lists(st.sampled_from(["a", "b", "<", "/think>", "</think>", "\n", "```\n", ".", "\0", "中", " ", ""])).map(
    "".join
)
EVENTS = st.lists(st.one_of(st.builds(Delta, TEXTS), st.builds(Reasoning, TEXTS), st.just(Withdrawn())), max_size=12)


@given(EVENTS, st.integers(1, 40), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_short_way_is_the_long_way(listed: Any, events: list[Event], limit: int, thinks: bool) -> None:
    """Content that passes at once comes out as it does when each stage looks at it, and leaves the same behind."""
    listed("aba", blocking=("bb",))
    found = []
    for kind in (Pipeline, Slow):
        hits: set[Found] = set()
        screening = Screening(chat().words, hits, limit)
        stages = kind(screening, LengthLimit(limit), LateThought() if thinks else None)
        found.append((fed(stages, *events, STOP), hits))
    assert found[0] == found[1]
