"""The events of one log in little memory.

Most events are deltas, whose encoding is several times as long as their text. So a log keeps what differs from one
event to the next, and encodes events again for a reader who is behind.
"""

from array import array

# What stands before the text of deltas, which one brace follows.
_CONTENT, _REASONING = b'message\ndata: {"role":"assistant","content":', b'reasoning\ndata: {"content":'
_CONTENT_AT, _REASONING_AT = len(_CONTENT), len(_REASONING)
# What is added before and after the bytes that are kept.
_PARTS = ((_CONTENT, b"}"), (_REASONING, b"}"), (b"", b""))
# Channel, number, and the three parts of an event; the same of a delta, of which its text as JSON is missing too.
_EVENT = b"id: %b:%d\nevent: %b%b%b\n\n"
DELTA = _EVENT.replace(b"%b%b%b", _CONTENT + b"%b}")


class Packed:
    """A list of neighbouring events.

    Each is the bytes behind `event: ` up to the empty line that ends it.
    """

    __slots__ = ("_bytes", "_ends", "_parts")

    def __init__(self) -> None:
        # The differing bytes of all events, where those of each end, and the place in `_PARTS` of what each lacks.
        self._bytes, self._ends, self._parts = bytearray(), array("I"), bytearray()

    def __getitem__(self, place: int) -> bytes:
        start = self._ends[place - 1] if place else 0
        before, after = _PARTS[self._parts[place]]
        return b"".join((before, self._bytes[start : self._ends[place]], after))

    def encoded(self, channel: str, first: int, start: int, most: int, most_bytes: int) -> list[bytes]:
        """Return events from place `start` on, as they are sent.

        They are `most` at most, and end with the first that does not fit into `most_bytes`. The event at place 0 has
        the number `first`.
        """
        events, size, name = [], 0, channel.encode()
        ends, begins = self._ends, self._ends[start - 1] if start else 0
        for place in range(start, min(start + most, len(ends))):
            before, after = _PARTS[self._parts[place]]
            event = _EVENT % (name, first + place, before, bytes(self._bytes[begins : ends[place]]), after)
            events.append(event)
            begins, size = ends[place], size + len(event)
            if size >= most_bytes:
                break
        return events

    def append(self, event: bytes) -> None:
        kept = self._bytes
        if event.startswith(_CONTENT):
            kept += event[_CONTENT_AT:-1]
            self._parts.append(0)
        elif event.startswith(_REASONING):
            kept += event[_REASONING_AT:-1]
            self._parts.append(1)
        else:
            kept += event
            self._parts.append(2)
        self._ends.append(len(kept))

    def append_delta(self, text: bytes) -> None:
        """Append the event `message` whose content this is, as JSON."""
        kept = self._bytes
        kept += text
        self._parts.append(0)
        self._ends.append(len(kept))

    def drop(self, count: int) -> None:
        """Drop the oldest events."""
        if count:
            dropped = self._ends[count - 1]
            self._ends = array("I", [end - dropped for end in self._ends[count:]])
            del self._bytes[:dropped], self._parts[:count]
