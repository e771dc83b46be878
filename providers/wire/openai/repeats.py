"""Chunks that repeat an earlier one with another text, as most of a stream do.

Such a chunk means what the earlier one meant, so its text is all that has to be read of it.
"""

import orjson

# What stands before the text, with and without a space.
_KEYS = (b'"content":"', b'"content": "')
# Chunks to learn from. A vendor that changes more than the text is read as a whole then.
_MOST_LEARNED = 8
# Bytes of a chunk to learn from, because the stream keeps what is around the text.
_MOST_BYTES = 4 * 1024
_PROBE = b"\xe2\x82\xac"


class Repeats:
    """The bytes around the text that are the same in all chunks."""

    __slots__ = ("_after", "_before", "_joint", "_learned", "_rest", "_start", "armed")

    def __init__(self) -> None:
        # Whether the next bytes may be such a chunk.
        self.armed = False
        # With the quotes of the text, and what stands between the texts of two chunks.
        self._before = self._after = self._joint = b""
        self._start = self._rest = self._learned = 0

    def text(self, data: bytes) -> str:
        """Return the text of chunks that differ from the learned one in nothing else."""
        if not (self.armed and data.startswith(self._before) and data.endswith(self._after)):
            return ""
        quoted = data[self._start : len(data) - self._rest]
        try:
            # With its quotes it must be one JSON string, so that nothing else is taken for a text.
            if self._joint not in quoted:
                text: str = orjson.loads(quoted)
                return text
            texts = orjson.loads(b"[%b]" % quoted.replace(self._joint, b'","'))
        except orjson.JSONDecodeError:
            return ""
        whole = len(texts) == quoted.count(self._joint) + 1 and all(isinstance(text, str) for text in texts)
        return "".join(texts) if whole else ""

    def arm(self, *, plain: bool) -> None:
        """Say whether the next bytes may be a chunk with text and nothing else."""
        self.armed = plain and bool(self._before)

    def learn(self, chunk: bytes, text: str) -> None:
        """Learn from a chunk that was one event with this text alone."""
        if self._learned >= _MOST_LEARNED or len(chunk) > _MOST_BYTES:
            return
        encoded = text.encode()
        for key in _KEYS:
            before, found, rest = chunk.partition(key)
            if found and rest.startswith(encoded + b'"') and _is_text_of(before + found, rest[len(encoded) :]):
                self._learned += 1
                self._before, self._after = before + found, rest[len(encoded) :]
                self._joint = self._after + self._before
                self._start, self._rest = len(self._before) - 1, len(self._after) - 1
                return


def _is_text_of(before: bytes, after: bytes) -> bool:
    """Return whether what stands between these bytes is the text of the chunk's first choice."""
    line = before.rpartition(b"\n")[2]
    if not line.startswith(b"data:"):
        return False
    try:
        (choice,) = orjson.loads(line[5:] + _PROBE + after)["choices"]
        return bool(choice["delta"]["content"] == _PROBE.decode())
    except (ValueError, LookupError, TypeError):
        return False
