"""Token estimates and trimming."""

from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import PromptMessage, estimate_tokens, prompt_tokens, trim

messages = st.lists(
    st.builds(PromptMessage, st.sampled_from(["user", "assistant"]), st.text(max_size=60)), min_size=1, max_size=8
)


def turns(*contents: str) -> list[PromptMessage]:
    """Return alternating turns, the user's first."""
    return [PromptMessage("assistant" if n % 2 else "user", content) for n, content in enumerate(contents)]


def test_prompt_that_fits_is_left_alone() -> None:
    """A prompt that fits is left alone."""
    prompt = turns("one", "two", "three")

    assert trim(prompt, 1000) == tuple(prompt)


def test_estimates_by_script() -> None:
    """Four ASCII characters or one and a half others are a token, rounded up."""
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "你好吗", "你好吗abcd")] == [0, 1, 1, 2, 2, 3]


def test_drops_the_oldest_turns_first() -> None:
    """The newest turns that fit are kept, beginning with one of the user's."""
    prompt = turns("a" * 400, "b" * 400, "c" * 400, "d" * 400, "e" * 400)

    assert trim(prompt, 3 * 104) == tuple(prompt[2:])
    assert trim(prompt, 4 * 104) == tuple(prompt[2:])


def test_keeps_system_and_last_message_over_any_budget() -> None:
    """The system message and the last one stay even when they alone are too long."""
    prompt = [PromptMessage("system", "s" * 400), *turns("a", "b", "c" * 400)]

    assert trim(prompt, 10) == (prompt[0], prompt[-1])


def test_a_lone_system_message_stays() -> None:
    """A prompt of one message is never emptied."""
    prompt = [PromptMessage("system", "s" * 400)]

    assert trim(prompt, 0) == tuple(prompt)
    assert trim([], 0) == ()


@given(messages, st.integers(0, 200), st.booleans())
def test_result_fits_or_is_minimal(prompt: list[PromptMessage], budget: int, system: bool) -> None:
    """The result is the prompt's head and a tail of it, within the budget unless nothing else is left."""
    head = [PromptMessage("system", "be brief")] if system else []

    kept = trim(head + prompt, budget)

    rest = kept[len(head) :]
    assert list(kept[: len(head)]) == head
    assert rest == tuple(prompt[-len(rest) :])
    assert prompt_tokens(kept) <= budget or len(rest) == 1
