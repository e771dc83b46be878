"""Tool calls of compatible servers, brought into the shape in which clients put them together."""

from typing import Any

import pytest

from providers.wire.openai.tool_calls import ToolCalls


def call(arguments: object = '{"x":1}', **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "arguments": arguments}, **fields}


def joined(*reads: Any) -> dict[int, dict[str, Any]]:
    """Put the pieces together as clients do: by index, the last id, names and arguments appended."""
    calls, found = ToolCalls(), {}
    for read in reads:
        for piece in calls.feed(read):
            whole = found.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
            whole["id"] = piece.get("id") or whole["id"]
            for key in ("name", "arguments"):
                whole[key] += piece.get("function", {}).get(key, "")
    return found


@pytest.mark.parametrize(
    "reads",
    [
        [
            [call("", index=0, id="a")],
            [{"index": 0, "function": {"arguments": '{"x":'}}],
            [{"function": {"arguments": "1}"}}],
        ],
        [[call(id="a")]],
        [call(id="a")],
        [[call({"x": 1}, index="0", id="a")]],
        [[call(index=0, id="a")], [call(index=0, id="a")]],
        [[call("", index=0, id="a")], [{"index": 0, "id": "a", "function": {"arguments": '{"x":1}'}}]],
        [[call(index=0, id="a"), "odd", None, 7]],
    ],
)
def test_one_call(reads: list[Any]) -> None:
    """Pieces, repeats, objects and missing numbers make one call."""
    assert joined(*reads) == {0: {"id": "a", "name": "f", "arguments": '{"x":1}'}}


@pytest.mark.parametrize(
    "reads",
    [
        [[call(id="a")], [call(id="b")]],
        [[call(id="a"), call(id="b")]],
        [[call(index=0, id="a")], [call(index=0, id="b")]],
        [[call(index=0, id="a")], [call(index=1, id="b")]],
    ],
)
def test_a_new_id_is_a_new_call(reads: list[Any]) -> None:
    assert {place: found["id"] for place, found in joined(*reads).items()} == {0: "a", 1: "b"}


def test_a_call_without_an_id_gets_one() -> None:
    found = joined([call(index=0)], [call(index=1)])

    assert len({whole["id"] for whole in found.values()}) == 2
    assert all(whole["id"].startswith("call_") for whole in found.values())


def test_the_older_function_call_is_a_call() -> None:
    found = joined({"name": "f", "arguments": '{"x"'}, {"arguments": ":1}"})

    assert (found[0]["name"], found[0]["arguments"]) == ("f", '{"x":1}')


def test_signatures_stay() -> None:
    """A vendor wants its signature back with the call."""
    extra = {"google": {"thought_signature": "SIG"}}

    assert ToolCalls().feed([call(id="a", extra_content=extra)])[0]["extra_content"] == extra
