"""Screening a text delta by delta; the screen holds back possible beginnings of hits.

The outputs, joined, equal screening the whole text at once up to the first hit that blocks, except that runs of
invisible characters are shortened. No character of a hit that hides is ever output, however the text is split. Held
back is the longest tail that may still become a hit, or an allowed phrase that covers one, and a complete hit until the
next character decides whether it ends there.

Words and patterns do not know of each other: each hit counts as if it were alone, unless an allowed phrase covers all
of it. `edits` says which of two overlapping hits is shown.
"""

from chat.screening import edits
from chat.screening.edits import Edit
from chat.screening.folding import FOLDED, MARK, MOST_INVISIBLE, invisible_at_end, shortened
from chat.screening.found import Found
from chat.screening.lexicon import Lexicon
from chat.screening.scanning import PatternTracker
from chat.screening.tracking import Match, Tracker, uncovered, widest


class Screen:
    """Screen one text: `feed` deltas, then `flush`; `hits` are what was found."""

    __slots__ = (
        *("_edits", "_harmless", "_held", "_invisible", "_last", "_lexicon", "_quiet", "_received", "_sent"),
        *("_trackers",),
        *("blocked", "category", "hits"),
    )

    def __init__(self, lexicon: Lexicon) -> None:
        self.blocked = False  # once true, nothing more may be shown
        self.category = ""  # of what blocked
        self.hits: set[Found] = set()
        self._use(lexicon)
        self._held = ""
        # Whether nothing is held, edited or on its way to a hit.
        self._quiet = True
        # Positions count from the beginning of the whole text.
        self._sent = self._received = 0
        self._invisible = 0
        self._edits: list[Edit] = []
        # The last character that passed at once, which the trackers have not seen.
        self._last = ""

    def _use(self, lexicon: Lexicon) -> None:
        self._lexicon, self._trackers, self._harmless = lexicon, lexicon.trackers(), lexicon.harmless

    @property
    def is_holding(self) -> bool:
        return bool(self._held)

    @property
    def holding(self) -> int:
        """The number of characters that are held back."""
        return len(self._held)

    def uses(self, lexicon: Lexicon) -> bool:
        """Return whether this lexicon was the one at the last delta."""
        return lexicon is self._lexicon

    def passes(self, text: str) -> bool:
        """Add a delta if it may be shown as it is; return whether it may.

        The lexicon is that of the delta before. Nearly all deltas do, and `feed` costs several times as much.
        """
        if not self._quiet:
            return False
        for harmless in self._harmless:
            if not harmless.issuperset(text):
                return False
        self._last = text[-1:] or self._last
        self._received += len(text)
        return True

    def feed(self, text: str, lexicon: Lexicon) -> str:
        """Add a delta, return what may be shown. A new lexicon applies from here on."""
        if lexicon is self._lexicon and self.passes(text):
            return text
        if self._last:
            self._sent, self._invisible = self._received, 0
        shown = self._shown(text, lexicon)
        self._quiet = not (self._held or self._edits or any(self._is_searching(each) for each in self._trackers))
        return shown

    @staticmethod
    def _is_searching(tracker: Tracker | PatternTracker) -> bool:
        return bool(tracker.alive or tracker.waiting or tracker.found)

    def _shown(self, text: str, lexicon: Lexicon) -> str:
        if lexicon is not self._lexicon:
            # Search the held text again with the new words; a word may begin at its start.
            self._use(lexicon)
            self._last = ""
            self._go(self._held, self._sent)
        if lexicon.empty and not self._held:
            return text
        if len(text) + self._invisible > MOST_INVISIBLE:
            text = shortened(text, self._invisible)
        if text:
            self._invisible = invisible_at_end(text, self._invisible) if FOLDED[text[-1]][0] <= MARK else 0
        if self._edits:
            self._edit_marks(text)
        received = self._received
        self._go(text, received)
        received = self._received = received + len(text)
        until = self._undecided_from()
        if until == received and not (self._held or self._edits or any(each.found for each in self._trackers)):
            self._sent = received
            return text
        self._held += text
        return self._release(until)

    def flush(self) -> str:
        """Return the rest; nothing may be fed afterwards."""
        if self._last:
            self._sent = self._received
        self._quiet = False
        for tracker in self._trackers:
            tracker.end()
        return self._release(self._received)

    def _go(self, text: str, at: int) -> None:
        last, self._last = self._last, ""
        for tracker in self._trackers:
            if last:
                tracker.resume(last)
            if text and not self._is_searching(tracker) and tracker.harmless.issuperset(text):
                tracker.resume(text[-1])
            else:
                tracker.go(text, at)

    def _undecided_from(self) -> int:
        until = self._received
        for tracker in self._trackers:
            until = tracker.undecided_from(until)
        return until

    def _edit_marks(self, text: str) -> None:
        """Extend the last edit over combining marks at the start of a delta."""
        marks = next((count for count, character in enumerate(text) if FOLDED[character][0] != MARK), len(text))
        if self._edits[-1].end == self._received - 1:
            self._edits[-1] = self._edits[-1]._replace(end=self._edits[-1].end + marks)

    def _release(self, until: int) -> str:
        """Return the held characters before `until`, which no later character can affect."""
        if any(tracker.found for tracker in self._trackers):
            until = self._decide(until)
        count = until - self._sent
        text, self._held = self._held[:count], self._held[count:]
        if self._edits:
            text = edits.applied(self._edits, text, self._sent)
            # An edit that ends with the last sent character may have to cover a combining mark that follows.
            self._edits = [edit for edit in self._edits if edit.end >= until - 1]
        self._sent = until
        return text

    def _decide(self, until: int) -> int:
        """Decide the hits that begin before `until`; return the end of what may be shown."""
        found: list[Match] = []
        for tracker in self._trackers:
            if isinstance(tracker, Tracker):
                found += [match for match in tracker.found if match.start < until]
                later = [match for match in tracker.found if match.term.id and match.start >= until]
                # A phrase also covers words that begin inside it later.
                phrases = widest(match for match in tracker.found if not match.term.id and match.end >= until)
                tracker.found = later + phrases
            else:
                found += tracker.taken(until)
        hits = uncovered(found)
        if blocking := [match for match in hits if match.term.blocks]:
            self.blocked = True
            until, self.category = blocking[0].start, blocking[0].term.category
        hits = [match for match in hits if match.start <= until]
        self.hits |= {match.term.found for match in hits}
        edits.add(self._edits, hits)
        return until
