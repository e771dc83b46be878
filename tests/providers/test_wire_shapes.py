"""Shapes of streams that vendors and relays really send, and the completion that comes of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import ChatRequest, Clocks, Endpoint, Event, Finished, PromptMessage, Usage, Withdrawn
from providers.wire.errors import ProviderError
from providers.wire.openai import adapter
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.decoder import Decoder
from providers.wire.zhipu.adapter import Zhipu
from tests.providers.streams import reasoning, text

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
D = "[DONE]"


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def stop(reason: Any = "stop", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **fields}]}


def with_stop(content: str, reason: str = "stop", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}], **fields}


def usage(output: int) -> dict[str, int]:
    return {"prompt_tokens": 9, "completion_tokens": output}


T = delta(content="It works.")
S = stop()
WHOLE = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"content": "It works.", "reasoning_content": "Hm"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
IMAGES = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_500_000}}]


def stream_bytes(*events: Any) -> bytes:
    """Return events as an event stream; a text stands as it is."""
    return b"".join(
        b"data: %b\n\n" % (event if isinstance(event, str) else json.dumps(event)).encode() for event in events
    )


async def completion(*pieces: bytes, pause: float = 0, status: int = 200, head: str = "") -> list[Event]:
    """Return the events of a response that sends these pieces."""

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(pause)

    headers = {"Content-Type": head or "text/event-stream"} if head != "none" else {}
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, headers=headers, content=body()))
    provider = OpenAICompatible(Endpoint("http://upstream.invalid/v1", clocks=Clocks(5, 5, 5, 30)), transport)
    request = ChatRequest("m", (PromptMessage("user", "Hi"),), {}, "00ff")
    return [event async for event in provider.stream(request, "id.secret")]


def reason_of(events: list[Event]) -> str:
    assert isinstance(events[-1], Finished)
    return events[-1].reason


@pytest.mark.parametrize(
    ("events", "expected", "thought"),
    [
        ([with_stop(f"{n} ") for n in range(8)] + [D], "0 1 2 3 4 5 6 7 ", ""),
        ([T, S, "OK", D], "It works.", ""),
        ([delta(content="It "), "null", delta(content="works."), S, D], "It works.", ""),
        ([delta(content="It "), "ping", delta(content="works."), S, D], "It works.", ""),
        ([delta(content="It "), "7", '"text"', [], delta(content="works."), S, D], "It works.", ""),
        ([T, S, '"[DONE]"'], "It works.", ""),
        ([T, "[done]"], "It works.", ""),
        ([T, S, D, D], "It works.", ""),
        ([T, S, "{half", {"error": {"message": "late"}}, D], "It works.", ""),
        (
            [{"choices": [{"index": 0, "delta": {"content": "It works."}, "logprobs": [float("nan")]}]}, S, D],
            "It works.",
            "",
        ),
        ([{"choices": [{"index": "0", "delta": {"content": "It works."}}]}, S, D], "It works.", ""),
        (
            [
                delta(reasoning_content="Hm"),
                {"choices": [{"index": 1, "delta": {"content": "It works."}, "finish_reason": None}]},
                S,
                D,
            ],
            "It works.",
            "Hm",
        ),
        ([delta(content="", reasoning_details=[{"type": "reasoning.text", "text": "Hm"}]), T, S, D], "It works.", "Hm"),
        ([delta(reasoning="Hm", reasoning_details=[{"text": "Hm"}]), T, S, D], "It works.", "Hm"),
        (
            [
                delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]),
                delta(content=[{"type": "text", "text": "It works."}]),
                S,
                D,
            ],
            "It works.",
            "Hm",
        ),
        ([delta(content="<thought>Hm"), delta(content="</thought>It works."), S, D], "It works.", "Hm"),
        ([delta(content="<thin"), delta(content="king>Hm</thinking>\n\nIt works."), S, D], "It works.", "Hm"),
        ([delta(content=None, refusal=""), delta(refusal="I can't help."), S, D], "I can't help.", ""),
        ([delta(content="Here: "), delta(content="", images=IMAGES), delta(content="done."), S, D], "Here: done.", ""),
        ([delta(content="x" * 900_000), S, D], "x" * 900_000, ""),
        (
            [T, {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "It works."}}]}],
            "It works.",
            "",
        ),
        ([{**T, "message": {"content": "ignored"}}, S, D], "It works.", ""),
        ([[T], [S], D], "It works.", ""),
        ([delta(content=7), delta(content={"type": "text", "text": "!"}), S, D], "7!", ""),
        ([delta(content=[{"type": "thinking", "thinking": "Hm"}]), T, S, D], "It works.", "Hm"),
    ],
)
async def test_the_text_is_whole(events: list[Any], expected: str, thought: str) -> None:
    """The decoder reads what chunks mean, and skips data without a meaning."""
    found = await completion(stream_bytes(*events))

    assert (text(found), reasoning(found), reason_of(found)) == (expected, thought, "stop")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((word, "stop") for word in ("STOP", "eos", "end_turn", "stop_sequence", "never heard of", {"type": "stop"})),
        *((word, "length") for word in ("max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded")),
        *((word, "content_filter") for word in ("SAFETY", "refusal", "content_filter: SAFETY", "content-filter")),
        *((word, "failed") for word in ("abort", "Aborted", "network_error", "error", "insufficient_system_resource")),
    ],
)
async def test_finish_words_belong_to_families(reason: Any, expected: str) -> None:
    """Cut text never looks complete, and a failure is none."""
    if expected == "failed":
        with pytest.raises(ProviderError):
            await completion(stream_bytes(T, stop(reason), D))
    else:
        assert reason_of(await completion(stream_bytes(T, stop(reason), D))) == expected


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [(("stop", "length"), "length"), (("length", "stop"), "length"), (("length", "content_filter"), "content_filter")],
)
async def test_of_several_reasons_the_worst_counts(reasons: tuple[str, ...], expected: str) -> None:
    assert reason_of(await completion(stream_bytes(T, *map(stop, reasons), D))) == expected


@pytest.mark.parametrize(
    "last",
    [
        {**S, "usage": USAGE},
        {**S, "x_groq": {"id": "req", "usage": USAGE}},
        {**S, "usage": {"input_tokens": 9, "output_tokens": 2}},
        {**S, "usage": {"prompt_tokens": "9", "completion_tokens": 2.0}},
        {**S, "usage": {"prompt_tokens": None, "completion_tokens": None, "input_tokens": 9, "output_tokens": 2}},
        stop(usage=USAGE),
    ],
)
async def test_usage_in_other_shapes(last: Mapping[str, Any]) -> None:
    assert Usage(9, 2) in await completion(stream_bytes(T, last, D))


@pytest.mark.parametrize("head", ["text/event-stream", "text/plain; charset=utf-8", "application/json", "none"])
@pytest.mark.parametrize("status", [200, 201])
async def test_bytes_decide_that_it_is_a_stream(head: str, status: int) -> None:
    """A wrong or missing content type and comments before the first event change nothing."""
    found = await completion(b"\xef\xbb\xbf\n: queued\n\n", stream_bytes(T, S, D), head=head, status=status)

    assert (text(found), reason_of(found)) == ("It works.", "stop")


@pytest.mark.parametrize("head", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("padding", [0, 200_000])
async def test_a_whole_completion_is_converted(head: str, indent: int | None, padding: int) -> None:
    body = json.dumps({**WHOLE, "padding": "x" * padding}, indent=indent).encode()
    found = await completion(body[:40], body[40:], head=head)

    assert (text(found), reasoning(found), reason_of(found)) == ("It works.", "Hm", "stop")
    assert Usage(9, 2) in found


async def test_a_bare_error_in_a_stream_is_classified() -> None:
    error = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with pytest.raises(ProviderError) as failure:
        await completion(json.dumps(error).encode())

    assert (failure.value.blame, failure.value.action) == ("key", "disable")


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b'{"message":{"content":"x"},"done":false}\n{"done":true}\n'])
async def test_another_protocol_is_a_broken_stream(body: bytes) -> None:
    with pytest.raises(ProviderError) as failure:
        await completion(body, head="text/html")

    assert (failure.value.code, failure.value.blame) == ("upstream_error", "upstream")


async def test_a_pause_after_a_finish_reason_with_text_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that finishes every chunk, with usage, is read on; each event starts the pause anew."""
    monkeypatch.setattr(adapter, "TERMINATOR_WITH_USAGE_S", 0.01)
    chunks = [stream_bytes(with_stop(f"{n} ", usage=usage(n + 1))) for n in range(4)]
    found = await completion(*chunks, stream_bytes(D), pause=0.05)

    assert (text(found), Usage(9, 4) in found) == ("0 1 2 3 ", True)


async def test_the_token_cap_may_be_reached_while_thinking() -> None:
    found = await completion(stream_bytes(delta(reasoning_content="thinking"), stop("length"), D))

    assert (text(found), reasoning(found), reason_of(found)) == ("", "thinking", "length")


def test_zhipu_withdraws() -> None:
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "sensitive"}], "content_filter": [{"level": 1}]}
    decoder = Decoder(Zhipu(Endpoint("http://upstream.invalid/v4")))
    found = decoder.feed(stream_bytes(delta(content="bad text"), last, D)) + decoder.flush()

    assert (Withdrawn() in found, reason_of(found)) == (True, "content_filter")


NOISE = (b": keep-alive\n\n", b"\n\n\n", b"event: ping\ndata: {}\n\n", b'data: {"id": "x", "unknown": [1, null]}\n\n')


@given(st.data())
def test_any_cut_gives_the_same_completion(data: st.DataObject) -> None:
    """Cuts, comments, blank lines, unknown fields and the order of keys change nothing."""
    stream = b""
    for event in [
        delta(role="assistant", content=""),
        delta(reasoning_content="Hm你"),
        *map(words, "It works. 好😀"),
        S,
        D,
    ]:
        stream += data.draw(st.sampled_from((b"", *NOISE)), label="before")
        if isinstance(event, dict) and data.draw(st.booleans(), label="turned"):
            event = {"extra": {"odd": 1}, **dict(reversed(event.items()))}
        stream += stream_bytes(event)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12), label="cuts"))
    decoder = Decoder(OpenAICompatible(Endpoint("http://upstream.invalid/v1")))
    pairs = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    found = [event for start, end in pairs for event in decoder.feed(stream[start:end])] + decoder.flush()

    assert (text(found), reasoning(found), reason_of(found)) == ("It works. 好😀", "Hm你", "stop")


def words(content: str) -> dict[str, Any]:
    return delta(content=content)
