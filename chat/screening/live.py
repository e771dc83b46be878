"""The compiled sensitive words of one process, which are always replaced as a whole.

They are read from the database and compiled in a thread. A change made in this process takes effect when its
transaction commits: the writer waits for the compilation. Other processes poll the version every CHECK_SECONDS. Until
its first successful read a process refuses all prompts, as it does while the database is away; after that a failed read
leaves the last words in use.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from django.db import connection

from chat.screening import folding
from chat.screening.lexicon import Lexicon, automata, free_with_pauses, with_pauses
from chat.screening.models import AllowedPhrase, ListVersion, SensitiveWord
from chat.screening.tracking import Term, term
from runtime import database

log = structlog.get_logger("screening")

# Seconds between two looks at the version. Together with the compilation this stays well below five seconds.
CHECK_SECONDS = 1.0
# Rows fetched at once; other threads run between two fetches.
ROWS_AT_ONCE = 500
# Seconds that replaced words stay in memory. Streams switch to the new words with their next delta; freeing the old
# ones earlier would leave it to the last such stream, at once, which would delay all other streams.
FREE_AFTER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Words:
    """One version of the list, compiled."""

    version: int
    incoming: Lexicon
    outgoing: Lexicon

    def pieces(self) -> list[object]:
        return [*self.incoming.pieces(), *self.outgoing.pieces()]


@dataclass(frozen=True, slots=True)
class Rows:
    """One version of the list, as read from the database."""

    version: int
    words: list[tuple[int, str, str, str]]
    phrases: list[str]


class LiveWords:
    """Own the compiled words of one process, for any thread."""

    def __init__(self) -> None:
        self._words: Words | None = None
        # The replaced words, and the monotonic time at which they were replaced.
        self._previous: Words | None = None
        self._replaced_at = 0.0
        # Held while words are read and compiled, so that an older version never replaces a newer one.
        self._refreshing = threading.RLock()
        # Not a database thread: on SQLite there is only one, and compiling would block all queries.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="screening")
        self._checked = False

    @property
    def current(self) -> Words:
        """The words in use; raises RuntimeError before the first `load`. Cheap enough for each delta."""
        if self._words is None:
            raise RuntimeError("sensitive words must be loaded before a generation starts")
        return self._words

    def load(self) -> Words:
        """Return the words in use; read them first if this process has not yet. Synchronous."""
        if self._words is None:
            self.refresh()
        return self.current

    def refresh(self) -> None:
        """Read and compile the words if the version has changed. Synchronous; repeating is safe."""
        with self._refreshing:
            if self._words is not None and self._words.version == ListVersion.current():
                return
            self._free_previous()
            rows = read_rows()
            words = compiled(rows)
            self._previous, self._replaced_at = self._words, time.monotonic()
            self._words = words
            log.info("sensitive words loaded", version=rows.version, words=len(rows.words), phrases=len(rows.phrases))

    def refresh_if_loaded(self) -> None:
        """Apply a change made in this process, unless it has not used the words yet."""
        if self._words is not None:
            self.refresh()

    def forget(self) -> None:
        """Read the words again at the next `load`."""
        self._words = None

    def check_seconds(self) -> float:
        """Return seconds until the next check; 0 at first, so that prompts need not wait."""
        return CHECK_SECONDS if self._checked else 0.0

    async def check(self) -> None:
        """Apply a change of another process, or free the replaced words. A timer calls this."""
        self._checked = True
        version = await database.run(ListVersion.current)
        if self._words is None or self._words.version != version:
            await self._in_thread(self.refresh)
        elif self._previous is not None and time.monotonic() - self._replaced_at > FREE_AFTER_SECONDS:
            await self._in_thread(self._free_previous)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                connection.close()

        await asyncio.get_running_loop().run_in_executor(self._executor, run)

    def _free_previous(self) -> None:
        with self._refreshing:
            pieces = self._previous.pieces() if self._previous else []
            self._previous = None
            free_with_pauses(pieces)


def read_rows() -> Rows:
    """Read the enabled words and all phrases; synchronous."""
    # The version is read first, so that a change during the read causes a second read instead of being missed.
    version = ListVersion.current()
    words = SensitiveWord.objects.filter(enabled=True).order_by("key").values_list("id", "word", "action", "scope")
    phrases = AllowedPhrase.objects.order_by("key").values_list("phrase", flat=True)
    return Rows(version, list(with_pauses(words.iterator(ROWS_AT_ONCE))), list(phrases))


def compiled(rows: Rows) -> Words:
    """Compile both directions; terms that both share are compiled once."""
    of_scope: dict[str, list[Term]] = {"both": [], "input": [], "output": []}
    for row_id, word, action, scope in with_pauses(rows.words):
        # Folded now instead of read from the row, because a newer Python may know more of Unicode.
        if key := folding.key(word):
            of_scope[scope].append(term(key, row_id, blocks=action == SensitiveWord.Action.BLOCK))
    phrases = [term(key) for phrase in rows.phrases if (key := folding.key(phrase))]
    both = [*of_scope["both"], *phrases]
    shared = automata(both)

    def lexicon(own: list[Term]) -> Lexicon:
        return Lexicon((*shared, *automata(own)), (*both, *own))

    incoming = lexicon(of_scope["input"])
    same = not of_scope["input"] and not of_scope["output"]
    return Words(rows.version, incoming, incoming if same else lexicon(of_scope["output"]))
