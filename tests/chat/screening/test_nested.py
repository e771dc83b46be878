"""chat/screening/nested.py: tool calls, and request fields beside the messages."""

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.screening import nested
from chat.screening.incoming import DESCRIBED, mask_extras
from chat.screening.lexicon import Costs
from chat.screening.nested import Calls
from tests.chat.screening.oracle import Words

LEXICON = Words(("独立", "cobalt", "12"), ("毒方",)).lexicon()


def call(arguments: str, name: str = "weather", **values: Any) -> dict[str, Any]:
    return {
        "index": 0,
        "id": "call_1",
        "type": "function",
        **values,
        "function": {"name": name, "arguments": arguments},
    }


def released(*lists: list[Any], known: tuple[str, ...] = ("weather",)) -> tuple[list[Any], list[int]]:
    """Return the pieces after screening, and the ids of the found words."""
    calls = Calls(known)
    for pieces in lists:
        calls.feed(json.dumps(pieces))
    out, hits = calls.flush(LEXICON)
    return [json.loads(pieces) for pieces in out], [hit.term.id for hit in hits]


def arguments_of(lists: list[Any], index: int = 0) -> str:
    pieces = [piece for pieces in lists for piece in pieces if piece.get("index", 0) == index]
    return "".join(piece.get("function", {}).get("arguments", "") for piece in pieces)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ('{"q": "独立"}', '{"q": "**"}'),
        ('{"q": "\\u72ec\\u7acb!"}', '{"q": "**!"}'),
        ('{"q": "\\u72EC \\n立"}', '{"q": "****"}'),
        ('{"独立": 1}', '{"**": 1}'),
        ('{"a": "独", "b": "立"}', None),
        ('["独","立"]', None),
        ('{"q": "say \\"独立\\""}', '{"q": "say \\"**\\""}'),
        ('{"q": "\\ud83d\\ude00cobalt\\\\"}', '{"q": "\\ud83d\\ude00******\\\\"}'),
        ('{"q": "\\\\u72ec立"}', None),
        ('{"q": "独', None),
        ('{"q": "独立', '{"q": "**'),
        ('{"n": [7, 12]}', '{"n": [7, **]}'),
        ('plain text, "独" 立', 'plain text, "****'),
        ('{"q": "\\', None),
        ("", None),
    ],
)
def test_strings_are_screened_unescaped(arguments: str, wanted: str | None) -> None:
    """Strings are screened separately and unescaped; text without hits stays identical."""
    out, hits = released([call(arguments)])
    assert out == [[call(arguments if wanted is None else wanted)]]
    assert bool(hits) == (wanted is not None)


@given(st.lists(st.integers(0, 40), max_size=6))
def test_splitting_changes_nothing(cuts: list[int]) -> None:
    """Arguments split anywhere give the same result, in the same call."""
    arguments = '{"q": "x \\u72ec\\u7acb y", "z": "COBALT"}'
    places = [0, *sorted(cuts), len(arguments)]
    pieces = [{"index": 0, "function": {"arguments": arguments[start:end]}} for start, end in pairwise(places)]
    other = {"index": 1, "function": {"arguments": "独"}}
    out, hits = released([call("")], *([piece, other] for piece in pieces))
    assert arguments_of(out) == '{"q": "x ** y", "z": "******"}'
    assert set(hits) >= {1, 2}
    assert arguments_of(out, 1) == "独" * len(pieces)


def test_calls_are_texts_of_their_own() -> None:
    """A word never matches across two calls, with or without an index."""
    assert released([call("独")], [call("立", index=1)])[1] == []
    assert (
        released([{"id": "a", "function": {"arguments": "独"}}], [{"id": "b", "function": {"arguments": "立"}}])[1]
        == []
    )
    first, rest = {"id": "a", "function": {"arguments": "独"}}, {"function": {"arguments": "立"}}
    assert released([first], [rest])[1] == [1]


def test_names() -> None:
    """Names of offered tools are not screened; other names and free texts are."""
    assert released([call("{}", "cobalt_price")], known=("cobalt_price",))[1] == []
    out, hits = released([call("{}", "cobalt_price")])
    assert (out[0][0]["function"]["name"], hits) == ("******_price", [2])
    custom = {"index": 0, "id": "cobalt", "type": "custom", "custom": {"name": "weather", "input": "cob-alt"}}
    out, _hits = released([custom])
    assert out == [[{**custom, "custom": {"name": "weather", "input": "*******"}}]]


def test_half_a_character() -> None:
    """Surrogate halves in two pieces do no harm."""
    halves = [[call("\ud83d")], [{"index": 0, "function": {"arguments": "\ude00 cobalt"}}]]
    out, hits = released(*halves)
    assert hits == [2]
    assert arguments_of(out).endswith("******")


def test_deep_values_are_masked() -> None:
    """Texts are masked at any depth; names and types stay."""
    tool = {
        "type": "function",
        "function": {"name": "cobalt", "description": "Asks 独立", "parameters": {"enum": ["独立"]}},
    }
    masked = nested.masked([tool], LEXICON, Costs())
    wanted = {"name": "cobalt", "description": "Asks **", "parameters": {"enum": ["**"]}}
    assert masked == [{"type": "function", "function": wanted}]
    assert nested.masked('{"q": "\\u72ec\\u7acb"}', LEXICON, Costs()) == '{"q": "**"}'
    assert set(DESCRIBED) == {"tools", "tool_choice", "response_format"}
    choice = {"type": "function", "function": {"name": "cobalt", "description": "Asks 独立"}}
    assert mask_extras(LEXICON, {"tool_choice": choice}) == {
        "tool_choice": {"type": "function", "function": {"name": "cobalt", "description": "Asks **"}}
    }
    assert mask_extras(LEXICON, {"tool_choice": "auto"}) == {"tool_choice": "auto"}


@pytest.mark.parametrize("unit", ['"', "\\", "独", '\\"', '"独', "\\u72ec", "{", " "])
def test_long_arguments(unit: str) -> None:
    """The time for long arguments grows linearly."""
    started = time.thread_time()
    nested.screened("{" + unit * (200_000 // len(unit)), LEXICON, Costs())
    assert time.thread_time() - started < 5
