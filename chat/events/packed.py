"""The events of one log in little memory.

Most events are deltas, whose encoding is several times as long as their text. So a log keeps what differs from one
event to the next, and encodes events again for a reader who is behind.
"""

from array import array
from bisect import bisect_left

# What stands before the text of deltas, which one brace follows.
_CONTENT, _REASONING = b'message\ndata: {"role":"assistant","content":', b'reasoning\ndata: {"content":'
_CONTENT_AT, _REASONING_AT = len(_CONTENT), len(_REASONING)
# The bytes that are kept of an event begin with one of these if it is a delta: its text as JSON, or a mark and that of
# reasoning. Names of events begin with a letter.
_QUOTE, _MARK = b'"', b"~"
# Channel, number, and the rest of an event; the same of a delta, of which its text as JSON is missing too.
_EVENT = b"id: %b:%d\nevent: %b\n\n"
DELTA = _EVENT.replace(b"event: %b", b"event: " + _CONTENT + b"%b}")
# Bytes that an event counts beside those that are kept. Together that is more than it takes in memory, because readers
# get the encoding, and because a log has its text and other objects beside the events.
EVENT_BYTES = 208


def _whole(kept: bytes) -> bytes:
    """Return the event of which this is kept."""
    if kept.startswith(_QUOTE):
        return b"%b%b}" % (_CONTENT, kept)
    return b"%b%b}" % (_REASONING, kept[1:]) if kept.startswith(_MARK) else kept


class Packed:
    """A list of neighbouring events.

    Each is the bytes behind `event: ` up to the empty line that ends it.
    """

    __slots__ = ("_bytes", "_ends")

    def __init__(self) -> None:
        # What is kept of all events, and where that of each ends.
        self._bytes, self._ends = bytearray(), array("I")

    @property
    def size(self) -> int:
        """How many bytes the events count."""
        return len(self._bytes) + EVENT_BYTES * len(self._ends)

    def __getitem__(self, place: int) -> bytes:
        return _whole(bytes(self._bytes[self._ends[place - 1] if place else 0 : self._ends[place]]))

    def encoded(self, channel: str, first: int, start: int, most: int, most_bytes: int) -> list[bytes]:
        """Return events from place `start` on, as they are sent.

        They are `most` at most, and end with the first that does not fit into `most_bytes`. The event at place 0 has
        the number `first`.
        """
        events, size, name = [], 0, channel.encode()
        ends, begins = self._ends, self._ends[start - 1] if start else 0
        for place in range(start, min(start + most, len(ends))):
            kept = bytes(self._bytes[begins : ends[place]])
            if kept.startswith(_QUOTE):  # nearly always, and a call costs as much
                event = DELTA % (name, first + place, kept)
            else:
                event = _EVENT % (name, first + place, _whole(kept))
            events.append(event)
            begins, size = ends[place], size + len(event)
            if size >= most_bytes:
                break
        return events

    def append(self, event: bytes) -> int:
        """Append an event; return the size of all."""
        if event.startswith(_QUOTE, _CONTENT_AT) and event.startswith(_CONTENT):
            event = event[_CONTENT_AT:-1]
        elif event.startswith(_REASONING):
            event = _MARK + event[_REASONING_AT:-1]
        return self.append_kept(event)

    def append_kept(self, kept: bytes) -> int:
        """Append an event of which this is kept; return the size of all.

        Content as JSON is the event `message`.
        """
        ends = self._ends
        self._bytes += kept
        end = len(self._bytes)
        ends.append(end)
        return end + EVENT_BYTES * len(ends)

    def drop_oldest(self, most_bytes: int) -> int:
        """Drop the oldest events until `size` is at most this; return how many.

        The last one stays.
        """

        def fits(count: int) -> bool:
            dropped = self._ends[count - 1] if count else 0
            return self.size - dropped - EVENT_BYTES * count <= most_bytes

        if count := bisect_left(range(max(0, len(self._ends) - 1)), True, key=fits):
            dropped = self._ends[count - 1]
            self._ends = array("I", [end - dropped for end in self._ends[count:]])
            del self._bytes[:dropped]
        return count
