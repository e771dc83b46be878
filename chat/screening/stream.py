"""Screening a text while it comes: holds back what may yet be a part of a word, and masks or stops at what was found.

What comes out, put together, is what masking the whole text at once would give, up to the first word that blocks (but
for runs of invisible characters, which are shortened); and no character of a hit ever comes out, however the text was
cut. Held back is the longest tail that can still become a word or an allowed phrase that covers one, and a word that
has come until it is clear that it ends there.
"""

from chat.screening.folding import FOLDED, MARK, MOST_INVISIBLE, invisible_at_end, shortened
from chat.screening.lexicon import Lexicon, masked
from chat.screening.tracking import Tracker, uncovered, widest


class Screen:
    """One text. Feed it deltas, flush it at the end; `hits` are the ids of the words found.

    Once it is `blocked` what came out is all that may be shown.
    """

    __slots__ = ("_held", "_invisible", "_lexicon", "_masks", "_received", "_sent", "_tracker", "blocked", "hits")

    def __init__(self, lexicon: Lexicon) -> None:
        self.blocked = False
        self.hits: set[int] = set()
        self._lexicon = lexicon
        self._tracker = Tracker(lexicon.terms)
        self._held = ""
        # Places are counted from the beginning of the whole text.
        self._sent = self._received = 0
        self._invisible = 0
        self._masks: list[tuple[int, int]] = []

    @property
    def holding(self) -> bool:
        return bool(self._held)

    def feed(self, text: str, lexicon: Lexicon) -> str:
        """Take a delta and return what may be shown now. A lexicon that has changed counts from here on."""
        if lexicon is not self._lexicon:
            self._change(lexicon)
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
        """Return what is left; nothing may be fed after that."""
        self._tracker.end()
        return self._release(self._received)

    def _mask(self, start: int, end: int) -> None:
        """Mask these places, together with those before that they reach: there would be as many masks as letters."""
        if self._masks and start <= self._masks[-1][1] + 1:
            first, last = self._masks.pop()
            start, end = min(start, first), max(end, last)
        self._masks.append((start, end))

    def _mask_marks(self, text: str) -> None:
        """Let the marks that a delta begins with be masked like the character before them, which may be out already."""
        marks = next((count for count, character in enumerate(text) if FOLDED[character][0] != MARK), len(text))
        last = self._received - 1
        self._masks = [(start, end + marks if end == last else end) for start, end in self._masks]

    def _change(self, lexicon: Lexicon) -> None:
        """Look at what is held with other words. It begins where a word may begin, or nothing would be held."""
        self._lexicon = lexicon
        self._tracker = Tracker(lexicon.terms)
        self._tracker.go(self._held, self._sent)

    def _release(self, until: int) -> str:
        """Let go of the characters before `until`: nothing that is still to come can make them a part of a hit."""
        if self._tracker.found:
            until = self._decide(until)
        count = until - self._sent
        text, self._held = self._held[:count], self._held[count:]
        if self._masks:
            text = masked(text, ((start - self._sent, end - self._sent) for start, end in self._masks))
            # One that ends with what was just sent may be followed by a mark of its last character.
            self._masks = [place for place in self._masks if place[1] >= until - 1]
        self._sent = until
        return text

    def _decide(self, until: int) -> int:
        """Settle the hits that begin before `until`; return how far may be shown: less far where one of them blocks."""
        found = self._tracker.found
        hits = uncovered(match for match in found if match.start < until)
        later = [match for match in found if match.term.id and match.start >= until]
        # A phrase still covers what begins in it later.
        self._tracker.found = later + widest(match for match in found if not match.term.id and match.end >= until)
        if blocking := [match.start for match in hits if match.term.blocks]:
            self.blocked = True
            until = min(blocking)
        for match in hits:
            if match.start <= until:
                self.hits.add(match.term.id)
                self._mask(match.start, match.end)
        return until
