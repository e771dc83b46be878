"""The provider behind the demo model."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import Delta, Endpoint, Finished, PromptMessage, Usage, prompt_tokens
from providers.wire.scripted import Scripted, cut_tokens, demo_reply
from tests.providers.streams import collect, request, text


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Return the demo, which streams at once."""
    monkeypatch.setattr(Scripted, "delay_s", 0)
    return Scripted(Endpoint(""))


async def test_text_is_streamed_token_by_token(provider: Scripted) -> None:
    """The reply is streamed token by token, with usage and one `Finished` at the end."""
    ask = request()
    reply = cut_tokens(demo_reply(ask.messages[-1].content))

    events = await collect(provider.stream(ask, None))

    assert events == [*map(Delta, reply), Usage(prompt_tokens(ask.messages), len(reply)), Finished("stop")]
    await provider.aclose()


async def test_the_last_prompt_of_the_user_is_quoted(provider: Scripted) -> None:
    """The demo quotes the last message of the user."""
    prompt = (PromptMessage("user", "one"), PromptMessage("assistant", "two"), PromptMessage("user", "three"))

    assert text(await collect(provider.stream(request("demo", *prompt), None))) == demo_reply("three")


async def test_token_cap(provider: Scripted) -> None:
    """`max_tokens` cuts the text and finishes with `length`."""
    events = await collect(provider.stream(request(parameters={"max_tokens": 2}), None))

    assert (text(events), events[-1]) == ("## This", Finished("length"))


async def test_pace(provider: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens come at the given pace."""
    monkeypatch.setattr(Scripted, "delay_s", 0.02)
    started = time.monotonic()

    await collect(provider.stream(request(parameters={"max_tokens": 4}), None))

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
