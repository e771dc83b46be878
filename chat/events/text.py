"""A text that grows, and readers' places in it that cost no copy."""

from bisect import bisect_right
from collections.abc import Iterator

# Characters that are joined into one block, and that a reader takes at once: at most 96 KiB as JSON.
BLOCK_CHARS = 16 * 1024


class Text:
    """Text that grows by appending.

    Appended text never changes, so readers share it.
    """

    __slots__ = ("_blocks", "_starts", "_tail", "_tail_start", "length")

    def __init__(self) -> None:
        self._blocks: list[str] = []
        # Where each block begins.
        self._starts: list[int] = []
        # The latest pieces, which are fewer characters than a block.
        self._tail: list[str] = []
        self._tail_start = 0
        self.length = 0

    def append(self, text: str) -> None:
        self._tail.append(text)
        self.length += len(text)
        if self.length - self._tail_start >= BLOCK_CHARS:
            self._blocks.append("".join(self._tail))
            self._starts.append(self._tail_start)
            self._tail, self._tail_start = [], self.length

    def read(self, start: int) -> str:
        """Return at most BLOCK_CHARS of what follows character `start`; empty at the end."""
        if start >= self._tail_start:
            self._tail = ["".join(self._tail)]
            return self._tail[0][start - self._tail_start :]
        block = bisect_right(self._starts, start) - 1
        start -= self._starts[block]
        return self._blocks[block][start : start + BLOCK_CHARS]

    def after(self, start: int) -> str:
        """Return all that follows character `start`; a short end costs no copy of the rest."""
        pieces = []
        while piece := self.read(start):
            pieces.append(piece)
            start += len(piece)
        return "".join(pieces)

    def __str__(self) -> str:
        return "".join(self._blocks) + "".join(self._tail)


class Prefix:
    """The text as it was at one moment, without a copy."""

    __slots__ = ("_text", "length")

    def __init__(self, text: Text) -> None:
        self._text, self.length = text, text.length

    def read(self, start: int) -> str:
        """Return the next piece after character `start`; empty at the end."""
        return self._text.read(start)[: self.length - start] if start < self.length else ""

    def pieces(self) -> Iterator[str]:
        start = 0
        while piece := self.read(start):
            yield piece
            start += len(piece)

    def __str__(self) -> str:
        return "".join(self.pieces())
