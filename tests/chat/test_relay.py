"""chat/openai/relay.py: what a run publishes, as OpenAI's chunks or as one completion."""

import asyncio
import json
from typing import Any

import pytest

from chat.events.sse import OpenStreams
from chat.openai import errors, relay
from chat.openai.calls import RelayStream
from chat.openai.relay import Chunks, Relay, Whole

START = {"generation": "0" * 32, "conversation": None, "model": "m", "title": None}
DONE: dict[str, Any] = {"finish_reason": "stop", "usage": {"input_tokens": 3, "output_tokens": 4, "estimated": False}}
FAILED = {"code": "upstream_timeout", "message": "Too late.", "charge": None}


def started(kind: Relay) -> Any:
    kind.publish("start", START)
    return kind


def waiting_data(chunks: Chunks) -> list[Any]:
    """Return the data of the chunks that wait."""
    blocks = chunks.take().decode().split("\n\n")[:-1]
    data = [block.removeprefix("data: ") for block in blocks]
    return [text if text == "[DONE]" else json.loads(text) for text in data]


def deltas(chunks: Chunks) -> list[Any]:
    return [event["choices"][0]["delta"] for event in waiting_data(chunks) if event != "[DONE]"]


def test_neighbouring_text_is_one_chunk() -> None:
    """All that waits is taken at once, and once."""
    chunks: Chunks = started(Chunks())
    for text in ("你", "好\u2028", '"'):
        chunks.publish("message", {"role": "assistant", "content": text})
    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {"content": '你好\u2028"'}]
    assert chunks.take() == b""
    chunks.publish("message", {"role": "assistant", "content": "!"})
    assert deltas(chunks) == [{"content": "!"}]


def test_kinds_keep_their_order() -> None:
    """Reasoning, text and calls come out in the order in which they came in."""
    chunks: Chunks = started(Chunks())
    chunks.take()
    chunks.publish("reasoning", {"content": "hm"})
    chunks.publish("message", {"content": "a"})
    chunks.tool_calls('[{"index":0}]')
    chunks.publish("message", {"content": "b"})
    assert deltas(chunks) == [
        {"reasoning_content": "hm"},
        {"content": "a"},
        {"tool_calls": [{"index": 0}]},
        {"content": "b"},
    ]


CITED = {"sources": [{"url": "https://a.example/", "title": "A"}]}
ANNOTATIONS = [
    {
        "type": "url_citation",
        "url_citation": {"start_index": 0, "end_index": 0, "url": "https://a.example/", "title": "A"},
    }
]
DETAILED = {**DONE["usage"], "cached_tokens": 2, "reasoning_tokens": 0, "reasoning_seconds": 1.5}


def test_sources_are_annotations() -> None:
    """Cited pages come as annotations after the text, in a stream and in a whole completion."""
    chunks: Chunks = started(Chunks())
    whole: Whole = started(Whole())
    for each in (chunks, whole):
        each.publish("message", {"content": "a"})
        each.publish("sources", CITED)
        each.complete("done", DONE, finish_reason="stop")
    assert deltas(chunks)[1:3] == [{"content": "a"}, {"annotations": ANNOTATIONS}]
    assert whole.body["choices"][0]["message"] == {"role": "assistant", "content": "a", "annotations": ANNOTATIONS}


def test_images_stay_as_they_came() -> None:
    """Half of a character, which is no text in UTF-8, does not keep a program from its completion."""
    whole: Whole = started(Whole())
    assert whole.images('[{"title":"\\ud83d"}]')
    assert whole.images('[{"title":"b"},{"title":"c"}]')
    whole.complete("done", DONE, finish_reason="stop")
    message = json.loads(whole.content)["choices"][0]["message"]
    assert [image["title"] for image in message["images"]] == ["\ud83d", "b", "c"]


def test_details_of_usage() -> None:
    """Cached and reasoning tokens stand where OpenAI has them; unknown ones are left out."""
    whole: Whole = started(Whole())
    whole.complete("done", {**DONE, "usage": DETAILED}, finish_reason="stop")
    assert whole.body["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    plain: Whole = started(Whole())
    plain.complete("done", DONE, finish_reason="stop")
    assert plain.body["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_notices_are_dropped() -> None:
    """The completion has not started with a notice."""
    chunks: Chunks = started(Chunks())
    chunks.take()
    chunks.publish("notice", {"code": "retrying", "message": "…"})
    assert (chunks.take(), chunks.started) == (b"", False)


def test_withdrawn_text_is_not_sent() -> None:
    """Withdrawn text that still waits is dropped."""
    chunks: Chunks = started(Chunks())
    chunks.publish("reasoning", {"content": "hm"})
    chunks.publish("message", {"content": "bad"})
    chunks.publish("reset", {"content": "", "reasoning": ""})
    chunks.publish("message", {"content": "again"})
    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {"content": "again"}]


@pytest.mark.parametrize(
    ("of_upstream", "stored", "shown"),
    [
        ("stop", "stop", "stop"),
        ("tool_calls", "stop", "tool_calls"),
        ("length", "length", "length"),
        ("", "content_filter", "content_filter"),
        ("", "cancelled", "stop"),
    ],
)
def test_finish_reasons(of_upstream: str, stored: str, shown: str) -> None:
    """The upstream's reason is passed on; a stop from elsewhere counts as `stop`."""
    chunks: Chunks = started(Chunks())
    chunks.take()
    chunks.complete("done", {**DONE, "finish_reason": stored}, finish_reason=of_upstream)
    finish, done = waiting_data(chunks)
    assert (finish["choices"][0]["finish_reason"], done) == (shown, "[DONE]")


def test_a_failure_ends_without_done() -> None:
    """The error comes after all text, and nothing follows it."""
    chunks: Chunks = started(Chunks())
    chunks.publish("message", {"content": "a"})
    chunks.complete("error", FAILED)
    *_before, error = waiting_data(chunks)
    assert error == {"error": {"message": "Too late.", "type": "server_error", "param": None, "code": "server_error"}}


def test_a_run_that_dies() -> None:
    """The caller of a run that died of a bug gets an error."""
    whole: Whole = started(Whole())
    whole.abandon()
    assert whole.at_end
    assert whole.failure
    assert whole.failure["code"] == "internal_error"


@pytest.mark.parametrize(
    "pieces",
    [
        [
            '[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]',
            '[{"index":0,"function":{"arguments":"}"}}]',
        ],
        ['[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]'],
    ],
)
def test_pieces_of_calls_are_joined(pieces: list[str]) -> None:
    """A piece belongs to the call with its index."""
    whole: Whole = started(Whole())
    for piece in [*pieces, '[{"index":1,"id":"b","function":{"name":"g","arguments":"[]"}}]']:
        whole.tool_calls(piece)
    whole.complete("done", DONE)
    assert whole.body["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
        ],
    }


@pytest.mark.parametrize(("rest", "wanted"), [("\\ude00", "😀"), ("", "\ufffd")])
def test_surrogate_pairs_are_joined(rest: str, wanted: str) -> None:
    """A half without its other half becomes a replacement character."""
    whole: Whole = started(Whole())
    whole.tool_calls('[{"index":0,"id":"a","function":{"name":"f","arguments":"\\ud83d"}}]')
    whole.tool_calls(f'[{{"index":0,"function":{{"arguments":"{rest}"}}}}]')
    whole.complete("done", DONE)
    assert whole.body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == wanted
    assert json.dumps(whole.body, ensure_ascii=False).encode()


def test_a_whole_completion_has_no_withdrawn_text() -> None:
    """A `reset` replaces all text."""
    whole: Whole = started(Whole())
    whole.publish("message", {"content": "bad"})
    whole.publish("reset", {"content": "", "reasoning": ""})
    whole.complete("done", {**DONE, "finish_reason": "content_filter"})
    assert whole.body["choices"][0]["message"]["content"] == ""
    assert whole.body["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_leaving_stops_the_run() -> None:
    """A run that begins after the caller left is stopped at once."""
    stopped: list[str] = []
    early, late = started(Chunks()), started(Chunks())
    early.bind(lambda: stopped.append("early"))
    early.leave()
    late.leave()
    late.bind(lambda: stopped.append("late"))
    assert stopped == ["early", "late"]


async def test_a_slow_caller_makes_the_run_wait() -> None:
    """A full relay waits until the caller has taken what waits."""
    chunks: Chunks = started(Chunks())
    chunks.publish("message", {"content": "x" * relay.FULL_CHARS})
    assert not chunks.full
    chunks.publish("message", {"content": "x"})
    assert chunks.full
    waiting = asyncio.create_task(chunks.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert chunks.take()
    await waiting
    assert not chunks.full


def test_log_probabilities_wait_like_text() -> None:
    """They fill a stream and wake its caller; a whole completion keeps their JSON alone."""
    score = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    chunks, whole = started(Chunks()), started(Whole())
    woken: list[bool] = []
    chunks.wake = lambda: woken.append(True)
    while not chunks.full:
        chunks.logprobs([score] * 20)
    assert len(woken) * len(json.dumps(score)) * 20 < 2 * relay.FULL_CHARS
    for _ in range(3):
        whole.logprobs([score])
    whole.complete("done", DONE, finish_reason="stop")
    assert json.loads(whole.content)["choices"][0]["logprobs"] == {"content": [score] * 3, "refusal": None}


async def test_the_status_waits_for_the_first_text() -> None:
    """The hold ends with the first text, the end, or its time limit."""
    silent, speaking, failing = started(Chunks()), started(Chunks()), started(Chunks())
    streams = {chunks: RelayStream(OpenStreams(), 1, chunks) for chunks in (silent, speaking, failing)}
    held = {chunks: asyncio.create_task(stream.hold(60)) for chunks, stream in streams.items()}
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in held.values())
    speaking.publish("reasoning", {"content": "hm"})
    failing.complete("error", FAILED)
    await asyncio.sleep(0.01)
    assert (held[speaking].done(), held[failing].done(), held[silent].done()) == (True, True, False)
    held[silent].cancel()
    await streams[silent].hold(0.01)
    first = await anext(streams[silent].events())
    assert b'"role":"assistant"' in first


async def test_a_caller_that_is_cut_off_gets_an_error() -> None:
    """The stream does not end like a whole completion, and the run is stopped."""
    stopped: list[bool] = []
    chunks: Chunks = started(Chunks())
    chunks.bind(lambda: stopped.append(True))
    stream = RelayStream(OpenStreams(), 1, chunks)
    chunks.publish("message", {"content": "a"})
    stream.close(b"retry: 500\n\n")
    sent = b"".join([data async for data in stream.events()])
    assert sent.endswith(errors.event(errors.interrupted()))
    assert b"[DONE]" not in sent
    assert b"retry" not in sent
    assert stopped
