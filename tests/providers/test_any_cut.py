"""Any cut of a stream of the wire cases gives the same completion, with noise between its events too."""

import json
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.wire.base import Delta, Endpoint, Event, Finished, Reasoning, ToolCallDelta, Usage, Withdrawn
from providers.wire.errors import ProviderError
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.decoder import Decoder
from tests.wire_cases import calls, denials, endings, odd, streams
from tests.wire_cases.shapes import Case

NOISE = (b": keep-alive\n\n", b"\n\n\n", b"event: ping\ndata: {}\n\n", b'data: {"id": "x", "unknown": [1, null]}\n\n')
MAX_BYTES = 10_000
CASES: Sequence[Case] = [
    case
    for module in (streams, endings, odd, denials, calls)
    for case in module.CASES
    if case.kind == "openai" and not case.accuses_key
    if case.sends[0].content_type == "text/event-stream" and not case.sends[0].headers
    if sum(len(piece) for _pause, piece in case.sends[0].pieces) < MAX_BYTES
]


def outcome(pieces: Sequence[bytes]) -> list[Any]:
    """Return what comes of a stream, its texts joined."""
    decoder, found = Decoder(OpenAICompatible(Endpoint("http://upstream.invalid/v1")), with_tools=True), []
    try:
        for piece in pieces:
            found += [] if decoder.ended else decoder.feed(piece)
        found += decoder.flush()
        failure = ""
    except ProviderError as error:
        failure = error.vendor_code
    return [*(joined(found, kind) for kind in (Delta, Reasoning)), *rest(found), failure]


def joined(events: Sequence[Event], kind: type[Delta] | type[Reasoning]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def rest(events: Sequence[Event]) -> list[Any]:
    """Return calls without ids that were made up, the last usage, and the end."""
    pieces = [piece for event in events if isinstance(event, ToolCallDelta) for piece in json.loads(event.json)]
    made = [{**piece, "id": "" if str(piece.get("id")).startswith("call_") else piece.get("id")} for piece in pieces]
    usages = [event for event in events if isinstance(event, Usage)]
    return [made, usages[-1:], [event for event in events if isinstance(event, Finished | Withdrawn)]]


def turned(block: bytes) -> bytes:
    """Return an event with its keys in another order and an unknown field, if it is a chunk."""
    try:
        chunk = json.loads(block.removeprefix(b"data: "))
    except ValueError:
        return block
    if not isinstance(chunk, dict):
        return block
    return b"data: %b\n\n" % json.dumps({"extra": {"odd": 1}, **dict(reversed(chunk.items()))}).encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.soak
@settings(max_examples=100 if os.environ.get("SOAK") == "1" else 15)
@given(st.data())
def test_any_cut_gives_the_same_completion(case: Case, data: st.DataObject) -> None:
    """Cuts, comments, blank lines, unknown fields and the order of keys change nothing."""
    whole = b"".join(piece for _pause, piece in case.sends[0].pieces)
    *blocks, last = whole.split(b"\n\n")
    stream = b""
    for block in blocks:
        if data.draw(st.booleans(), label="turned") and block.startswith(b"data: {") and b"\n" not in block:
            stream += turned(block + b"\n\n")
        else:
            stream += block + b"\n\n"
        stream += data.draw(st.sampled_from((b"", *NOISE)), label="noise")
    stream += last
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12), label="cuts"))

    assert outcome([stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]) == outcome(
        [whole]
    )
