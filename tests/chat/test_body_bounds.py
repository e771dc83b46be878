"""Bodies with very many wrong elements are refused at little cost to the event loop."""

import time
from typing import Any

import pytest
from pydantic import BaseModel

from chat.bodies import ChatBody, checked
from chat.openai.bodies import CompletionBody
from chat.openai.embeddings import EmbeddingsBody
from chat.openai.messages_bodies import MessagesBody
from chat.openai.responses_bodies import ResponsesBody
from web.refusals import InvalidRequest

MANY = 149_000
BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}], "input": "x"}


@pytest.mark.parametrize(
    ("shape", "field", "value"),
    [
        (CompletionBody, "tools", [1] * MANY),
        (CompletionBody, "tools", [{"type": "function"}] * MANY),
        (CompletionBody, "stop", [1] * MANY),
        (CompletionBody, "logit_bias", dict.fromkeys(map(str, range(MANY)), "x")),
        (CompletionBody, "logit_bias", dict.fromkeys(map(str, range(MANY)), 1)),
        (MessagesBody, "tools", [1] * MANY),
        (MessagesBody, "stop_sequences", [1] * MANY),
        (ResponsesBody, "tools", [1] * MANY),
        (ResponsesBody, "include", [1] * MANY),
        (EmbeddingsBody, "input", [None] * MANY),
        (EmbeddingsBody, "input", [[None]] * MANY),
        (EmbeddingsBody, "input", [[None] * MANY]),
        (EmbeddingsBody, "input", ["x"] * MANY),
        (EmbeddingsBody, "input", [1] * MANY),
    ],
)
def test_many_wrong_elements(shape: type[BaseModel], field: str, value: Any) -> None:
    """The field is named once."""
    started = time.thread_time()
    with pytest.raises(InvalidRequest) as refused:
        checked(shape, {**BODY, field: value})
    assert time.thread_time() - started < 0.3
    assert {name: len(reasons) for name, reasons in (refused.value.details or {}).items()} == {field: 1}


def test_many_unknown_fields() -> None:
    """Beyond a number, unknown fields are not named one by one."""
    with pytest.raises(InvalidRequest) as refused:
        checked(ChatBody, {"model": "m", "prompt": "x", **dict.fromkeys(map(str, range(MANY)))})
    assert list(refused.value.details or {}) == ["body"]


@pytest.mark.parametrize(
    ("shape", "field", "value"),
    [
        (CompletionBody, "tools", [{"type": "function"}] * 1_000),
        (CompletionBody, "logit_bias", dict.fromkeys(map(str, range(2_000)), 1)),
        (EmbeddingsBody, "input", [1] * 100_000),
        (EmbeddingsBody, "input", ["x"] * 2_048),
        (EmbeddingsBody, "input", [[1]] * 2_048),
    ],
)
def test_as_many_as_allowed(shape: type[BaseModel], field: str, value: Any) -> None:
    assert len(getattr(checked(shape, {**BODY, field: value}), field)) == len(value)
