"""A conversation with completions that failed or were stopped, as the vendor gets it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI.in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, upstream: FakeOpenAI) -> Iterator[Product]:
    models = {"broken": "http_400:invalid_request_error", "small": "context_chars:1000"}
    with Product(tmp_path_factory.mktemp("joined"), **connected(upstream, **models)) as product:
        yield product


@pytest.fixture
def sent(upstream: FakeOpenAI) -> Any:
    """Return a function that returns the turns of the last request, as (role, content)."""

    def last() -> list[tuple[str, str]]:
        return [(turn["role"], turn["content"]) for turn in upstream.requests[-1].body["messages"]]

    return last


def conversation_of(events: list[Any]) -> int:
    return int(events[0].data["conversation"])


@pytest.mark.parametrize(("model", "end"), [("broken", "error"), ("empty", "done")])
def test_no_hole_is_left_of_an_empty_completion(api_user: ApiUser, sent: Any, model: str, end: str) -> None:
    """A completion that failed or was empty is not sent; the user turns around it are one."""
    events = api_user.answer("one", "gpt-4-echo")
    conversation = conversation_of(events)
    failed = api_user.answer("two", model, conversation=conversation)
    assert failed[-1].name == end
    assert api_user.messages(conversation)[-1]["content"] == ""

    last = api_user.answer("three", "gpt-4-echo", conversation=conversation)

    assert sent() == [("user", "one"), ("assistant", "one"), ("user", "two\n\nthree")]
    assert last[-1].name == "done"
    # The turns stay two in the conversation: only the vendor gets them as one.
    assert [row["content"] for row in api_user.messages(conversation) if row["role"] == "user"] == [
        "one",
        "two",
        "three",
    ]


def test_a_stopped_completion_without_text_leaves_no_hole(api_user: ApiUser, sent: Any) -> None:
    """A completion that its user stopped before the first character is not sent."""
    asked = api_user.ask("one", "hang")
    api_user.stop(asked["id"])
    ended = api_user.ended(asked["id"])
    assert ended["content"] == ""

    api_user.answer("two", "gpt-4-echo", conversation=asked["conversation"])

    assert sent() == [("user", "one\n\ntwo")]


def test_the_text_of_a_completion_that_broke_is_sent(api_user: ApiUser, sent: Any) -> None:
    """A completion that failed after some text is a turn of its own."""
    conversation = conversation_of(api_user.answer("one", "cut"))
    partial = api_user.messages(conversation)[-1]["content"]
    assert partial

    api_user.answer("two", "gpt-4-echo", conversation=conversation)

    assert sent() == [("user", "one"), ("assistant", partial), ("user", "two")]


def test_a_prompt_that_was_too_long_does_not_lock_the_conversation(api_user: ApiUser, sent: Any) -> None:
    """A refused prompt is left out of the next request when the two are too long together."""
    conversation = conversation_of(api_user.answer("one " * 30, "gpt-4-echo"))
    failed = api_user.answer("words " * 5000, "small", conversation=conversation)
    assert (failed[-1].name, failed[-1].data["code"]) == ("error", "prompt_too_long")

    last = api_user.answer("three", "small", conversation=conversation)

    assert last[-1].name == "done"
    assert sent()[-1] == ("user", "three")


def test_the_turns_of_a_program_go_as_they_came(api_user: ApiUser, sent: Any) -> None:
    """Two user turns in a row stay two on /v1, where the caller decides."""
    turns = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    answered = api_user.client.post("/v1/chat/completions", json={"model": "gpt-4-echo", "messages": turns})
    assert answered.status_code == 200

    assert sent() == [("user", "one"), ("user", "two")]
