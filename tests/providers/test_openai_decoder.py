"""Decoding OpenAI-shaped events, without a network."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import Delta, Endpoint, Event, Finished, FinishReason, Reasoning, Usage
from providers.wire.errors import UpstreamFailed
from providers.wire.images import CompletionImages
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.decoder import Decoder
from tests.providers.streams import reasoning, text
from tests.scenarios import delta_bytes, event_bytes

DIALECT = OpenAICompatible(Endpoint("http://upstream.invalid/v1"))
DONE = b"data: [DONE]\n\n"


def decode(*reads: bytes) -> list[Event]:
    """Return the events of network reads and of the end."""
    decoder = Decoder(DIALECT)
    return [event for read in reads for event in decoder.feed(read)] + decoder.flush()


def test_texts_of_one_read_are_merged() -> None:
    """Texts of one read are merged, those of different reads are not."""
    first = delta_bytes(role="assistant", content="") + delta_bytes(content="a") + delta_bytes(content="b")

    assert decode(first, delta_bytes(content="c") + DONE) == [Delta("ab"), Delta("c"), Finished("stop")]


def test_order_of_reasoning_and_text_is_kept() -> None:
    """Merging never moves text across reasoning."""
    reads = delta_bytes(reasoning_content="a"), delta_bytes(reasoning="b"), delta_bytes(content="c")

    events = decode(b"".join(reads) + delta_bytes(reasoning="d") + delta_bytes(content="e") + DONE)

    assert events == [Reasoning("ab"), Delta("c"), Reasoning("d"), Delta("e"), Finished("stop")]


def test_one_reasoning_key_is_taken() -> None:
    """Servers that send the same thought under two keys are heard once."""
    event = delta_bytes(reasoning_content="", reasoning="a", reasoning_details=[{"text": "a"}])

    assert reasoning(decode(event + delta_bytes(content="x") + DONE)) == "a"


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
        {"choices": [{"delta": {"content": [{"type": "text", "text": "x"}, {"type": "image"}, 7]}}]},
        {"choices": [{"index": None, "delta": {"content": "x", "tool_calls": {"a": 1}}}], "usage": None},
        {"choices": [{"index": 1, "delta": {"content": "x"}}, "odd"]},
        {"choices": [{"delta": {"content": "x", "reasoning": {"odd": 1}}}], "logprobs": None, "error": None},
        {"choices": [{"delta": {"content": "x"}, "usage": "odd"}], "obfuscation": "aaa"},
    ],
)
def test_odd_chunks(chunk: dict[str, Any]) -> None:
    """Missing, repeated, unknown and odd members do not disturb the text."""
    reads = [event_bytes(choices=None), event_bytes(choices=[{"delta": None}]), event_bytes(**chunk)]

    assert decode(*reads, b"data: \n\n", b"data:[DONE] \n\n") == [Delta("x"), Finished("stop")]


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": []},
        {"choices": None},
        {},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ],
)
def test_usage_in_every_place(chunk: dict[str, Any]) -> None:
    """Usage is found beside empty, null, missing and filled choices."""
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}

    assert decode(delta_bytes(content="x"), event_bytes(**chunk, usage=usage), DONE)[1] == Usage(9, 2)


def test_usage_within_the_choice() -> None:
    """Usage is found inside the choice, and the last one holds."""
    totals = [{"prompt_tokens": 9, "completion_tokens": n} for n in (1, 2)]
    reads = [event_bytes(choices=[{"delta": {"content": "x"}, "usage": total}]) for total in totals]

    assert decode(b"".join(reads) + DONE) == [Delta("xx"), Usage(9, 2), Finished("stop")]


def test_nothing_counts_after_the_terminator() -> None:
    """Events after [DONE] are not read."""
    assert decode(delta_bytes(content="x") + DONE + delta_bytes(content="y")) == [Delta("x"), Finished("stop")]


def test_repeated_finish() -> None:
    """A finish chunk that comes twice finishes once."""
    assert decode(delta_bytes("length", content="x"), delta_bytes("stop"), DONE)[-1] == Finished("length")


@pytest.mark.parametrize("data", [b"[1]", b"null", b"7", b"{", b"\xff", b'"text"'])
def test_garbage(data: bytes) -> None:
    """An event that is no JSON object is a broken stream."""
    with pytest.raises(UpstreamFailed, match="broken"):
        decode(b"data: " + data + b"\n\n")


@pytest.mark.parametrize("data", [b'{"message": "m"}', b"overloaded", b'{"error": {"code": 503}}'])
def test_events_named_error(data: bytes) -> None:
    """An event named error is a failure, whatever it holds."""
    with pytest.raises(UpstreamFailed):
        decode(b"event: error\ndata: " + data + b"\n\n")


THINKING = "\n<think>deep < thought</thin></think>\n\nHello </think> world"


@given(st.lists(st.integers(1, 12), max_size=60))
def test_think_tags_cut_anywhere(sizes: list[int]) -> None:
    """However the deltas cut the tags, thought and completion come out the same."""
    pieces, rest = [], THINKING
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]

    events = decode(*(delta_bytes(content=piece) for piece in [*pieces, rest]), DONE)

    assert reasoning(events) == "deep < thought</thin>"
    assert text(events) == "Hello </think> world"


@pytest.mark.parametrize("content", ["<thin", "<", "a <think>b</think>", "<thinker>x", " " * 100 + "<think>x", "\n\nx"])
def test_text_that_only_looks_like_thinking(content: str) -> None:
    """Only a leading, whole tag starts a thought; everything else is text, none of it lost."""
    for size in (1, 3, len(content)):
        pieces = [content[i : i + size] for i in range(0, len(content), size)]
        events = decode(*(delta_bytes(content=piece) for piece in pieces), DONE)
        assert (reasoning(events), text(events)) == ("", content)


def test_unclosed_thought_is_reasoning() -> None:
    """A thought that never ends is all reasoning, and no failure."""
    events = decode(delta_bytes(content="<think>on and on</thi"), DONE)

    assert (reasoning(events), text(events), events[-1]) == ("on and on</thi", "", Finished("stop"))


def test_think_tags_may_stay_content() -> None:
    """Without `with_think_tags` a thought stays part of the content."""
    decoder = Decoder(DIALECT, with_think_tags=False)
    events = decoder.feed(delta_bytes(content="<think>hm</think>yes") + DONE)

    assert (reasoning(events), text(events)) == ("", "<think>hm</think>yes")


@pytest.mark.parametrize("content", ["", " \n", "<think>hm</think>"])
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_a_completion_may_be_empty(content: str, reason: FinishReason) -> None:
    """A completion without visible content ends with the upstream's finish reason."""
    events = decode(delta_bytes(content=content), delta_bytes(reason), DONE)

    assert events[-1] == Finished(reason)


def test_tool_calls_without_a_call_are_a_stop() -> None:
    """A completion that names tool calls and has none is an empty one."""
    assert decode(delta_bytes("tool_calls"), DONE)[-1] == Finished("stop")


def test_an_end_without_any_payload_is_broken() -> None:
    """A stream that only ends is no completion."""
    with pytest.raises(UpstreamFailed) as failure:
        decode(DONE)

    assert failure.value.vendor_code == "empty"


def escaped(content: str, **delta: str) -> bytes:
    """Return one event whose content is JSON as given, escapes of half a character and all."""
    other = "".join(f'"{name}":"{value}",' for name, value in delta.items())
    return b'data: {"choices":[{"delta":{%s"content":"%s"}}]}\n\n' % (other.encode(), content.encode())


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([r"a\ud83d", r"\ude00b"], "a😀b"),
        ([r"a\uD83D", r"\uDE00\ud83d", r"\ude01"], "a😀😁"),
        ([r"a\ud83d", "", r"\ude00"], "a😀"),
        ([r"a\ud83d", "b"], "a\ufffdb"),
        ([r"a\ud83d", r"\ud83d\ude00"], "a\ufffd😀"),
        ([r"a\ude00", r"\ud83d"], "a\ufffd\ufffd"),
        ([r"\ude00\ud83d"], "\ufffd\ufffd"),
        ([r"\\ud83d", "b"], r"\ud83db"),
        ([r"<think>x\ud83d", r"\ude00</think>a"], "a"),
    ],
)
def test_halves_of_characters(contents: list[str], expected: str) -> None:
    """A character that a relay cut in two is put together again; a half that stays alone is replaced."""
    reads = [escaped(content) for content in contents]

    for events in (decode(*reads, DONE), decode(b"".join([*reads, DONE]))):
        assert text(events) == expected
        assert events[-1] == Finished("stop")
        assert all(event.text.encode() for event in events if isinstance(event, Delta | Reasoning))


def test_halves_do_not_cross_from_thought_to_text() -> None:
    """A half at the end of a thought is no beginning of the text."""
    events = decode(escaped("", reasoning_content=r"a\ud83d"), escaped(r"\ude00b"), DONE)

    assert events == [Reasoning("a"), Reasoning("\ufffd"), Delta("\ufffdb"), Finished("stop")]


def test_halves_in_an_error() -> None:
    """An error whose text was cut within a character keeps its code."""
    with pytest.raises(UpstreamFailed) as failure:
        decode(rb'data: {"error": {"code": "server_error", "message": "no \ud83d"}}' + b"\n\n")

    assert failure.value.vendor_code == "server_error"


@pytest.mark.parametrize("data", [rb'{"a": "\ud83d"', rb'["\ud83d"]', b"[" * 100_000 + rb'"\ud83d"', rb"\ud83d"])
def test_halves_in_garbage(data: bytes) -> None:
    """Half an object is a broken stream; data that can have no text is skipped, and the end is missing."""
    with pytest.raises(UpstreamFailed) as failure:
        decode(b"data: " + data + b"\n\n")

    assert failure.value.vendor_code == ("bad_json" if data.startswith(b"{") else "truncated")


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}, "index": 0}


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x", "images": [IMAGE]},
        {"content": [{"type": "text", "text": "x"}, IMAGE]},
        {"content": "x", "images": [IMAGE, "none", None]},
    ],
)
def test_images_of_a_completion(delta: dict[str, Any]) -> None:
    """Images come as they are, beside the text, and a message that repeats all of it adds none."""
    events = decode(sse({"choices": [{"delta": delta}]}, {"choices": [{"message": delta, "finish_reason": "stop"}]}))
    assert sorted(events, key=str) == sorted([Delta("x"), CompletionImages(dumped([IMAGE])), Finished("stop")], key=str)


def test_an_image_alone_is_not_repeated() -> None:
    """A stream without text, with a whole message at its end, has its image once."""
    only = {"content": None, "images": [IMAGE]}
    events = decode(sse({"choices": [{"delta": only}]}, {"choices": [{"message": only, "finish_reason": "stop"}]}))
    assert events == [CompletionImages(dumped([IMAGE])), Finished("stop")]


def dumped(value: Any) -> str:
    return orjson.dumps(value).decode()


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks) + b"data: [DONE]\n\n"
