"""Chunks that differ in their text only: what is read of them is what is read of the whole."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import Delta, Endpoint
from providers.wire.errors import ProviderError
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.decoder import Decoder
from providers.wire.openai.repeats import Repeats

DIALECT = OpenAICompatible(Endpoint("http://upstream.invalid/v1"))
Chunk = dict[str, Any]


class Forgetful(Repeats):
    """Learns nothing, so that each chunk is read as a whole."""

    def learn(self, chunk: bytes, text: str) -> None:
        pass


def decoded(reads: Sequence[bytes], repeats: Repeats) -> list[object]:
    """Return the events of a stream, and its failure."""
    decoder, found = Decoder(DIALECT, with_tools=True), list[object]()
    decoder.repeats = repeats
    for read in [*reads, b"data: [DONE]\n\n"]:
        if not decoder.ended:
            found += decoder.feed(read)
    try:
        return [*found, *decoder.flush()]
    except ProviderError as error:
        return [*found, str(error)]


def chunk(text: object, delta: Chunk | None = None, choice: Chunk | None = None, **fields: Any) -> Chunk:
    choices = [{"index": 0, "delta": {"content": text, **(delta or {})}, "finish_reason": None, **(choice or {})}]
    return {"id": "chatcmpl-1", "choices": choices, **fields}


def sent(data: Chunk, *, ascii_only: bool = False, spaced: bool = False, event: str = "") -> bytes:
    text = json.dumps(data, ensure_ascii=ascii_only, separators=None if spaced else (",", ":"))
    return f"{event}data: {text}\n\n".encode("utf-8", "surrogatepass")


# What a text may be, and what it must not be taken for.
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            '","x":"',
            '"',
            "\\",
            "\n\n",
            "\n",
            "data: [DONE]",
            '"}}]}',
            "http://a/b",
            "\0",
            "",
            " ",
            "<",
            "</think>",
            "中",
        ]
    ),
)
CHUNKS = st.one_of(
    st.builds(chunk, TEXTS),
    st.builds(chunk, TEXTS, st.just({"role": "assistant"})),
    st.builds(chunk, TEXTS, st.just({"reasoning_content": "thought"})),
    st.builds(chunk, TEXTS, st.just({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]})),
    st.builds(chunk, TEXTS, st.none(), st.just({"finish_reason": "stop"})),
    st.builds(chunk, TEXTS, st.none(), st.just({"logprobs": {"content": [{"token": "a", "logprob": -1.0}]}})),
    st.builds(chunk, TEXTS, usage=st.sampled_from([None, {"prompt_tokens": 1, "completion_tokens": 2}])),
    st.builds(chunk, TEXTS, obfuscation=st.text(max_size=4)),
    st.builds(chunk, TEXTS, citations=st.sampled_from([[], ["https://example.org/a"]])),
    st.builds(chunk, st.sampled_from([None, [{"type": "text", "text": "part"}], 5])),
)
READS = st.lists(
    st.builds(
        sent,
        CHUNKS,
        ascii_only=st.booleans(),
        spaced=st.sampled_from([False, False, False, True]),
        event=st.sampled_from(["", "", ": queued\n\n", "event: message\n", "id: 7\n"]),
    ),
    max_size=12,
)


def joined(reads: list[bytes], together: list[bool]) -> list[bytes]:
    """Return the stream in other reads: some chunks come with the one before."""
    out = [b""]
    for read, goes_on in zip(reads, together, strict=False):
        out[-1:] = [out[-1] + read] if goes_on else [out[-1], read]
    return out


CUT = st.builds(joined, READS, st.lists(st.booleans(), min_size=12, max_size=12))


@given(CUT)
def test_a_stream_reads_the_same_with_and_without_what_was_learned(reads: list[bytes]) -> None:
    """Whatever chunks follow each other, the events are those of reading each of them as a whole."""
    assert decoded(reads, Repeats()) == decoded(reads, Forgetful())


@pytest.mark.parametrize(
    ("text", "known"),
    [("plain", True), ("中文", True), ('say "hi"\n', True), ("\\", True), ("", False)],
    ids=["plain", "chinese", "escapes", "backslash", "empty"],
)
def test_only_the_text_differs(text: str, known: bool) -> None:
    """A chunk that differs from the one learned in its text only is recognised, whatever the text."""
    repeats = Repeats()
    repeats.learn(sent(chunk("first")), "first")
    repeats.arm(plain=True)
    assert repeats.text(sent(chunk(text))) == (text if known else "")


@pytest.mark.parametrize(
    "read",
    [
        sent(chunk("text", id="another")),
        sent(chunk("text", {"role": "assistant"})),
        sent(chunk("text", None, {"finish_reason": "stop"})),
        sent(chunk("one")) + sent(chunk("two", id="another")),
        sent(chunk("one")) + sent(chunk(5)) + sent(chunk("two")),
        sent(chunk("one")) + sent(chunk("two")).replace(b'"two"', b'"two","three"'),
        sent(chunk("cut"))[:-1],
        sent(chunk("text")).replace(b'"text"', b'"text","finish_reason":"stop"'),
        sent(chunk(r"\ud83d")).replace(rb"\\ud83d", rb"\ud83d"),
        sent(chunk("cut"))[5:],
        b"data: [DONE]\n\n",
    ],
    ids=[
        "id",
        "role",
        "finished",
        "another-id-follows",
        "number",
        "more-texts",
        "cut",
        "more-fields",
        "half-a-character",
        "tail",
        "terminator",
    ],
)
def test_more_than_the_text_differs(read: bytes) -> None:
    """All other bytes are left to the parser."""
    repeats = Repeats()
    repeats.learn(sent(chunk("first")), "first")
    repeats.arm(plain=True)
    assert repeats.text(read) == ""


def test_chunks_that_came_together() -> None:
    """The texts of several such chunks in one read are one text."""
    repeats = Repeats()
    repeats.learn(sent(chunk("first")), "first")
    repeats.arm(plain=True)
    assert repeats.text(b"".join(sent(chunk(text)) for text in ("a", "", '"', "中"))) == 'a"中'


def test_a_text_elsewhere_is_not_learned() -> None:
    """A field of the same name that is not the text of the choice teaches nothing."""
    repeats = Repeats()
    reads = sent({"note": {"content": "same"}, "choices": [{"delta": {"refusal": "same"}}]})
    repeats.learn(reads, "same")
    assert repeats.text(reads.replace(b"same", b"other", 1)) == ""


def test_large_chunks_are_not_kept() -> None:
    """The stream keeps nothing of a chunk with much around its text."""
    repeats = Repeats()
    repeats.learn(sent(chunk("text", padding="x" * 5_000)), "text")
    assert repeats.text(sent(chunk("other", padding="x" * 5_000))) == ""


def test_changing_chunks_end_the_learning() -> None:
    """A vendor whose chunks all differ costs a bounded number of attempts."""
    repeats = Repeats()
    for number in range(20):
        repeats.learn(sent(chunk("text", id=str(number))), "text")
    assert repeats.text(sent(chunk("other", id="19"))) == ""


def test_texts_pass_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first chunk of a plain stream, no further one is parsed."""
    decoder = Decoder(DIALECT)
    for read in (sent(chunk("one", {"role": "assistant"})), sent(chunk("two"))):
        assert decoder.feed(read)
    monkeypatch.setattr(decoder, "_parser", None)
    assert decoder.feed(sent(chunk("four"))) == [Delta("four")]
    assert decoder.progressed
