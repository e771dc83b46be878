"""`reasoning_details`, which some vendors want back: passed on to programs as they came, and never past the words."""

from typing import Any

import httpx
import orjson
import pytest

from chat.apps import chat
from chat.generations.pipeline import DETAILS_ROOM, LengthLimit, Pipeline, Screening
from chat.openai.details import Details
from providers.wire.base import Reasoning
from providers.wire.reasoning_details import ReasoningDetails
from tests.chat.programs import ask, chunks
from tests.chat.screening.test_pipeline import listed  # noqa: F401  (a fixture)
from tests.product import ApiUser
from tests.scenarios import PLAIN, REASONING

TEXT = {"type": "reasoning.text", "text": REASONING, "signature": "c2ln", "index": 0}
CIPHER = {"type": "reasoning.encrypted", "data": "Y2lwaGVy", "id": "r1", "index": 1}


@pytest.mark.server
def test_they_come_streamed_and_whole(program: httpx.Client) -> None:
    """A program gets each detail once, beside the text; the way back is in tests/wire_cases/calls.py."""
    message = ask(program, "detailed").json()["choices"][0]["message"]
    assert message["reasoning_details"] == [TEXT, CIPHER]
    assert (message["reasoning_content"], message["content"]) == (REASONING, PLAIN)

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(ask(program, "detailed", stream=True))[:-1]]
    details = Details()
    for delta in deltas:
        details.add(orjson.dumps(delta.get("reasoning_details", [])).decode())
    assert details.whole() == [TEXT, CIPHER]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == REASONING
    assert "".join(delta.get("content") or "" for delta in deltas) == PLAIN


@pytest.mark.server
def test_other_routes_have_the_text_alone(api_user: ApiUser) -> None:
    """A kept message has the reasoning once, and no details."""
    kept = api_user.ended(api_user.ask("Hello", "detailed")["id"])
    assert (kept["reasoning"], kept["content"]) == (REASONING, PLAIN)


def passed(*events: Any, limit: int = 1000) -> list[Any]:
    stages = Pipeline(Screening(chat().words, set(), limit), LengthLimit(limit))
    return [out for event in events for out in stages.feed(event)]


def detailed(*items: dict[str, Any]) -> ReasoningDetails:
    return ReasoningDetails(orjson.dumps(items).decode())


def test_words(listed: Any) -> None:  # noqa: F811
    """Where words are screened, text and what names a word is left out; the rest of the details passes."""
    event = detailed(TEXT, {"type": "reasoning.summary", "summary": "x"}, CIPHER, {**CIPHER, "id": "badword"})
    listed()
    assert passed(event) == [event]
    listed("badword")
    assert [out for out in passed(Reasoning("Hm"), event) if isinstance(out, ReasoningDetails)] == [detailed(CIPHER)]
    assert passed(detailed(TEXT)) == []


def test_their_size_is_bounded(listed: Any) -> None:  # noqa: F811
    """Details have room of their own, beyond which they are left out; the completion goes on."""
    listed()
    large = detailed({"type": "reasoning.encrypted", "data": "x" * 100 * (DETAILS_ROOM - 1)})
    text = Reasoning("Hm")
    assert passed(large, large, text, limit=100) == [large, text]
