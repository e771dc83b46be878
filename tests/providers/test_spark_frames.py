"""The prompt as Spark takes it, and its frames as our events, without any connection."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import Delta, Finished, PromptMessage, Reasoning, Usage, Withdrawn
from providers.wire.errors import ProviderError
from providers.wire.spark.frames import Decoder, turns

ROLES = {"s": "system", "u": "user", "a": "assistant"}


def prompt(*words: str) -> list[PromptMessage]:
    """Return a prompt: the first letter is the role, the rest the content."""
    return [PromptMessage(ROLES[word[0]], word[1:]) for word in words]  # type: ignore[arg-type]


def frame(*, code: int = 0, status: int = 1, header: dict[str, Any] | None = None, **payload: Any) -> bytes:
    """Return a frame."""
    whole = {"code": code, "sid": "sid-1", "status": status}
    return json.dumps({"header": whole if header is None else header, "payload": payload}).encode()


def choices(*texts: Any, status: int = 1) -> dict[str, Any]:
    """Return the choices of a frame."""
    return {"status": status, "text": list(texts)}


def test_text_usage_and_end_come_in_order() -> None:
    """Text, usage and the end of a completion come out in order; `complete` follows the last frame's status."""
    decoder = Decoder()
    usage = {"text": {"prompt_tokens": 3, "completion_tokens": 2}}

    assert decoder.feed(frame(choices=choices({"content": "Hel"}, status=0))) == [Delta("Hel")]
    assert not decoder.complete
    last = frame(status=2, choices=choices({"content": "lo"}, status=2), usage=usage)
    assert decoder.feed(last) == [Delta("lo"), Usage(3, 2)]
    assert decoder.complete
    assert decoder.flush() == [Finished("stop")]
    assert decoder.sid == "sid-1"


@pytest.mark.parametrize(
    ("given", "folded"),
    [
        (["uhi"], ["uhi"]),
        (["sbe brief", "uhi"], ["ube brief\n\nhi"]),
        (["sbe brief"], ["ube brief"]),
        (["sone", "uhi", "stwo", "ayes", "uok"], ["uone\n\ntwo\n\nhi", "ayes", "uok"]),
        (["aleading", "uhi"], ["uhi"]),
        (["aone", "atwo", "uhi"], ["uhi"]),
        (["sbe brief", "aleading", "uhi"], ["ube brief\n\nhi"]),
        (["uone", "utwo", "aa", "ab", "uthree"], ["uone\n\ntwo", "aa\n\nb", "uthree"]),
        (["uone", "a", "utwo"], ["uone\n\ntwo"]),
        (["uone", "aanswer"], ["uone"]),
        ([], []),
    ],
)
def test_turns(given: list[str], folded: list[str]) -> None:
    """Neighbours of a role become one, the first and the last turn are the user's, the system's words go in front."""
    assert turns(prompt(*given), system=False) == prompt(*folded)


def test_turns_with_a_system_message() -> None:
    """A version that takes a system message gets one, in front of a user's."""
    assert turns(prompt("sone", "stwo", "uhi"), system=True) == prompt("sone\n\ntwo", "uhi")
    assert turns(prompt("sone"), system=True) == prompt("uone")


@given(st.lists(st.tuples(st.sampled_from("sua"), st.text(max_size=3))), st.booleans())
def test_turns_alternate(given: list[tuple[str, str]], system: bool) -> None:
    """Whatever the history, the order is one that Spark takes, and the user's words are all there."""
    messages = prompt(*(role + content for role, content in given))
    roles = [turn.role for turn in turns(messages, system=system)]

    if system and roles[:1] == ["system"]:
        del roles[0]
        assert roles
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    assert len(roles) % 2 == 1 or not roles
    whole = "".join(turn.content for turn in turns(messages, system=system))
    assert all(message.content in whole for message in messages if message.role != "assistant")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"choices": None},
        {"choices": {"status": 1}},
        {"choices": {"text": None}},
        {"choices": choices(None, 1, "x", {})},
        {"choices": choices({"content": None, "reasoning_content": [5]})},
        {"plugins": {"text": []}},
        {"usage": None, "choices": choices()},
        {"usage": {"text": {"prompt_tokens": "three", "completion_tokens": 2}}},
        {"usage": {"text": {"prompt_tokens": -1, "completion_tokens": 2}}},
        {"usage": {"text": []}},
    ],
)
def test_odd_payloads(payload: dict[str, Any]) -> None:
    """Missing and odd members of a frame are passed over."""
    assert Decoder().feed(frame(**payload)) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "bad_json"),
        (b"[]", "bad_json"),
        (b'"x"', "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"{}", "bad_frame"),
        (b'{"header": 1}', "bad_frame"),
    ],
)
def test_broken_frames(raw: bytes, code: str) -> None:
    """A malformed frame is a failure, and its cause does not carry it."""
    with pytest.raises(ProviderError) as failure:
        Decoder().feed(raw)

    assert failure.value.vendor_code == code
    assert failure.value.__context__ is None


def test_reasoning_and_text_in_one_frame() -> None:
    """Thinking text comes before the text of the same frame."""
    events = Decoder().feed(frame(choices=choices({"reasoning_content": "hm", "content": "yes"})))

    assert events == [Reasoning("hm"), Delta("yes")]


@pytest.mark.parametrize("text", [{"reasoning_content": "hm"}, {"content": " "}, {"content": ""}])
def test_a_completion_may_be_empty(text: dict[str, str]) -> None:
    """A completion that only thought, or is blank, is one."""
    decoder = Decoder()
    decoder.feed(frame(status=2, choices=choices(text, status=2)))

    assert decoder.flush() == [Finished("stop")]


def test_a_code_after_the_completion_changes_nothing() -> None:
    """Trouble behind a whole completion changes nothing; an error frame without a code's type is no end either."""
    decoder = Decoder()
    decoder.feed(frame(status=2, choices=choices({"content": "yes"}, status=2)))

    assert decoder.feed(frame(code=10012, status=2)) == []
    assert decoder.flush() == [Finished("stop")]


def test_an_error_frame_is_no_end() -> None:
    """Status 2 in the header alone, as error frames have it, completes nothing."""
    decoder = Decoder()
    decoder.feed(frame(status=2, choices=choices({"content": "yes"}, status=1)))

    assert not decoder.complete
    with pytest.raises(ProviderError) as failure:
        decoder.flush()
    assert failure.value.vendor_code == "truncated"


@pytest.mark.parametrize("as_number", [int, str])
def test_numbers_may_be_strings(as_number: Any) -> None:
    """Codes and statuses mean the same as strings; text that is no list is passed over."""
    decoder = Decoder()
    zero, last = as_number(0), as_number(2)

    assert decoder.feed(frame(header={"code": zero, "status": zero}, choices={"status": zero, "text": 7})) == []
    assert decoder.feed(frame(header={"code": zero}, choices=choices({"content": "Hi"}))) == [Delta("Hi")]
    decoder.feed(frame(header={"code": zero, "status": last}, choices={"status": last, "text": []}))
    assert decoder.flush() == [Finished("stop")]
    withdrawing = Decoder()
    withdrawing.feed(frame(choices=choices({"content": "Hi"})))
    withdrawing.feed(frame(header={"code": as_number(10014), "status": last}))
    assert withdrawing.flush() == [Withdrawn(), Finished("content_filter")]
