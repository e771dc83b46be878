"""Decoding streams of Anthropic's Messages API, without a network."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.anthropic.adapter import Anthropic
from providers.wire.anthropic.decoder import MessagesDecoder
from providers.wire.base import Delta, Endpoint, Event, Finished, Reasoning, Source, Sources, Usage
from providers.wire.errors import UpstreamFailed
from tests.anthropic_scenarios import CITY, TOOL_ID, USAGE, block_events, called, event, message_end, said, thought
from tests.anthropic_scenarios import message_start as start_of
from tests.providers.streams import reasoning, text
from tests.providers.test_anthropic import calls_of

DIALECT = Anthropic(Endpoint("https://upstream.invalid"))
BEGIN, STOP = start_of("m", USAGE), event("message_stop")
NOISE = [
    b": comment\n\n",
    b"\n\n",
    event("ping"),
    b"retry: 5\n\n",
    event("news", weather={"sun": True}),
    event("content_block_delta", index=9, delta={"type": "hologram_delta", "x": 1}),
    b"data: null\n\n",
]


def decode(*reads: bytes, with_tools: bool = True) -> list[Event]:
    """Return the events of network reads, until the decoder wants no more, and of the end."""
    decoder = MessagesDecoder(DIALECT, with_tools=with_tools)
    found: list[Event] = []
    for read in reads:
        if not decoder.ended:
            found += decoder.feed(read)
    return found + decoder.flush()


def start(block: Any, index: Any = 0) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(kind: str, index: Any = 0, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def end(reason: Any = "end_turn", usage: Any = None) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage or USAGE)


TEXT = b"".join(block_events(0, said("It works.")))
CALL = start({"type": "tool_use", "id": "a", "name": "f", "input": {}})


@given(st.data())
def test_any_cut_gives_the_same_completion(data: st.DataObject) -> None:
    """Cuts, comments, pings, unknown events, unknown fields and the order of keys change nothing."""
    blocks = [thought("Hm你"), said("It works. 好😀"), called(), called("now", {}, f"{TOOL_ID}2")]
    events = [BEGIN, *(each for index, block in enumerate(blocks) for each in block_events(index, block))]
    events += [end("tool_use", {"output_tokens": 8}), STOP]
    stream = b""
    for whole in events:
        stream += data.draw(st.sampled_from((b"", *NOISE)), label="before")
        name, _break, rest = whole.partition(b"\n")
        if data.draw(st.booleans(), label="turned"):
            fields = json.loads(rest.removeprefix(b"data: "))
            turned = {"extra": {"odd": 1}, **dict(reversed(fields.items()))}
            whole = name + b"\ndata: " + json.dumps(turned).encode() + b"\n\n"
        stream += whole
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12), label="cuts"))
    pairs = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    found = decode(*(stream[first:last] for first, last in pairs))

    assert (text(found), reasoning(found)) == ("It works. 好😀", "Hm你")
    first, second = calls_of(found)
    assert json.loads(first["function"]["arguments"]) == CITY
    assert second["function"] == {"name": "now", "arguments": "{}"}
    assert first["extra_content"]["anthropic"]["thinking"] == [thought("Hm你")]
    assert "extra_content" not in second
    assert found[-2:] == [Usage(9, 8), Finished("tool_calls")]


def test_texts_of_one_read_are_merged() -> None:
    """Texts of one read are one event, and their order with thoughts is kept."""
    blocks = [thought("a"), said("b"), thought("c"), said("d")]
    stream = b"".join(each for index, block in enumerate(blocks) for each in block_events(index, block))
    assert decode(BEGIN + TEXT + message_end("end_turn", USAGE))[0] == Delta("It works.")
    expected = [Reasoning("a"), Delta("b"), Reasoning("c"), Delta("d"), Usage(9, 7), Finished("stop")]
    assert decode(BEGIN + stream + message_end("end_turn", USAGE)) == expected


# --- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ({"input_tokens": 9}, {"output_tokens": 7}, Usage(9, 7)),
        ({"input_tokens": 0}, {"input_tokens": 9, "output_tokens": 7}, Usage(9, 7)),
        ({"input_tokens": 9, "cache_read_input_tokens": 0}, {"output_tokens": 7}, Usage(9, 7, 0)),
        (
            {"input_tokens": 9, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 20},
            {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}},
            Usage(34, 7, 20, 3),
        ),
        ({"input_tokens": 9}, {"input_tokens": None, "output_tokens": 7, "cache_read_input_tokens": None}, Usage(9, 7)),
        ({"input_tokens": "9"}, {"output_tokens": 7.0}, Usage(9, 7)),
        ({"input_tokens": -1}, {"output_tokens": 7}, None),
        ({"input_tokens": True}, {"output_tokens": 7}, None),
        ({}, {}, None),
    ],
)
def test_usage(first: dict[str, Any], last: dict[str, Any], expected: Usage | None) -> None:
    """The counts are totals, later ones win, and tokens of the cache are part of the input."""
    begin = event("message_start", message={"usage": {"output_tokens": 1, **first}})
    found = [each for each in decode(begin, TEXT, end(usage={"odd": 1, **last}), STOP) if isinstance(each, Usage)]
    assert found == ([expected] if expected else [])


def test_the_first_usage_counts_without_a_later_one() -> None:
    """The counts of the beginning are not published before the end, because the output has just begun."""
    reads = [BEGIN, TEXT, event("message_delta", delta={"stop_reason": "end_turn"}), STOP]
    assert decode(*reads) == [Delta("It works."), Usage(9, 1), Finished("stop")]


# --- tool calls ------------------------------------------------------------------------------------------------------


def test_calls_without_tools_are_dropped() -> None:
    """Calls are not passed on to a client that offered no tools."""
    found = decode(BEGIN, CALL, end("tool_use"), STOP, with_tools=False)
    assert found == [Usage(9, 7), Finished("tool_calls")]


@pytest.mark.parametrize(
    ("reads", "arguments"),
    [
        ([CALL], "{}"),
        ([CALL, delta("input_json_delta", partial_json="")], "{}"),
        (
            [CALL, delta("input_json_delta", partial_json='{"x":'), delta("input_json_delta", partial_json="1}")],
            '{"x":1}',
        ),
        ([start({"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}})], '{"x":1}'),
        (
            [
                start({"type": "tool_use", "id": "a", "name": "f"}, "0"),
                delta("input_json_delta", 0, partial_json="{ }"),
            ],
            "{ }",
        ),
    ],
)
def test_arguments(reads: list[bytes], arguments: str) -> None:
    """Arguments are JSON text, from pieces or at once, also when the end of the block is missing."""
    for last in ([event("content_block_stop", index=0)], []):
        (call,) = calls_of(decode(BEGIN, *reads, *last, end("tool_use"), STOP))
        assert (call["id"], call["function"]) == ("a", {"name": "f", "arguments": arguments})


def test_one_index_for_all() -> None:
    """A block that begins at an index that is in use is another call."""
    second = start({"type": "tool_use", "id": "b", "name": "g", "input": {}})
    calls = calls_of(decode(BEGIN, CALL, second, end("tool_use"), STOP))
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("a", "{}"), ("b", "{}")]


def test_a_call_without_an_id_gets_one() -> None:
    """A call of a careless relay has an id of its own."""
    (call,) = calls_of(decode(BEGIN, start({"type": "tool_use", "name": "f"}), end("tool_use"), STOP))
    assert call["id"].startswith("call_")


def test_a_thought_without_a_signature_is_not_kept() -> None:
    """A thought that the vendor did not sign is no use in the next turn."""
    blocks = [thought("a", ""), called()]
    stream = b"".join(each for index, block in enumerate(blocks) for each in block_events(index, block))
    (call,) = calls_of(decode(BEGIN, stream, end("tool_use"), STOP))
    assert "extra_content" not in call


def test_half_a_character() -> None:
    """Characters that are escaped in halves come out whole, in texts and in arguments."""
    halves = [b'{"type":"text_delta","text":"\\ud83d"}', b'{"type":"text_delta","text":"\\ude00"}']
    pieces = [b'{"type":"input_json_delta","partial_json":"{\\"x\\":\\"\\ud83d\\"}"}']
    lines = [b'data: {"type":"content_block_delta","index":%d,"delta":%b}\n\n' for _each in range(2)]
    text_reads = [lines[0] % (0, half) for half in halves]
    call_reads = [start({"type": "tool_use", "id": "a", "name": "f"}, 1), *(lines[1] % (1, piece) for piece in pieces)]
    found = decode(BEGIN, start(said("")), *text_reads, *call_reads, end("tool_use"), STOP)
    assert text(found) == "😀"
    assert len(calls_of(found)) == 1


# --- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        ({"type": "web_search_result_location", "url": "https://a.example", "title": None}, ("https://a.example", "")),
        ({"type": "search_result_location", "source": "https://a.example", "title": "A"}, ("https://a.example", "A")),
        ({"type": "search_result_location", "source": "document 7", "title": "A"}, None),
        ({"type": "char_location", "document_title": "A"}, None),
        ({"type": "web_search_result_location", "url": 7}, None),
        ({"type": "web_search_result_location", "url": "javascript:alert(1)"}, None),
    ],
)
def test_citations(citation: dict[str, Any], expected: tuple[str, str] | None) -> None:
    """Cited pages are sources, once each; documents without an address are none."""
    cited = [delta("citations_delta", citation=citation)] * 2
    found = [each for each in decode(BEGIN, TEXT, *cited, end(), STOP) if isinstance(each, Sources)]
    assert found == ([Sources((Source(*expected),))] if expected else [])


def test_a_fetched_page_is_a_source() -> None:
    """A page that the vendor's own tool fetched is a source, and the failure of a search is none."""
    page = {"type": "web_fetch_result", "url": "https://a.example", "content": {"type": "document", "title": "A"}}
    failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    blocks = start({"type": "web_fetch_tool_result", "content": page}) + start(
        {"type": "web_search_tool_result", "content": failed}, 1
    )
    assert Sources((Source("https://a.example", "A"),)) in decode(BEGIN, blocks, TEXT, end(), STOP)


# --- ends and odd parts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", [[], [BEGIN], [BEGIN, TEXT], [BEGIN, TEXT, end(None)], [BEGIN, STOP], [STOP]])
def test_incomplete_streams_fail(reads: list[bytes]) -> None:
    """A stream without a stop reason and without its end fails; so does one that has nothing but an end."""
    with pytest.raises(UpstreamFailed, match="broken"):
        decode(*reads)


@pytest.mark.parametrize("last", [[STOP], [end()], [end(), STOP], [STOP, b"data: {\n\n"], [b"data: [DONE]\n\n"]])
def test_each_end_is_enough(last: list[bytes]) -> None:
    """The stop reason or the last event ends a completion, and nothing behind makes it fail."""
    found = decode(BEGIN, TEXT, *last)
    assert (text(found), found[-1]) == ("It works.", Finished("stop"))


@pytest.mark.parametrize(
    "late",
    [event("error", error={"type": "api_error", "message": "x"}), b"data: {broken\n\n", b"data: [7]\n\n", TEXT[:9]],
)
def test_nothing_after_the_stop_reason_fails(late: bytes) -> None:
    """Errors and garbage behind the stop reason are skipped."""
    found = decode(BEGIN, TEXT, end("max_tokens"), late)
    assert (text(found), found[-1]) == ("It works.", Finished("length"))


@pytest.mark.parametrize(
    "odd",
    [
        event("message_start", message=None),
        event("message_start", message={"usage": "odd"}),
        start(None),
        start({"type": None}),
        start({"type": "text", "text": 7, "citations": {"a": 1}}),
        start({"type": "thinking", "thinking": None}, "x"),
        start({"type": "redacted_thinking"}),
        start({"type": "web_search_tool_result", "content": [7, None, {"url": None}]}),
        event("content_block_delta"),
        delta("text_delta", 1, text=None),
        delta("thinking_delta", 1, thinking=["x"]),
        delta("signature_delta", 1, signature=3),
        delta("input_json_delta", 1, partial_json={"x": 1}),
        delta("citations_delta", 1, citation="x"),
        event("content_block_stop"),
        event("message_delta", delta={"stop_reason": 7}, usage=[]),
        event("message_delta"),
    ],
)
def test_odd_parts(odd: bytes) -> None:
    """Parts of a wrong type are passed over."""
    found = decode(BEGIN, odd, TEXT, end(), STOP)
    assert found == [Delta("It works."), Usage(9, 7), Finished("stop")]


@pytest.mark.parametrize("data", [b'{"type":"error","error":{"type":"overloaded_error"}}', b"overloaded"])
def test_errors(data: bytes) -> None:
    """An error event is a failure, whatever it holds."""
    with pytest.raises(UpstreamFailed):
        decode(BEGIN, TEXT, b"event: error\ndata: " + data + b"\n\n")


def test_a_growing_call_is_progress() -> None:
    """The arguments of a call move the clock between payloads, with and without tools offered."""
    for with_tools in (True, False):
        decoder = MessagesDecoder(DIALECT, with_tools=with_tools)
        for read in (CALL, delta("input_json_delta", partial_json='{"x":')):
            decoder.feed(read)
            assert decoder.progressed


@pytest.mark.parametrize("count", [10**14, 2**63 + 5, "9" * 30])
def test_counts_beyond_the_database_are_not_reported(count: Any) -> None:
    usage = {"input_tokens": count, "output_tokens": 2}
    events = decode(start_of("m", usage), TEXT, end(usage=usage), STOP)
    assert [one for one in events if isinstance(one, Usage)] == []


def test_few_thoughts_are_kept_for_a_call() -> None:
    """Blocks of a hostile upstream are bounded, and none is kept without tools."""
    block = {"type": "redacted_thinking", "data": "x" * 100_000, "junk": "y" * 100_000}
    for with_tools in (True, False):
        decoder = MessagesDecoder(DIALECT, with_tools=with_tools)
        for number in range(100):
            decoder.feed(start(block, number))
        kept = sum(len(str(one)) for one in decoder._thinking.values())
        assert kept <= (5 * 1024 * 1024 if with_tools else 0)
        assert "junk" not in str(decoder._thinking)
