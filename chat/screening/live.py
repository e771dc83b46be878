"""The words that count now in this process: read from the database, compiled in a thread, swapped as a whole.

A change made in this process counts as soon as it is stored: whoever makes it waits for the compiling. Other processes
see the version rise within FOLLOW_SECONDS. A process that could not read the words yet refuses all questions, as it
does while the database is away; one that has read them goes on with them.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from django.db import connection

from chat.screening import folding, models
from chat.screening.lexicon import Lexicon, automata, in_turns
from chat.screening.models import AllowedPhrase, ListVersion, SensitiveWord
from chat.screening.tracking import Term, term
from runtime import database

log = structlog.get_logger("screening")

# With the time that compiling takes this is well below the five seconds that a change may take.
FOLLOW_SECONDS = 1.0
# Other threads get their turn between so many rows.
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Words:
    """One version of the list, compiled."""

    version: int
    incoming: Lexicon
    outgoing: Lexicon


@dataclass(frozen=True, slots=True)
class Rows:
    """One version of the list as it stands in the database."""

    version: int
    words: list[tuple[int, str, str, str]]
    phrases: list[str]


_words: Words | None = None
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
    global _words
    with _refreshing:
        if _words is not None and _words.version == ListVersion.now():
            return
        rows = _read()
        _words = compiled(rows)
        log.info("words loaded", version=rows.version, words=len(rows.words), phrases=len(rows.phrases))


def forget() -> None:
    """Read the words anew before they are next asked for."""
    global _words
    _words = None


def pause() -> float:
    """Return the seconds until the next look: the first one comes at once, before somebody has to wait for it."""
    return FOLLOW_SECONDS if _following else 0.0


async def follow() -> None:
    """See whether the words have changed, and take them over if so. A timer."""
    global _following, _thread
    _following = True
    version = await database.run(ListVersion.now)
    if _words is None or _words.version != version:
        # Not through the database's door: on SQLite it is a single thread, and compiling would keep all others waiting.
        if _thread is None:
            _thread = ThreadPoolExecutor(1, thread_name_prefix="screening")
        await asyncio.get_running_loop().run_in_executor(_thread, _refresh_and_hang_up)


def _refresh_and_hang_up() -> None:
    try:
        refresh()
    finally:
        connection.close()


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
