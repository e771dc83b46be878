"""The scripted provider: the demo model and the double of other tests."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import Delta, Event, Finished, PromptMessage, Reasoning, Usage
from providers.wire.errors import UpstreamFailed
from providers.wire.scripted import Call, Scripted, cut_tokens, demo_reply
from tests.providers.streams import collect, request, text


async def test_text_is_streamed_token_by_token() -> None:
    """A text is streamed token by token, with usage and one `Finished` at the end."""
    provider = Scripted(["Hello, world"], delay_s=0)

    events = await collect(provider.stream(request(), None))

    assert events[:-2] == [Delta("Hello"), Delta(","), Delta(" world")]
    assert events[-2:] == [Usage(6, 3), Finished("stop")]
    await provider.aclose()


async def test_function_of_the_prompt() -> None:
    """A function gets the last message of the user."""
    provider = Scripted(str.upper, delay_s=0)
    prompt = (PromptMessage("user", "one"), PromptMessage("assistant", "two"), PromptMessage("user", "three"))

    assert text(await collect(provider.stream(request("demo", *prompt), None))) == "THREE"


async def test_replies_are_used_up_in_order() -> None:
    """Texts, failures and events are replies; calls are recorded; an empty queue is an error of the test."""
    failure = UpstreamFailed("no", action="wait")
    provider = Scripted(["one", failure, [Reasoning("hm"), Delta("two"), failure]], delay_s=0)
    ask, events = request(), list[Event]()

    assert text(await collect(provider.stream(ask, "k1"))) == "one"
    with pytest.raises(UpstreamFailed):
        await collect(provider.stream(ask, "k2"))
    with pytest.raises(UpstreamFailed):
        await collect(provider.stream(ask, None), events)
    assert events == [Reasoning("hm"), Delta("two")]
    with pytest.raises(LookupError):
        await collect(provider.stream(ask, None))
    assert provider.calls == [Call(ask, "k1"), Call(ask, "k2"), Call(ask, None), Call(ask, None)]


async def test_token_cap() -> None:
    """`max_tokens` cuts the text and finishes with `length`."""
    provider = Scripted(["one two three"], delay_s=0)

    events = await collect(provider.stream(request(parameters={"max_tokens": 2}), None))

    assert (text(events), events[-1]) == ("one two", Finished("length"))


async def test_pace() -> None:
    """Tokens come at the given pace."""
    provider = Scripted(["a b c d"], delay_s=0.02)
    started = time.monotonic()

    await collect(provider.stream(request(), None))

    assert time.monotonic() - started >= 4 * 0.02


@pytest.mark.parametrize(("prompt", "word"), [("What can you do?", "demo"), ("你能做什么？", "演示")])
def test_demo_replies_in_the_language_of_the_prompt(prompt: str, word: str) -> None:
    """The demo repeats the prompt, says what it is and what to set, and shows all kinds of Markdown."""
    answer = demo_reply(prompt)

    assert prompt in answer
    assert word in answer
    for part in ("## ", "\n1. ", "```python", "| --- |", "$E = mc^2$", "\n$$\n", "OPENAI_API_KEYS"):
        assert part in answer
    assert 230 <= len(cut_tokens(answer)) <= 400


def test_demo_quotes_one_short_line() -> None:
    """A long prompt of many lines is quoted in part, on one line."""
    answer = demo_reply("word\n" * 1000)

    assert "word word" in answer
    assert len(answer) < 2000


@given(st.text())
def test_cutting_loses_nothing(whole: str) -> None:
    """The tokens of any text join to the text."""
    assert "".join(cut_tokens(whole)) == whole
