"""Gemini's streams without a socket: any cut, any noise, and JSON that grows."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import Endpoint, Event, Finished, Sources, ToolCallDelta, Usage
from providers.wire.errors import ContentBlocked, ProviderError
from providers.wire.gemini.adapter import Gemini
from providers.wire.gemini.decoder import GeminiDecoder, read_usage_metadata
from providers.wire.gemini.stream import Objects
from tests.gemini_scenarios import SIGNATURE, SIGNED_CALL, SOURCES, answer, text_part
from tests.providers.streams import reasoning, text
from tests.scenarios import PLAIN, REASONING, tokens

OBJECTS = [
    *(answer(text_part(part, thought=True)) for part in tokens(REASONING, 9)),
    *(answer(text_part(part), reason="STOP", usage={"promptTokenCount": 9}) for part in tokens(PLAIN, 9)),
    answer(text_part('"\\}]{[ \\" 👋', thoughtSignature=SIGNATURE)),
    answer(groundingMetadata={"groundingChunks": [{"web": {"uri": uri, "title": title}} for uri, title in SOURCES]}),
    answer(SIGNED_CALL, SIGNED_CALL),
    answer(reason="MAX_TOKENS", usage={"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 3}),
]
BOM = b"\xef\xbb\xbf"
WHOLE_TEXT = PLAIN + '"\\}]{[ \\" 👋'
NOISE = st.sampled_from([b": keep-alive\n\n", b"\n", b"event: message\n", b"retry: 1\n", b"x-field: y\n"])


def new_decoder() -> GeminiDecoder:
    return GeminiDecoder(Gemini(Endpoint("http://127.0.0.1:9")), with_tools=True, with_think_tags=True)


def decoded(pieces: Iterable[bytes]) -> list[Event]:
    """Return all events of a stream that comes in these pieces."""
    decoder = new_decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.flush()


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    """Return JSON with its keys in another order."""
    if isinstance(value, list):
        return [shuffled(each, draw) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: shuffled(each, draw) for key, each in draw(st.permutations(list(value.items())))}


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return the objects as events or as an array, with noise between them, cut anywhere."""
    objects = [{**shuffled(each, draw), "newIn2027": {"a": [1]}} for each in OBJECTS]
    ascii_only = draw(st.booleans())
    indent = draw(st.sampled_from([None, 2]))
    if draw(st.booleans()):
        start = draw(st.sampled_from([b"", BOM, b" \r\n"]))
        data = start + json.dumps(objects, ensure_ascii=ascii_only, indent=indent).encode()
    else:
        end = draw(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]))
        events = (b"data: " + json.dumps(each, ensure_ascii=ascii_only).encode() + end for each in objects)
        data = draw(st.sampled_from([b"", BOM])) + b"".join(draw(NOISE) + event for event in events)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=40)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def joined_calls(events: list[Event]) -> list[tuple[int, str, Any]]:
    pieces = [piece for event in events if isinstance(event, ToolCallDelta) for piece in json.loads(event.json)]
    return [(piece["index"], piece["function"]["name"], piece["extra_content"]) for piece in pieces]


@given(streams())
def test_any_cut(pieces: list[bytes]) -> None:
    """Cut anywhere, with noise, unknown fields and keys in any order, a stream gives the same completion."""
    events = decoded(pieces)

    assert (reasoning(events), text(events)) == (REASONING, WHOLE_TEXT)
    extra = {"google": {"thought_signature": SIGNATURE}}
    assert joined_calls(events) == [(0, "weather", extra), (1, "weather", extra)]
    assert [event for event in events if isinstance(event, Sources)][-1].items == tuple(SOURCES)
    assert events[-2:] == [Usage(9, 7, None, 3), Finished("length")]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes(data: bytes, cut: int) -> None:
    """Whatever arrives ends with one `Finished` or a failure of ours."""
    try:
        events = decoded([data[:cut], data[cut:]])
    except ProviderError:
        return
    assert isinstance(events[-1], Finished)


def fed(objects: Objects, *pieces: bytes) -> list[str]:
    return [text for piece in pieces for text in objects.feed(piece)]


def test_an_array_is_cut_in_linear_time() -> None:
    """Each byte is looked at once: a large text in single pieces takes no time to speak of."""
    objects = Objects()
    data = json.dumps([{"a": "x" * 400_000}, {"b": 1}]).encode()
    found = fed(objects, *(data[start : start + 100] for start in range(0, len(data), 100)))

    assert [list(json.loads(text)) for text in found] == [["a"], ["b"]]
    assert objects.closed


def test_what_is_too_large_is_refused() -> None:
    """An object without an end is not kept for ever."""
    objects = Objects()
    with pytest.raises(ProviderError) as failed:
        fed(objects, b'[{"a": "', *[b"x" * 2**20] * 9)

    assert failed.value.vendor_code == "event_too_large"


def test_an_unnamed_block_is_none() -> None:
    """The value of an unset field is no block, and a block beside a completion is a rating of it."""
    unset = json.dumps({"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}).encode()
    beside = json.dumps(
        {**answer(text_part("Hi"), reason="STOP"), "promptFeedback": {"blockReason": "SAFETY"}}
    ).encode()

    with pytest.raises(ProviderError) as failed:
        decoded([unset])
    assert not isinstance(failed.value, ContentBlocked)
    assert text(decoded([beside])) == "Hi"


def test_a_block_after_text_keeps_it() -> None:
    """Moderation that comes later ends the completion with what was shown."""
    blocked = json.dumps({"promptFeedback": {"blockReason": "SAFETY"}})
    events = decoded([f"data: {json.dumps(answer(text_part('Part')))}\n\ndata: {blocked}\n\n".encode()])

    assert (text(events), events[-1]) == ("Part", Finished("content_filter"))


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"promptTokenCount": 9}, Usage(9, 0)),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 2}, Usage(12, 2)),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 4, "cachedContentTokenCount": 0}, Usage(9, 4, 0, 4)),
        ({"candidatesTokenCount": 2}, None),
        ({"promptTokenCount": "9"}, Usage(9, 0)),
        ({"promptTokenCount": 2**63}, None),
        ({"promptTokenCount": True}, None),
        ({"promptTokenCount": -1}, None),
        ([], None),
        (None, None),
    ],
)
def test_usage(fields: Any, usage: Usage | None) -> None:
    assert read_usage_metadata(fields) == usage


@pytest.mark.parametrize("reason", ["any text 敏", "x" * 70, "<b>"])
def test_odd_words_of_blocks_are_not_repeated(reason: str) -> None:
    with pytest.raises(ContentBlocked) as blocked:
        decoded([json.dumps({"promptFeedback": {"blockReason": reason}}).encode()])
    assert blocked.value.vendor_code == "blocked"
