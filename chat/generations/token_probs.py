"""Log probabilities pass only with the text that they belong to.

Each token comes a second time in them, so they could carry a sensitive word past the screening. They wait until the
screening has released their text unchanged, and are left out otherwise. So are all alternatives of a token, because one
may complete a word that begins in the text. Without words all of them pass.

A completion whose log probabilities are too long ends with `length`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import structlog

from chat.generations.late_thought import PipelineEvent, Rethought
from chat.screening.live import LiveWords, UserWords
from providers.wire.base import Delta, Finished, Withdrawn
from providers.wire.logprobs import LogProbs

# Bytes of JSON that the log probabilities of a completion may have: some 13,000 tokens with 20 alternatives each.
MOST_BYTES = 16 * 1024 * 1024

log = structlog.get_logger("generation")

Stage = Callable[[PipelineEvent], Sequence[PipelineEvent]]


class TokenProbs:
    """Holds log probabilities back until their text is released."""

    def __init__(self, words: LiveWords | UserWords) -> None:
        self._words = words
        self._omitted = False
        self._restart()

    def _restart(self) -> None:
        self._left = MOST_BYTES
        # Text that was received but not released.
        self._raw = ""
        # The text since the last log probabilities, in pieces: an upstream may send none.
        self._pieces: list[str] = []
        # Characters received and released, and the last place where the released text differs.
        self._received = self._released = 0
        self._changed_until = 0
        # Log probabilities with their text and the places where it begins and ends.
        self._waiting: deque[tuple[int, int, str, LogProbs]] = deque()

    def feed(self, event: PipelineEvent, screened: Stage) -> Sequence[PipelineEvent]:
        """Return what passes when the other stages get an event."""
        if isinstance(event, LogProbs):
            self._left -= event.size
            if self._left < 0:
                return self.feed(Finished("length"), screened)
            text = "".join(self._pieces)
            self._waiting.append((self._received - len(text), self._received, text, event))
            self._pieces.clear()
            return self._ready()
        if isinstance(event, Delta):
            self._raw += event.text
            self._pieces.append(event.text)
            self._received += len(event.text)
        elif isinstance(event, Withdrawn | Rethought):
            self._restart()
            return screened(event)
        return self.released(screened(event))

    def released(self, events: Iterable[PipelineEvent]) -> list[PipelineEvent]:
        """Return released events, and the log probabilities of their text."""
        out: list[PipelineEvent] = []
        for event in events:
            if isinstance(event, Delta):
                self._note(event.text)
            elif isinstance(event, Finished):
                out += self._ready()
            out.append(event)
            if isinstance(event, Delta):
                out += self._ready()
        return out

    def _note(self, text: str) -> None:
        piece, self._raw = self._raw[: len(text)], self._raw[len(text) :]
        self._released += len(text)
        if piece != text:
            self._changed_until = self._released

    def _ready(self) -> list[PipelineEvent]:
        ready: list[PipelineEvent] = []
        while self._waiting and self._waiting[0][1] <= self._released:
            start, _end, text, found = self._waiting.popleft()
            if self._words.current.outgoing.empty:
                ready.append(found)
            elif start >= self._changed_until and _belongs(found, text):
                ready.append(LogProbs(tuple({**item, "top_logprobs": []} for item in found.items)))
            elif not self._omitted:
                self._omitted = True
                log.info("log probabilities left out")
        return ready


def _belongs(found: LogProbs, text: str) -> bool:
    """Return whether the tokens, and their bytes, are the text and nothing else."""
    if "".join(item["token"] for item in found.items) != text:
        return False
    return all(item["bytes"] is None or bytes_of(item["token"]) == item["bytes"] for item in found.items)


def bytes_of(token: str) -> list[int]:
    return list(token.encode("utf-8", "replace"))
