"""Faults of upstreams for each protocol: the scenario, the text before the fault, and the error code."""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.scenarios import PLAIN

THREE = "one two three "
HTTP, WEBSOCKET = ("openai", "spark_http", "zhipu", "zhipu_v3"), ("spark",)


@dataclass(frozen=True)
class Fault:
    """One fault; `does` is the scenario, or empty for an address that accepts no connections."""

    does: str
    vendor_code: str
    shown: str = ""

    @property
    def code(self) -> str:
        """The error code that the reader gets."""
        return "upstream_timeout" if self.vendor_code.endswith("_timeout") else "upstream_error"


# The fault over HTTP, and over WebSocket.
_FAULTS: Mapping[str, tuple[Fault, Fault]] = {
    "full address": (Fault("", "connect_timeout"), Fault("", "connect_timeout")),
    "no head": (Fault("hang", "first_timeout"), Fault("hang", "connect_timeout")),
    "silence": (Fault("hang_after_headers", "first_timeout"), Fault("hang_after_connect", "first_timeout")),
    "silence after text": (
        Fault("hang_mid_stream", "idle_timeout", THREE),
        Fault("hang_mid", "idle_timeout", THREE),
    ),
    "half a goodbye": (
        Fault("half_close_mid", "connection_lost", THREE),
        Fault("half_close_mid", "connection_lost", THREE),
    ),
    "early goodbye": (Fault("eof_mid_stream", "truncated", THREE), Fault("close_1000_mid", "truncated", THREE)),
    "cut": (Fault("cut_mid_stream", "connection_lost", THREE), Fault("close_mid:1011", "closed_1011", THREE)),
    "reset": (Fault("reset_mid_stream", "connection_lost", THREE), Fault("reset_mid", "connection_lost", THREE)),
    "garbage": (Fault("garbage", "bad_http"), Fault("garbage_http", "bad_http")),
    "garbage after text": (Fault("garbage_mid", "connection_lost", THREE), Fault("garbage", "bad_frame", THREE)),
    "a page": (Fault("html_200", "not_a_stream"), Fault("html_200", "not_a_websocket")),
    "signs of life": (Fault("comments_forever", "total_timeout"), Fault("pings", "first_timeout")),
    "signs of life after text": (
        Fault("comments_mid", "idle_timeout", THREE),
        Fault("pings_mid", "idle_timeout", THREE),
    ),
    "a line without end": (Fault("huge_line", "line_too_long"), Fault("huge_frame", "frame_too_large")),
    "a message without end": (Fault("huge_event", "event_too_large"), Fault("huge_fragments", "frame_too_large")),
}
HUGE = ("a line without end", "a message without end")

FAULTS: dict[tuple[str, str], Fault] = {
    (protocol, name): fault
    for name, (over_http, over_websocket) in _FAULTS.items()
    for fault, protocols in ((over_http, HTTP), (over_websocket, WEBSOCKET))
    for protocol in protocols
}
FAULTS |= {
    ("spark", "no answer to our goodbye"): Fault("no_close_reply", "first_timeout"),
    ("spark", "no last frame"): Fault("no_status_2", "idle_timeout", PLAIN),
    ("spark", "no frame"): Fault("no_header", "bad_frame", THREE),
    ("spark", "no JSON"): Fault("not_json", "bad_json", THREE),
    ("spark", "no text"): Fault("binary", "binary_frame", THREE),
    **{(protocol, "no JSON"): Fault("bad_json", "bad_json", "Hel") for protocol in ("openai", "spark_http", "zhipu")},
}


@contextlib.contextmanager
def full_address() -> Iterator[str]:
    """Yield an address (`127.0.0.1:port`) whose queue is full: a connection to it is neither made nor refused."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        yield f"127.0.0.1:{full.getsockname()[1]}"
