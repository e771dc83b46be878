"""chat/openai/relay.py: what a run publishes, as OpenAI's chunks or as one completion."""

import asyncio
import json
from typing import Any

import pytest

from chat.openai import errors, relay
from chat.openai.relay import Chunks, Relay, Whole
from chat.openai.views import RelayStream

START = {"generation": "0" * 32, "conversation": None, "model": "m", "title": None}
DONE = {"finish_reason": "stop", "usage": {"input_tokens": 3, "output_tokens": 4, "estimated": False}}
FAILED = {"code": "upstream_timeout", "message": "Too late.", "charge": None}


def begun(kind: Relay) -> Any:
    kind.publish("start", START)
    return kind


def said(chunks: Chunks) -> list[Any]:
    """Return the data of what waits."""
    blocks = chunks.take().decode().split("\n\n")[:-1]
    data = [block.removeprefix("data: ") for block in blocks]
    return [text if text == "[DONE]" else json.loads(text) for text in data]


def deltas(chunks: Chunks) -> list[Any]:
    return [event["choices"][0]["delta"] for event in said(chunks)]


def test_it_works() -> None:
    """What waits is taken at once, neighbouring text in one chunk, and nothing is said twice."""
    chunks: Chunks = begun(Chunks())
    for text in ("你", "好\u2028", '"'):
        chunks.publish("message", {"role": "assistant", "content": text})
    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {"content": '你好\u2028"'}]
    assert chunks.take() == b""
    chunks.publish("message", {"role": "assistant", "content": "!"})
    assert deltas(chunks) == [{"content": "!"}]


def test_kinds_keep_their_order() -> None:
    """Thoughts, text and calls come out in the order in which they came in."""
    chunks: Chunks = begun(Chunks())
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


def test_notices_are_not_for_programs() -> None:
    """A notice says nothing, and the answer has not begun with it."""
    chunks: Chunks = begun(Chunks())
    chunks.take()
    assert chunks.publish("notice", {"code": "retrying", "message": "…"}) == 2
    assert (chunks.take(), chunks.spoken) == (b"", False)


def test_withdrawn_text_is_not_sent() -> None:
    """What is void and still here does not go out."""
    chunks: Chunks = begun(Chunks())
    chunks.publish("reasoning", {"content": "hm"})
    chunks.publish("message", {"content": "bad"})
    chunks.publish("reset", {"content": "", "reasoning": ""})
    chunks.publish("message", {"content": "again"})
    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {"content": "again"}]


@pytest.mark.parametrize(
    ("said_by_upstream", "stored", "shown"),
    [
        ("stop", "stop", "stop"),
        ("tool_calls", "stop", "tool_calls"),
        ("length", "length", "length"),
        ("", "content_filter", "content_filter"),
        ("", "cancelled", "stop"),
    ],
)
def test_finish_reasons(said_by_upstream: str, stored: str, shown: str) -> None:
    """The upstream's reason is passed on; an end that was asked for elsewhere is the end of what there is."""
    chunks: Chunks = begun(Chunks())
    chunks.take()
    chunks.finish_reason = said_by_upstream
    chunks.complete("done", {**DONE, "finish_reason": stored})
    finish, done = said(chunks)
    assert (finish["choices"][0]["finish_reason"], done) == (shown, "[DONE]")


def test_a_failure_ends_without_done() -> None:
    """A failure is an error, behind all that was said, and nothing follows it."""
    chunks: Chunks = begun(Chunks())
    chunks.publish("message", {"content": "a"})
    chunks.complete("error", FAILED)
    *_before, error = said(chunks)
    assert error == {"error": {"message": "Too late.", "type": "server_error", "param": None, "code": "server_error"}}


def test_a_run_that_dies() -> None:
    """Whoever waits for a run that died of a fault of ours is told so."""
    whole: Whole = begun(Whole())
    whole.abandon()
    assert whole.ended
    assert whole.failure
    assert whole.failure["code"] == "internal_error"


@pytest.mark.parametrize(
    "pieces",
    [
        [
            '[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]',
            '[{"index":0,"function":{"arguments":"}"}}]',
        ],
        ['[{"id":"a","function":{"name":"f","arguments":"{"}}]', '[{"function":{"name":"f","arguments":"}"}}]'],
        ['[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]'],
    ],
)
def test_calls_are_put_together(pieces: list[str]) -> None:
    """Pieces belong to the call with their index, or without one to the last that began."""
    whole: Whole = begun(Whole())
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
def test_characters_cut_in_two(rest: str, wanted: str) -> None:
    """A character of a call's arguments may come in two halves; one whose other half never comes is none."""
    whole: Whole = begun(Whole())
    whole.tool_calls('[{"index":0,"id":"a","function":{"name":"f","arguments":"\\ud83d"}}]')
    whole.tool_calls(f'[{{"index":0,"function":{{"arguments":"{rest}"}}}}]')
    whole.complete("done", DONE)
    assert whole.body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == wanted
    assert json.dumps(whole.body, ensure_ascii=False).encode()


def test_a_whole_answer_obeys_a_reset() -> None:
    """A whole answer has nothing in it that was withdrawn."""
    whole: Whole = begun(Whole())
    whole.publish("message", {"content": "bad"})
    whole.publish("reset", {"content": "", "reasoning": ""})
    whole.complete("done", {**DONE, "finish_reason": "content_filter"})
    assert whole.body["choices"][0]["message"]["content"] == ""
    assert whole.body["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_leaving_stops_the_run() -> None:
    """The caller's leaving stops the run; one that comes after it is stopped as it comes."""
    stopped: list[str] = []
    early, late = begun(Chunks()), begun(Chunks())
    early.bind(lambda: stopped.append("early"))
    early.leave()
    late.leave()
    late.bind(lambda: stopped.append("late"))
    assert stopped == ["early", "late"]


async def test_a_caller_who_does_not_take_holds_the_run_up() -> None:
    """With much waiting the run waits until the caller has taken it."""
    chunks: Chunks = begun(Chunks())
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


async def test_the_status_waits_for_the_first_words() -> None:
    """The hold ends with the first words, with the end, or when its time is over; then the head goes out at once."""
    silent, speaking, failing = begun(Chunks()), begun(Chunks()), begun(Chunks())
    streams = {chunks: RelayStream(1, chunks) for chunks in (silent, speaking, failing)}
    held = {chunks: asyncio.create_task(stream.hold(0.3)) for chunks, stream in streams.items()}
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in held.values())
    speaking.publish("reasoning", {"content": "hm"})
    failing.complete("error", FAILED)
    await asyncio.sleep(0.01)
    assert (held[speaking].done(), held[failing].done(), held[silent].done()) == (True, True, False)
    await held[silent]
    first = await anext(streams[silent].events())
    assert b'"role":"assistant"' in first


async def test_who_is_cut_off_hears_of_it_and_stops_the_run() -> None:
    """A stream that is closed from here ends with an error, never like a whole answer, and its run is stopped."""
    stopped: list[bool] = []
    chunks: Chunks = begun(Chunks())
    chunks.bind(lambda: stopped.append(True))
    stream = RelayStream(1, chunks)
    chunks.publish("message", {"content": "a"})
    stream.close(b"retry: 500\n\n")
    sent = b"".join([data async for data in stream.events()])
    assert sent.endswith(errors.event(errors.interrupted()))
    assert b"[DONE]" not in sent
    assert b"retry" not in sent
    assert stopped
