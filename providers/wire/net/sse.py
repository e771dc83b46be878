"""Server-sent events from an upstream: bytes in, events out, bounded memory.

Follows the WHATWG rules for `text/event-stream` with five additions for upstreams: unknown fields are kept (one vendor
puts its usage into `meta`), a field `error` without data is an event of that type (llama.cpp), a line of JSON continues
data, whole objects in neighbouring lines are events of their own, and `flush` hands out what looks whole. Reconnecting
and JSON are not done here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from providers.wire.errors import broken_stream

# An image within an event has megabytes.
MAX_EVENT_BYTES = 8 * 1024 * 1024

# Bytes of a line from which its data is not copied, and of a piece of a line below which it is.
_LARGE_BYTES, _SMALL_BYTES = 64 * 1024, 4 * 1024

_BOM = b"\xef\xbb\xbf"
_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class SSEEvent(NamedTuple):
    """One dispatched event; `fields` holds unknown fields by name, the last of each winning."""

    type: str
    data: str
    id: str
    fields: Mapping[str, str]


class SSEParser:
    """An incremental parser for one stream."""

    __slots__ = (
        *("_after_cr", "_at_start", "_block_bytes", "_data", "_fields", "_id", "_max", "_tail", "_tail_bytes"),
        *("_type",),
    )

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        # The pieces of a line without its end.
        self._tail: list[bytes | bytearray] = []
        self._tail_bytes = 0
        self._at_start = True
        self._after_cr = False
        self._type = ""
        self._id = ""
        self._data: list[bytes | memoryview] = []
        self._fields: dict[str, str] = {}
        self._block_bytes = 0

    @property
    def idle(self) -> bool:
        """Whether all bytes so far were whole events."""
        return not (self._tail or self._block_bytes or self._after_cr)

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """Return the events that the next bytes complete; raise UpstreamFailed beyond the bound."""
        if self._is_one_event(chunk):
            self._at_start = self._after_cr = False
            return [SSEEvent("message", chunk[6:-2].decode("utf-8", "replace"), self._id, _NO_FIELDS)]
        if self._after_cr and chunk:
            # A CR ended the last line at once, so an LF after it belongs to that same line end.
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        events: list[SSEEvent] = []
        for line in self._lines(chunk):
            if not line:
                if self._block_bytes:
                    self._dispatch(events)
            else:
                self._block_bytes += len(line)
                if line.startswith(b"data: "):
                    self._data.append(line[6:] if len(line) < _LARGE_BYTES else memoryview(line)[6:])
                else:
                    self._field(line)
                if self._block_bytes > self._max:
                    raise broken_stream("event_too_large")
        return events

    def flush(self) -> list[SSEEvent]:
        """Return what the end of the file completes: a pending `[DONE]`, or several whole events.

        Some servers leave out the last blank line, or all of them. Any other unfinished block is discarded, as the
        standard demands.
        """
        events: list[SSEEvent] = []
        if self._tail:
            events = self.feed(b"\n")
        if self._data == [b"[DONE]"] or (len(self._data) > 1 and all(map(_is_whole, self._data))):
            self._dispatch(events)
        self._end_block()
        return events

    def _is_one_event(self, chunk: bytes) -> bool:
        # A fast path, because nearly every read of a live stream is exactly one event.
        return (
            chunk.startswith(b"data: ")
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk.endswith(b"\n\n")
            and not self._tail
            and not self._block_bytes
            and len(chunk) <= self._max
            and b"\r" not in chunk
        )

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Split off complete lines; only LF, CR and CRLF end one, unlike in `splitlines`."""
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # Looking for a byte takes a tenth of the time of splitting at it, and most pieces of a long line have none.
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        *lines, rest = chunk.split(b"\n")
        if self._tail:
            # A line of megabytes comes in hundreds of pieces, which are copied here once.
            lines[0] = b"".join((*self._tail, lines[0]))
            self._tail, self._tail_bytes = [], 0
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        if rest:
            self._keep(rest)
        return lines

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of a line without its end; small pieces share an object."""
        size = len(piece)
        if size >= _SMALL_BYTES:
            self._tail.append(piece)
        elif self._tail and isinstance(last := self._tail[-1], bytearray) and len(last) < _LARGE_BYTES:
            last += piece
        elif size:
            self._tail.append(bytearray(piece))
        self._tail_bytes += size
        if self._tail_bytes > self._max:
            raise broken_stream("line_too_long")

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"":
                self._block_bytes -= len(line)
            case b"retry":
                pass  # how soon to reconnect, which is not done here
            case b"data":
                self._data.append(value)
            case b"event":
                self._type = value.decode("utf-8", "replace")
            case b"id":
                if b"\0" not in value:
                    self._id = value.decode("utf-8", "replace")
            case _ if self._data and line.lstrip()[:1] in (b"{", b"["):
                self._data.append(line)  # a relay breaks the line between "data:" and JSON
            case _:
                self._fields[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")

    def _dispatch(self, events: list[SSEEvent]) -> None:
        if self._data:
            lines = self._data
            for data in lines if len(lines) == 1 or all(map(_is_whole, lines)) else [b"\n".join(lines)]:
                text = str(data, "utf-8", "replace")
                events.append(SSEEvent(self._type or "message", text, self._id, self._fields or _NO_FIELDS))
        elif error := self._fields.get("error"):
            events.append(SSEEvent("error", error, self._id, self._fields))
        self._end_block()

    def _end_block(self) -> None:
        self._data = []
        self._type = ""
        self._block_bytes = 0
        if self._fields:
            self._fields = {}


def _is_whole(line: bytes | memoryview) -> bool:
    """Return whether data looks whole: a JSON object, or the terminator."""
    return (line[:1] == b"{" and line[-1:] == b"}") or line == b"[DONE]"
