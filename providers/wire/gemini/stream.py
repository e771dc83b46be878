"""The objects of a response: events, a JSON array, or one object.

With `alt=sse` the vendor sends events. Relays that leave it out pass on an array that grows. Sans-I/O.
"""

import re

from providers.wire.errors import broken_stream
from providers.wire.net.sse import MAX_EVENT_BYTES, SSEEvent, SSEParser

_BOM = b"\xef\xbb\xbf"
_OUTSIDE, _INSIDE = re.compile(rb'["{}\]]'), re.compile(rb'["\\]')


class ResponseParser(SSEParser):
    """Parses one response; `closed` is set when its JSON has ended, which events never do."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self._held = b""
        self._decided = False
        self._objects: Objects | None = None

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        if not self._decided:
            chunk, self._held = self._held + chunk, b""
            start = chunk.removeprefix(_BOM).lstrip()[:1]
            if not start or _BOM.startswith(chunk):
                self._held = chunk[-len(_BOM) :]
                return []
            self._decided = True
            self._objects = Objects() if start in (b"{", b"[") else None
        if self._objects is None:
            return super().feed(chunk)
        texts = self._objects.feed(chunk)
        self.closed = self._objects.closed
        return [SSEEvent("message", text, "", {}) for text in texts]

    def flush(self) -> list[SSEEvent]:
        return super().flush() if self._objects is None else []


class Objects:
    """Cuts the objects out of a JSON array that arrives in pieces, in linear time."""

    def __init__(self) -> None:
        self.closed = False
        self._buffer = bytearray()
        self._place = self._start = self._depth = 0
        self._in_text = False
        self._in_array: bool | None = None

    def feed(self, data: bytes) -> list[str]:
        """Return the texts of the objects that these bytes complete."""
        self._buffer += data
        if self._in_array is None:
            self._in_array = data.removeprefix(_BOM).lstrip().startswith(b"[")
        found: list[str] = []
        end = 0
        while not self.closed and (sign := self._next_sign()):
            if self._depth == 0 and sign == b"}":
                end = self._place
                found.append(self._buffer[self._start : end].decode("utf-8", "replace"))
                self.closed = not self._in_array
            elif self._depth == 0 and sign == b"]":
                self.closed = True
        self._drop(self._start if self._depth else max(end, min(self._place, len(self._buffer))))
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise broken_stream("event_too_large")
        return found

    def _next_sign(self) -> bytes:
        """Move behind the next bracket outside of a text and return it, empty without any."""
        while match := (_INSIDE if self._in_text else _OUTSIDE).search(self._buffer, self._place):
            sign, self._place = match[0], match.end()
            if sign == b"\\":
                self._place += 1
            elif sign == b'"':
                self._in_text = not self._in_text
            else:
                self._depth += (sign == b"{") - (sign == b"}")
                if sign == b"{" and self._depth == 1:
                    self._start = match.start()
                return sign
        self._place = max(self._place, len(self._buffer))
        return b""

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._place -= count
        self._start = max(self._start - count, 0)
