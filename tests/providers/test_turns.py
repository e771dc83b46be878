"""Neighbouring turns of one role become one before they are sent, and no text is lost."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import JSON, Endpoint, PromptMessage
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.turns import RESULT_IMAGES, joined, plain_results, sent_turns
from tests.providers.streams import request

ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
IMAGE: dict[str, JSON] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def prompt(*words: str) -> tuple[PromptMessage, ...]:
    """Return a prompt: the first letter is the role, the rest the content."""
    return tuple(PromptMessage(ROLES[word[0]], word[1:]) for word in words)  # type: ignore[arg-type]


def part(text: str) -> dict[str, JSON]:
    return {"type": "text", "text": text}


def test_neighbours_of_one_role_become_one() -> None:
    """Two user turns in a row are one, with a blank line between their texts."""
    assert joined(prompt("sbe brief", "uone", "utwo", "ayes", "uthree")) == prompt(
        "sbe brief", "uone\n\ntwo", "ayes", "uthree"
    )
    assert joined(prompt("uone", "utwo", "uthree")) == prompt("uone\n\ntwo\n\nthree")
    assert joined(()) == ()


def test_tool_results_and_calls_stay_apart() -> None:
    """Each result of a tool is a turn of its own, and a turn with tool calls is not changed."""
    calls = PromptMessage("assistant", "", fields={"tool_calls": []})
    turns = (*prompt("u?", "aLet me see."), calls, *prompt("t1", "t2"))

    assert joined(turns) == turns


def test_parts_are_kept() -> None:
    """Images stay in their places, and the texts of the parts are still the content."""
    shown = PromptMessage("user", "What is this?", (part("What is this?"), IMAGE))
    picture = PromptMessage("user", "", (IMAGE,))

    assert joined((shown, *prompt("uPlease!"))) == (
        PromptMessage("user", "What is this?\n\nPlease!", (part("What is this?\n\n"), IMAGE, part("Please!"))),
    )
    assert joined((*prompt("uLook:"), picture)) == (PromptMessage("user", "Look:", (part("Look:"), IMAGE)),)
    assert joined((picture, picture)) == (PromptMessage("user", "", (IMAGE, IMAGE)),)
    assert shown.parts == (part("What is this?"), IMAGE)


def test_only_a_conversation_is_joined() -> None:
    """A program's turns are sent as they came; the request of a conversation keeps its turns apart."""
    turns = prompt("uone", "utwo")

    assert sent_turns(request("m", *turns, whole=True)) == turns
    asked = request("m", *turns)
    assert sent_turns(asked) == prompt("uone\n\ntwo")
    body = OpenAICompatible(Endpoint("http://127.0.0.1:1/v1")).body(asked)
    assert body["messages"] == [{"role": "user", "content": "one\n\ntwo"}]
    assert asked.messages == turns


def test_results_of_tools_become_text() -> None:
    """Images of results follow all results of the calls, and a failed call says so."""
    calls = PromptMessage("assistant", "", fields={"tool_calls": [{"id": "a"}, {"id": "b"}]})
    failed = PromptMessage("tool", "no such file", fields={"tool_call_id": "a", "is_error": True})
    shot = PromptMessage("tool", "", (IMAGE,), {"tool_call_id": "b"})
    end = PromptMessage("user", "Go on")
    assert plain_results([calls, failed, shot, end]) == (
        calls,
        PromptMessage("tool", "Error: no such file", fields={"tool_call_id": "a"}),
        PromptMessage("tool", "The image follows.", fields={"tool_call_id": "b"}),
        PromptMessage("user", RESULT_IMAGES, ({"type": "text", "text": RESULT_IMAGES}, IMAGE)),
        end,
    )
    plain = (calls, PromptMessage("tool", "x", fields={"tool_call_id": "a"}), end)
    assert plain_results(plain) == plain


messages = st.builds(
    lambda role, content, images: PromptMessage(
        role, content, (*([part(content)] if content else []), *([IMAGE] * images)) if images else ()
    ),
    st.sampled_from(("user", "assistant")),
    st.text(max_size=3),
    st.integers(0, 2),
)


@given(st.lists(messages))
def test_roles_alternate_and_no_text_is_lost(turns: list[PromptMessage]) -> None:
    """Whatever the history, roles alternate, every text and image is sent, and joining again changes nothing."""
    found = joined(turns)

    assert all(first.role != second.role for first, second in pairwise(found))
    for role in ("user", "assistant"):
        sent = "".join(turn.content for turn in found if turn.role == role)
        given_texts = [turn.content for turn in turns if turn.role == role]
        assert sent.replace("\n\n", "") == "".join(given_texts).replace("\n\n", "")
    images = sum(each == IMAGE for turn in turns for each in turn.parts)
    assert sum(each == IMAGE for turn in found for each in turn.parts) == images
    for turn in found:
        assert not turn.parts or turn.content == "".join(str(each.get("text", "")) for each in turn.parts)
    assert joined(found) == found
