"""Screening a text delta by delta: possible beginnings of words are held back.

The outputs, joined, equal masking the whole text at once up to the first word that blocks, except that runs of
invisible characters are shortened. No character of a hit is ever output, however the text is split. Held back is the
longest tail that may still become a word, or an allowed phrase that covers one, and a complete word until the next
character decides whether it ends there.
"""

from chat.screening.folding import FOLDED, MARK, MOST_INVISIBLE, invisible_at_end, shortened
from chat.screening.lexicon import Lexicon, masked
from chat.screening.tracking import Tracker, uncovered, widest


class Screen:
    """Screen one text: `feed` deltas, then `flush`; `hits` are the ids of found words."""

    __slots__ = ("_held", "_invisible", "_lexicon", "_masks", "_received", "_sent", "_tracker", "blocked", "hits")

    def __init__(self, lexicon: Lexicon) -> None:
        self.blocked = False  # once true, nothing more may be shown
        self.hits: set[int] = set()
        self._lexicon = lexicon
        self._tracker = Tracker(lexicon.terms)
        self._held = ""
        # Positions count from the beginning of the whole text.
        self._sent = self._received = 0
        self._invisible = 0
        self._masks: list[tuple[int, int]] = []

    @property
    def is_holding(self) -> bool:
        return bool(self._held)

    @property
    def holding(self) -> int:
        """The number of characters that are held back."""
        return len(self._held)

    def passes(self, text: str, lexicon: Lexicon) -> bool:
        """Add a delta if it may be shown as it is; return whether it may.

        Nearly all deltas do, and `feed` costs several times as much.
        """
        if self._held or self._masks or lexicon is not self._lexicon or not self._tracker.skip(text):
            return False
        self._received += len(text)
        self._sent, self._invisible = self._received, 0
        return True

    def feed(self, text: str, lexicon: Lexicon) -> str:
        """Add a delta, return what may be shown. A new lexicon applies from here on."""
        if self.passes(text, lexicon):
            return text
        if lexicon is not self._lexicon:
            # Search the held text again with the new words; a word may begin at its start.
            self._lexicon, self._tracker = lexicon, Tracker(lexicon.terms)
            self._tracker.go(self._held, self._sent)
        if lexicon.empty and not self._held:
            return text
        if len(text) + self._invisible > MOST_INVISIBLE:
            text = shortened(text, self._invisible)
        if text:
            self._invisible = invisible_at_end(text, self._invisible) if FOLDED[text[-1]][0] <= MARK else 0
        if self._masks:
            self._mask_marks(text)
        received = self._received = self._tracker.go(text, self._received)
        until = self._tracker.undecided_from(received)
        if until == received and not (self._held or self._masks or self._tracker.found):
            self._sent = received
            return text
        self._held += text
        return self._release(until)

    def flush(self) -> str:
        """Return the rest; nothing may be fed afterwards."""
        self._tracker.end()
        return self._release(self._received)

    def _mask(self, start: int, end: int) -> None:
        """Add a mask, merged with an adjacent one, because there could be one per letter."""
        if self._masks and start <= self._masks[-1][1] + 1:
            first, last = self._masks.pop()
            start, end = min(start, first), max(end, last)
        self._masks.append((start, end))

    def _mask_marks(self, text: str) -> None:
        """Extend the last mask over combining marks at the start of a delta."""
        marks = next((count for count, character in enumerate(text) if FOLDED[character][0] != MARK), len(text))
        last = self._received - 1
        self._masks = [(start, end + marks if end == last else end) for start, end in self._masks]

    def _release(self, until: int) -> str:
        """Return the held characters before `until`, which no later character can affect."""
        if self._tracker.found:
            until = self._decide(until)
        count = until - self._sent
        text, self._held = self._held[:count], self._held[count:]
        if self._masks:
            text = masked(text, ((start - self._sent, end - self._sent) for start, end in self._masks))
            # A mask that ends with the last sent character may have to cover a combining mark that follows.
            self._masks = [mask for mask in self._masks if mask[1] >= until - 1]
        self._sent = until
        return text

    def _decide(self, until: int) -> int:
        """Decide the hits that begin before `until`; return the end of what may be shown."""
        found = self._tracker.found
        hits = uncovered(match for match in found if match.start < until)
        later = [match for match in found if match.term.id and match.start >= until]
        # A phrase also covers words that begin inside it later.
        self._tracker.found = later + widest(match for match in found if not match.term.id and match.end >= until)
        if blocking := [match.start for match in hits if match.term.blocks]:
            self.blocked = True
            until = min(blocking)
        for match in hits:
            if match.start <= until:
                self.hits.add(match.term.id)
                self._mask(match.start, match.end)
        return until
