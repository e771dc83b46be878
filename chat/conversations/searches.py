"""Run searches within bounds of number and time.

They have threads of their own: a few at once, one for each user, two seconds for each. On SQLite all other work of the
event loop shares one database thread, which a search must not hold. With PostgreSQL an advisory lock keeps a user's
searches on several processes apart.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from django.db import OperationalError, connection, transaction
from django.utils.translation import gettext_lazy as _

from runtime.executor import DatabaseExecutor
from runtime.statement_limit import Interruptible
from web.refusals import TooManyRequests, TooSlow

R = TypeVar("R")

# Seconds that a search may take, its waiting included; then it is interrupted and refused with 503.
SEARCH_SECONDS = 2.0
# Searches of one process that run at the same time; further ones wait.
SEARCH_THREADS = 2
# Seconds that a search waits for one of the same user on another process; then it is refused with 429.
OTHER_PROCESS_SECONDS = 0.5
# PostgreSQL's SQLSTATE of a lock that was not free in time.
LOCK_NOT_AVAILABLE = "55P03"


class Replaced(TooManyRequests):
    text = _("Another search of yours has begun.")

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class Searches:
    """The searches of one process.

    A newer search of the same user replaces the older one, as when the user types on.
    """

    def __init__(self) -> None:
        self._threads = DatabaseExecutor(SEARCH_THREADS)
        self._users: WeakValueDictionary[int, _User] = WeakValueDictionary()

    async def run(self, user_id: int, read: Callable[[], R]) -> R:
        """Return what `read` reads from the database.

        Raises TooSlow, or Replaced when a newer search has begun.
        """
        user = self._users.setdefault(user_id, _User())
        if user.latest:
            user.latest.replace()
        search = user.latest = _Search()
        try:
            async with search.deadline:
                await user.lock.acquire()
                reading = asyncio.create_task(self._threads.run(search.read, user_id, read))
                reading.add_done_callback(user.free)
                try:
                    return await asyncio.shield(reading)
                finally:
                    if not reading.done():  # in another thread, because PostgreSQL must confirm it
                        asyncio.get_running_loop().run_in_executor(None, search.interrupt)
        except TimeoutError:
            raise (Replaced if search.is_replaced else TooSlow) from None
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") == LOCK_NOT_AVAILABLE:
                raise Replaced from error
            raise
        finally:
            if user.latest is search:
                user.latest = None

    def waiting(self) -> int:
        """Return how many searches wait for a thread."""
        return self._threads.waiting()

    def close(self) -> None:
        """End the threads and close their connections. Repeating is safe."""
        self._threads.close()


class _User:
    """The searches of one user; the lock is held while a thread works for one."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.latest: _Search | None = None

    def free(self, reading: "asyncio.Task[Any]") -> None:
        self.lock.release()
        _retrieved = reading.cancelled() or reading.exception()  # asyncio would log an exception that no task awaits


class _Search(Interruptible):
    """One search and its deadline, which a newer search moves to now."""

    def __init__(self) -> None:
        super().__init__()
        self.deadline = asyncio.timeout(SEARCH_SECONDS)
        self.is_replaced = False

    def replace(self) -> None:
        if not self.deadline.expired():
            self.is_replaced = True
            self.deadline.reschedule(asyncio.get_running_loop().time())

    def read(self, user_id: int, read: Callable[[], R]) -> R:
        with self.running():
            if connection.vendor == "sqlite":
                return read()
            with transaction.atomic(), connection.cursor() as cursor:
                limits = (SEARCH_SECONDS, OTHER_PROCESS_SECONDS)
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                    [str(round(seconds * 1000)) for seconds in limits],
                )
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('search', %s))", [user_id])
                return read()
