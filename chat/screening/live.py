"""The compiled words and patterns of one process, which are always replaced as a whole.

Those without groups are compiled once. Those for the same groups are compiled once too, as a small list of their own;
what applies to a user is the general list with these beside it, so that nothing is compiled or kept for each user.

They are read from the database and compiled in a thread. A change made in this process takes effect when its
transaction commits: the writer waits for the compilation. Other processes poll the version every CHECK_SECONDS. Until
its first successful read a process refuses all prompts, as it does while the database is away; after that a failed read
leaves the last words in use.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.contrib.auth.models import Group
from django.db import connection

from chat.screening import folding
from chat.screening.automaton import Automaton, Pattern
from chat.screening.expressions import NotAnExpression
from chat.screening.kinds import KINDS, expression_of
from chat.screening.lexicon import Lexicon, automata, free_with_pauses, with_pauses
from chat.screening.models import AllowedPhrase, ListVersion, RefusalText, Scope, SensitivePattern, SensitiveWord
from chat.screening.tracking import Term, term
from providers import access
from runtime import database

log = structlog.get_logger("screening")

# Seconds between two looks at the version. Together with the compilation this stays well below five seconds.
CHECK_SECONDS = 1.0
# Rows fetched at once; other threads run between two fetches.
ROWS_AT_ONCE = 500
# Seconds that replaced words stay in memory. Streams switch to the new words with their next delta; freeing the old
# ones earlier would leave it to the last such stream, at once, which would delay all other streams.
FREE_AFTER_SECONDS = 10.0
# Combinations of lists for groups that are kept; each one only refers to the lists.
MOST_COMBINATIONS = 1_000

# The id of a pattern that is only tried; 0 would be an allowed phrase.
UNSAVED = -1

Groups = frozenset[int]
NO_GROUPS: Groups = frozenset()


@dataclass(frozen=True, slots=True)
class Words:
    """One version of the list, compiled."""

    version: int
    incoming: Lexicon
    outgoing: Lexicon
    # The lists for the members of any of some groups.
    limited: "Mapping[Groups, Words]" = field(default_factory=dict)
    # The texts of refusals by category: Chinese and English.
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    _combinations: "dict[frozenset[Groups], Words]" = field(default_factory=dict)

    def pieces(self) -> list[object]:
        own = [*self.incoming.pieces(), *self.outgoing.pieces()]
        return own + [piece for words in self.limited.values() for piece in words.pieces()]

    def of(self, groups: Groups) -> "Words":
        """Return the lists for members of these groups, as one object for all."""
        lists = frozenset(listed for listed in self.limited if listed & groups)
        if not lists:
            return self
        words = self._combinations.get(lists)
        if words is None:
            parts = [self, *(self.limited[listed] for listed in sorted(lists, key=sorted))]
            incoming = Lexicon.joined(each.incoming for each in parts)
            words = Words(self.version, incoming, Lexicon.joined(each.outgoing for each in parts), texts=self.texts)
            if len(self._combinations) >= MOST_COMBINATIONS:
                self._combinations.clear()
            words = self._combinations.setdefault(lists, words)
        return words


@dataclass(frozen=True, slots=True)
class Rows:
    """One version of the list, as read from the database."""

    version: int
    # Id, text, action, scope, category and replacement.
    words: list[tuple[int, str, str, str, str, str]]
    phrases: list[str] = field(default_factory=list)
    patterns: list[SensitivePattern] = field(default_factory=list)
    # The groups of words and patterns that are limited to some.
    word_groups: Mapping[int, Groups] = field(default_factory=dict)
    pattern_groups: Mapping[int, Groups] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class LiveWords:
    """Own the compiled words of one process, for any thread."""

    def __init__(self) -> None:
        # The words in use, None before the first `load`. Who has seen these need not ask for `current` again.
        self.latest: Words | None = None
        # The replaced words, and the monotonic time at which they were replaced.
        self._previous: Words | None = None
        self._replaced_at = 0.0
        # Held while words are read and compiled, so that an older version never replaces a newer one.
        self._refreshing = threading.RLock()
        # Not a database thread: on SQLite there is only one, and compiling would block all queries.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="screening")
        self._checked = False

    @property
    def live(self) -> "LiveWords":
        """These words, as `UserWords` has them."""
        return self

    @property
    def current(self) -> Words:
        """The words in use; raises RuntimeError before the first `load`. Cheap enough for each delta."""
        if self.latest is None:
            raise RuntimeError("sensitive words must be loaded before a generation starts")
        return self.latest

    def load(self) -> Words:
        """Return the words in use; read them first if this process has not yet. Synchronous."""
        if self.latest is None:
            self.refresh()
        return self.current

    def for_user(self, user_id: int) -> "UserWords":
        """Return the lists that apply to a user. Synchronous.

        Groups are queried only while there are lists for some.
        """
        words = self.load()
        return UserWords(self, access.groups_of(user_id) if words.limited else NO_GROUPS)

    def refresh(self) -> None:
        """Read and compile the words if the version has changed. Synchronous; repeating is safe."""
        with self._refreshing:
            if self.latest is not None and self.latest.version == ListVersion.current():
                return
            self._free_previous()
            rows = read_rows()
            words = compiled(rows)
            self._previous, self._replaced_at = self.latest, time.monotonic()
            self.latest = words
            counts = {name: len(getattr(rows, name)) for name in ("words", "phrases", "patterns")}
            log.info("sensitive words loaded", version=rows.version, **counts)

    def refresh_if_loaded(self) -> None:
        """Apply a change made in this process, unless it has not used the words yet."""
        if self.latest is not None:
            self.refresh()

    def forget(self) -> None:
        """Read the words again at the next `load`."""
        self.latest = None

    def check_seconds(self) -> float:
        """Return seconds until the next check; 0 at first, so that prompts need not wait."""
        return CHECK_SECONDS if self._checked else 0.0

    async def check(self) -> None:
        """Apply a change of another process, or free the replaced words. A timer calls this."""
        self._checked = True
        version = await database.run(ListVersion.current)
        if self.latest is None or self.latest.version != version:
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


class UserWords:
    """The lists that apply to one user, with the user's groups at first.

    If no list is for groups at first, later ones apply from the user's next prompt on.
    """

    __slots__ = ("_all", "_groups", "_own", "live")

    def __init__(self, live: LiveWords, groups: Groups) -> None:
        self.live, self._groups = live, groups
        self._all = live.current
        self._own = self._all.of(groups)

    @property
    def current(self) -> Words:
        """The words in use. Cheap enough for each delta."""
        words = self.live.latest
        if words is not self._all and words is not None:
            self._all, self._own = words, words.of(self._groups)
        return self._own


def read_rows() -> Rows:
    """Read the enabled words and patterns, all phrases and texts; synchronous."""
    # The version is read first, so that a change during the read causes a second read instead of being missed.
    version = ListVersion.current()
    columns = ("id", "word", "action", "scope", "category", "replacement")
    words = SensitiveWord.objects.filter(enabled=True).order_by("key").values_list(*columns)
    return Rows(
        version,
        list(with_pauses(words.iterator(ROWS_AT_ONCE))),
        list(AllowedPhrase.objects.order_by("key").values_list("phrase", flat=True)),
        list(SensitivePattern.objects.filter(enabled=True).order_by("id")),
        _groups(SensitiveWord.groups.through, "sensitiveword_id"),
        _groups(SensitivePattern.groups.through, "sensitivepattern_id"),
        {category: (zh, en) for category, zh, en in RefusalText.objects.values_list("category", "text_zh", "text_en")},
    )


def _groups(through: Any, column: str) -> dict[int, Groups]:
    """Return the groups of the rows that have some.

    The previous release deletes groups without knowing these tables, so rows of groups that are gone are left out.
    """
    found: dict[int, set[int]] = defaultdict(set)
    rows = through.objects.filter(group__in=Group.objects.all()).values_list(column, "group_id")
    for row, group in with_pauses(rows.iterator(ROWS_AT_ONCE)):
        found[row].add(group)
    return {row: frozenset(groups) for row, groups in found.items()}


class _List:
    """The words and patterns for the same groups, by scope."""

    def __init__(self) -> None:
        self.terms: dict[str, list[Term]] = {scope: [] for scope in Scope.values}
        self.patterns: dict[str, list[Pattern]] = {scope: [] for scope in Scope.values}

    def compiled(self, version: int, phrases: Iterable[Term] = (), **texts: Any) -> Words:
        """Compile both directions; what both share is compiled once."""
        both = [*self.terms[Scope.BOTH], *phrases]
        shared = automata(both)

        def lexicon(scope: str) -> Lexicon:
            own = self.terms[scope]
            patterns = [*self.patterns[Scope.BOTH], *self.patterns[scope]]
            return Lexicon((*shared, *automata(own)), (*both, *own), Automaton(patterns) if patterns else None)

        incoming = lexicon(Scope.INPUT)
        limited = [self.terms[Scope.INPUT], self.terms[Scope.OUTPUT]]
        limited_patterns = [self.patterns[Scope.INPUT], self.patterns[Scope.OUTPUT]]
        same = not any(limited) and not any(limited_patterns)
        return Words(version, incoming, incoming if same else lexicon(Scope.OUTPUT), **texts)


def compiled(rows: Rows) -> Words:
    """Compile the general list, and one for each set of groups."""
    lists: dict[Groups, _List] = defaultdict(_List)
    for row_id, word, action, scope, category, replacement in with_pauses(rows.words):
        # Folded now instead of read from the row, because a newer Python may know more of Unicode.
        if key := folding.key(word):
            groups = rows.word_groups.get(row_id, NO_GROUPS)
            lists[groups].terms[scope].append(term(key, row_id, action, category, replacement))
    for row in rows.patterns:
        if pattern := compiled_pattern(row):
            lists[rows.pattern_groups.get(row.pk, NO_GROUPS)].patterns[row.scope].append(pattern)
    phrases = [term(key) for phrase in rows.phrases if (key := folding.key(phrase))]
    limited = {groups: lists[groups].compiled(rows.version) for groups in lists if groups}
    return lists[NO_GROUPS].compiled(rows.version, phrases, limited=limited, texts=rows.texts)


def compiled_pattern(row: SensitivePattern) -> Pattern | None:
    """Compile a pattern; None if a release that allowed more has stored it."""
    try:
        expression = expression_of(row.kind, row.expression)
    except NotAnExpression as refusal:
        log.error("pattern cannot be used", pattern=row.pk, reason=str(refusal.reason))
        return None
    found = Term("", False, row.pk or UNSAVED, row.action, row.category, row.replacement, "pattern")
    return Pattern(found, expression, KINDS[row.kind].check if row.kind in KINDS else None)
