"""The words that count now in this process: read from the database, compiled in a thread, swapped as a whole.

A change made in this process counts as soon as it is stored: whoever makes it waits for the compiling. Other processes
see the version rise within FOLLOW_SECONDS. A process that could not read the words yet refuses all questions, as it
does while the database is away; one that has read them goes on with them.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from django.db import connection

from chat.screening import folding, models
from chat.screening.lexicon import Lexicon, automata, in_turns, let_go
from chat.screening.models import AllowedPhrase, ListVersion, SensitiveWord
from chat.screening.tracking import Term, term
from runtime import database

log = structlog.get_logger("screening")

# With the time that compiling takes this is well below the five seconds that a change may take.
FOLLOW_SECONDS = 1.0
# Other threads get their turn between so many rows.
ROWS_AT_ONCE = 500
# Streams change to new words with their next delta. Only then are the former ones taken apart: the last stream that has
# them would otherwise do it all at once, and all others would wait.
FORMER_SECONDS = 10.0


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
    """One version of the list as it stands in the database."""

    version: int
    words: list[tuple[int, str, str, str]]
    phrases: list[str]


_words: Words | None = None
# Those that counted before, and since when they do not.
_former: Words | None = None
_former_since = 0.0
# Held while words are read and compiled, so that an older version never takes the place of a newer one.
_refreshing = threading.Lock()
_thread: ThreadPoolExecutor | None = None
_following = False


def now() -> Words:
    """Return the words that count; to be called where a generation has begun, so that they have been loaded."""
    if _words is None:
        raise RuntimeError("nothing may be said before the sensitive words are loaded")
    return _words


def loaded() -> Words:
    """Return the words that count, and read them first where that has not happened yet: needs the database."""
    if _words is None:
        refresh()
    return now()


def refresh() -> None:
    """Read and compile the words unless that has been done with this version; synchronous. Repeating is safe."""
    global _words, _former, _former_since
    with _refreshing:
        if _words is not None and _words.version == ListVersion.now():
            return
        _drop_former()
        rows = _read()
        words = compiled(rows)
        _former, _former_since = _words, time.monotonic()
        _words = words
        log.info("words loaded", version=rows.version, words=len(rows.words), phrases=len(rows.phrases))


def _drop_former() -> None:
    """Take the former words apart; whoever calls this is refreshing."""
    global _former
    pieces = _former.pieces() if _former else []
    _former = None
    let_go(pieces)


def forget() -> None:
    """Read the words anew before they are next asked for."""
    global _words
    _words = None


def pause() -> float:
    """Return the seconds until the next look: the first one comes at once, before somebody has to wait for it."""
    return FOLLOW_SECONDS if _following else 0.0


async def follow() -> None:
    """See whether the words have changed, and take them over if so. A timer."""
    global _following
    _following = True
    version = await database.run(ListVersion.now)
    if _words is None or _words.version != version:
        await _in_thread(_refresh_and_hang_up)
    elif _former is not None and time.monotonic() - _former_since > FORMER_SECONDS:
        await _in_thread(_forget_former)


async def _in_thread(work: Callable[[], None]) -> None:
    """Not through the database's door: on SQLite it is a single thread, and compiling would keep all others waiting."""
    global _thread
    if _thread is None:
        _thread = ThreadPoolExecutor(1, thread_name_prefix="screening")
    await asyncio.get_running_loop().run_in_executor(_thread, work)


def _refresh_and_hang_up() -> None:
    try:
        refresh()
    finally:
        connection.close()


def _forget_former() -> None:
    with _refreshing:
        _drop_former()


def _read() -> Rows:
    # The version first: what changes meanwhile is then read twice, not missed.
    version = ListVersion.now()
    words = SensitiveWord.objects.filter(enabled=True).order_by("key").values_list("id", "word", "action", "scope")
    phrases = AllowedPhrase.objects.order_by("key").values_list("phrase", flat=True)
    return Rows(version, list(in_turns(words.iterator(ROWS_AT_ONCE))), list(phrases))


def compiled(rows: Rows) -> Words:
    """Compile both directions; what counts in both is compiled once."""
    of_scope: dict[str, list[Term]] = {"both": [], "input": [], "output": []}
    for row_id, word, action, scope in in_turns(rows.words):
        # Folded now rather than read from the row: Python may know more of Unicode than when it was stored.
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


def _changed_here() -> None:
    if _words is not None:  # else this process has no use for them, or will read them when it has
        refresh()


models.followers.append(_changed_here)
