"""The prompt: the turns that are sent, and the allowed length of the completion."""

from chat.generations import prompt
from providers.wire.base import PromptMessage


def turns(*texts: str) -> list[PromptMessage]:
    """Return turns of the user and the assistant, the user's first."""
    return [PromptMessage("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)]


def test_the_system_prompt_comes_first() -> None:
    """System prompt first, then the turns in order; without a cap nothing is said about length."""
    messages, parameters = prompt.build(8000, {"temperature": 1}, "Be brief", turns("a", "b"))
    assert [(message.role, message.content) for message in messages] == [
        ("system", "Be brief"),
        ("user", "a"),
        ("assistant", "b"),
    ]
    assert parameters == {"temperature": 1}


def test_empty_turns_are_left_out() -> None:
    """A turn without a completion is not sent."""
    messages, _parameters = prompt.build(8000, {}, "", turns("a", " ", "b"))
    assert [message.content for message in messages] == ["a", "b"]


def test_oldest_turns_go_first() -> None:
    """Turns that do not fit the context are dropped, oldest first; system prompt and question stay."""
    messages, _parameters = prompt.build(8000, {}, "system", turns(*["x" * 4000] * 20, "last"))
    assert messages[0].content == "system"
    assert messages[-1].content == "last"
    assert 3 < len(messages) < 10


def test_the_cap_is_never_more_than_the_context_leaves() -> None:
    """`max_tokens` is lowered to what the prompt leaves of the context."""
    _messages, parameters = prompt.build(8192, {"max_tokens": 8000}, "", turns("x" * 4000))
    assert 7000 < parameters["max_tokens"] < 7192
    _messages, parameters = prompt.build(8192, {"max_tokens": 8000}, "", turns("x" * 40_000))
    assert parameters["max_tokens"] == prompt.MIN_COMPLETION_TOKENS
