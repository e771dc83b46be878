"""The event stream parser: the standard's cases, every way of cutting them, and its bounds."""

import time
import tracemalloc

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.errors import UpstreamFailed
from providers.wire.net.sse import MAX_EVENT_BYTES, SSEEvent, SSEParser
from tests.scenarios import delta_bytes

RECORDED = (
    b"\xef\xbb\xbf: hello\n\n"
    + delta_bytes(content="你好 👋")
    + b"event: x\r\ndata: a\r\ndata:\r\n\r\n"
    + b"id: 7\rdata: b\r\r"
    + "data: \u2028\u0085 end\n\n".encode()
    + b"data: [DONE]\n\n"
)


def parse(*chunks: bytes) -> list[SSEEvent]:
    """Return all events of the chunks, the end of the file included."""
    parser = SSEParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.flush()


def brief(events: list[SSEEvent]) -> list[tuple[str, str, str]]:
    """Return type, data and id of each."""
    return [(event.type, event.data, event.id) for event in events]


def feed_forever(parser: SSEParser, piece: bytes) -> None:
    """Feed 200 MB of `piece`."""
    for _ in range(200 * 1024 * 1024 // len(piece)):
        parser.feed(piece)


def test_read_that_completes_an_event_returns_it() -> None:
    """An event is handed out by the read that completes it."""
    parser = SSEParser()

    assert parser.feed(b"data: a\n") == []
    assert brief(parser.feed(b"\ndata: b\n\n")) == [("message", "a", ""), ("message", "b", "")]


@pytest.mark.parametrize("size", [1_000, 16_384, MAX_EVENT_BYTES])
def test_a_large_event_is_copied_twice(size: int) -> None:
    """An event of megabytes takes its own memory once for its line and once for its text, however it is cut."""
    stream = b"data: " + b"x" * (MAX_EVENT_BYTES - 100) + b"\n\n"
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    parser, events = SSEParser(), []
    tracemalloc.start()
    try:
        for piece in pieces:
            events += parser.feed(piece)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(event.data) for event in events] == [MAX_EVENT_BYTES - 100]
    # Small pieces are kept in buffers of the parser until the line ends.
    assert peak < (3.3 if size < 4_096 else 2.2) * MAX_EVENT_BYTES


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("data: a⏎data: b⏎⏎", [("message", "a\nb", "")]),
        ("\ufeffdata: a⏎⏎", [("message", "a", "")]),
        ("data:a⏎⏎data: a⏎⏎data:  a⏎⏎", [("message", "a", ""), ("message", "a", ""), ("message", " a", "")]),
        ("data⏎⏎data:⏎⏎data⏎data⏎⏎", [("message", "", ""), ("message", "", ""), ("message", "\n", "")]),
        ("event: x⏎id: 9⏎⏎data: after⏎⏎", [("message", "after", "9")]),
        ("id: 1⏎data: a⏎⏎id: 2\x003⏎data: b⏎⏎", [("message", "a", "1"), ("message", "b", "1")]),
        ("id: 1⏎data: a⏎⏎id⏎data: b⏎⏎", [("message", "a", "1"), ("message", "b", "")]),
        (": hi⏎⏎:⏎⏎data: a⏎⏎", [("message", "a", "")]),
        ("data: a⏎⏎data: lost", [("message", "a", "")]),
        ("data: a⏎⏎data: lost⏎", [("message", "a", "")]),
        ("meta: {}⏎foo⏎data: a⏎⏎", [("message", "a", "")]),
        ("event: delta⏎data: a⏎⏎data: b⏎⏎", [("delta", "a", ""), ("message", "b", "")]),
        (" data: a⏎⏎DATA: b⏎⏎data : c⏎⏎data: ok⏎⏎", [("message", "ok", "")]),
        ("data: a\u2028b\u0085c\x0b\x0c⏎⏎", [("message", "a\u2028b\u0085c\x0b\x0c", "")]),
        ("data: a⏎⏎\ufeffdata: b⏎⏎", [("message", "a", "")]),
    ],
)
def test_standard(source: str, expected: list[tuple[str, str, str]], end: str) -> None:
    """Each case of the standard gives its events, with each line end, whole and byte by byte."""
    data = source.replace("⏎", end).encode()

    assert brief(parse(data)) == expected
    assert brief(parse(*(bytes([byte]) for byte in data))) == expected


def test_unknown_fields_are_kept_for_their_event() -> None:
    """A field the standard does not know is found by name, with its own event only."""
    first, second = parse(b'data:\nmeta: {"a":1}\nfoo\n\ndata: b\n\n')

    assert dict(first.fields) == {"meta": '{"a":1}', "foo": ""}
    assert dict(second.fields) == {}


@pytest.mark.parametrize("value", [b"2500", b"12x", b"9" * 5000])
def test_retry_is_passed_over(value: bytes) -> None:
    """How soon to reconnect is no part of an event, because nothing reconnects here."""
    (event,) = parse(b"retry: " + value + b"\ndata: a\n\n")

    assert (event.data, dict(event.fields)) == ("a", {})


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n"])
def test_pending_terminator_is_handed_out(tail: bytes) -> None:
    """A server that leaves out the last blank line after [DONE] is understood."""
    assert brief(parse(b"data: a\n\n" + tail)) == [("message", "a", ""), ("message", "[DONE]", "")]


@pytest.mark.parametrize("tail", [b"data: x[DONE]", b"data: a\ndata: [DONE]", b"event: [DONE]"])
def test_other_pending_blocks_are_discarded(tail: bytes) -> None:
    """Only a block that is exactly [DONE] survives the end of the file."""
    assert parse(tail) == []


def test_every_split_of_a_recorded_stream() -> None:
    """Cut in two or three anywhere, within characters and line ends too, the events are the same."""
    whole = parse(RECORDED)

    assert len(whole) == 5
    for i in range(len(RECORDED) + 1):
        assert parse(RECORDED[:i], RECORDED[i:]) == whole
        assert parse(RECORDED[:i], RECORDED[i : i + 3], RECORDED[i + 3 :]) == whole


def test_invalid_utf8_is_replaced() -> None:
    """Bytes that are no UTF-8 become replacement characters, as in browsers."""
    assert brief(parse(b"data: a\xff\xe4b\n\n")) == [("message", "a\ufffd\ufffdb", "")]


@pytest.mark.parametrize("piece", [b"x" * 65536, b"x" * 16])
def test_an_endless_line_fails_at_the_bound(piece: bytes) -> None:
    """A line without end is refused at the bound, in linear time, whatever the size of its pieces."""
    started = time.thread_time()

    with pytest.raises(UpstreamFailed) as failure:
        feed_forever(SSEParser(), piece)

    assert failure.value.vendor_code == "line_too_long"
    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    "line", [b"data: " + b"x" * 1000 + b"\n", b"foo" * 100 + b": x\n", b"id: " + b"1" * 500 + b"\n"]
)
def test_an_endless_event_fails_at_the_bound(line: bytes) -> None:
    """An event of ever more lines is refused at the bound, of whatever fields it consists."""
    with pytest.raises(UpstreamFailed) as failure:
        feed_forever(SSEParser(max_event_bytes=100_000), line)

    assert failure.value.vendor_code == "event_too_large"


def test_endless_comments_cost_nothing() -> None:
    """Comments never add up to an event."""
    parser = SSEParser(max_event_bytes=1000)

    for _ in range(1000):
        assert parser.feed(b": keep-alive\n") == []
    assert brief(parser.feed(b"data: a\n\n")) == [("message", "a", "")]


# Without NUL in ids, empty ids, and data-less blocks both parsers follow the same text of the standard.
field = st.tuples(
    st.sampled_from(["data", "data", "data", "event", "retry", "foo", ""]),
    st.sampled_from([":", ": ", ":  "]),
    st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8),
)
blocks = st.lists(st.lists(field, min_size=1, max_size=4), max_size=4)
ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(blocks, ends, st.lists(st.integers(1, 9), max_size=40))
def test_agrees_with_httpx_sse(parts: list[list[tuple[str, str, str]]], end: str, sizes: list[int]) -> None:
    """Any stream, cut anywhere, gives the events that an independent parser finds in it."""
    lines = [line for block in parts for line in [("data", ": ", "x"), *block, ("", "", "")]]
    data = "".join("".join(line) + end for line in lines).encode()
    chunks, rest = [], data
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]

    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    expected = [(event.event, event.data) for event in EventSource(response).iter_sse()]

    assert [(event.type, event.data) for event in parse(*chunks, rest)] == expected


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n\n', ['{"a":1}', '{"b":2}', "[DONE]"]),
        (b'data: {"a":1}\ndata: {"b":2}\n', ['{"a":1}', '{"b":2}']),
        (b'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']),
        (b'data:\n {"a":1}\n\n', ['\n {"a":1}']),
        (b'data: {"a":1}\ndata: {"b"', []),
    ],
)
def test_events_without_blank_lines(data: bytes, found: list[str]) -> None:
    """Whole objects in neighbouring lines are events of their own; an event may have several lines."""
    parser = SSEParser()
    assert [event.data for event in [*parser.feed(data), *parser.flush()]] == found
