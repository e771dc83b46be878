"""Hostile exports of other products: read in linear time and memory, or refused by the place of the mistake."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chat.conversations.importers import foreign
from web.refusals import InvalidRequest

# Seconds of processor time; each file here took at least ten times as long when its reading was quadratic.
MOST_SECONDS = 5


@contextmanager
def few_seconds() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < MOST_SECONDS


def messages_of(file: object) -> list[dict[str, Any]]:
    value, _report = foreign.converted(file)
    assert isinstance(value, dict)
    return [message for each in value["conversations"] for message in each["messages"]]


def open_webui(content: object, **more: object) -> dict[str, Any]:
    return {"title": "x", "chat": {"messages": [{"role": "assistant", "content": content, **more}]}}


@pytest.mark.parametrize(
    "text",
    [
        '<details type="a">' * 20_000,
        '<details type="a"' * 20_000,
        '<details type="a"><summary>' * 20_000,
        "<details type=" * 20_000,
        ('<details type="a"></details>' + " " * 50) * 5_000 + "x",
    ],
)
def test_elements_in_texts_are_read_in_linear_time(text: str) -> None:
    """Elements that never close stay as text; the others leave it."""
    with few_seconds():
        (message,) = messages_of(open_webui(text))
    assert message["content"] == ("x" if text.endswith("x") else text)


DIGITS = f'<details type="reasoning">&#{"9" * 5_000};</details>'


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ([open_webui(DIGITS)], "0.chat.messages.0.content"),
    ],
)
def test_wrong_values_are_refused_by_their_place(file: object, place: str) -> None:
    """A value of a wrong type, or one that Python cannot convert, is a mistake of the file."""
    with pytest.raises(InvalidRequest) as refused:
        foreign.converted(file)
    assert [*refused.value.details] == [place]
