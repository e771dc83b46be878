"""Chunks that repeat an earlier one with another text, which most chunks of a stream do.

Such a chunk means what the earlier one meant, so its text is all that has to be read of it.
"""

import orjson

# What stands before the text, with and without a space.
_KEYS = (b'"content":"', b'"content": "')
# Chunks to learn from. A vendor that changes more than the text is read as a whole then.
_MOST_LEARNED = 8
_PROBE = b"\xe2\x82\xac"


class Repeats:
    """What is the same in the chunks of one stream: the bytes before and after the text of a single choice."""

    __slots__ = ("_after", "_before", "_learned", "_rest", "_start")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._start = self._rest = self._learned = 0

    def text(self, chunk: bytes) -> str:
        """Return the text of a chunk that differs from the one learned in its text only; else nothing."""
        if not self._before or not (chunk.startswith(self._before) and chunk.endswith(self._after)):
            return ""
        try:
            # With its quotes it must be one JSON string, so that nothing else is taken for a text.
            text: str = orjson.loads(chunk[self._start : len(chunk) - self._rest])
        except orjson.JSONDecodeError:
            return ""
        return text

    def learn(self, chunk: bytes, text: str) -> None:
        """Learn from a chunk that was one whole event with this text and nothing else that matters."""
        if self._learned >= _MOST_LEARNED:
            return
        encoded = text.encode()
        for key in _KEYS:
            before, found, rest = chunk.partition(key)
            if found and rest.startswith(encoded + b'"') and _is_text_of(before + found, rest[len(encoded) :]):
                self._learned += 1
                self._before, self._after = before + found, rest[len(encoded) :]
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
