"""Keep callers who were identified a moment ago, so that most requests need no query.

A process forgets all of them when it changes something that identifies a user. Changes of other processes count after
`SECONDS`.
"""

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from accounts import terms
from accounts.models import ApiToken, User

if TYPE_CHECKING:
    from accounts.auth import Caller

# Seconds for which an identified caller is believed. A disabled user is refused everywhere within two.
SECONDS = 1.5
# Callers kept at once; beyond it all are forgotten, which costs each one query.
MAX_CALLERS = 10_000
# Rows whose change may change who a caller is, or whether the caller may chat.
SOURCES = (User, ApiToken, Session, EmailAddress, SocialAccount, Group)


class Identities:
    """The callers of one process, by a digest of their proof.

    A proof is a header or a session cookie. Any thread may call this.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: dict[bytes, tuple[float, object, Caller]] = {}
        # Replaced by each `forget`, so that a query which began before it stores nothing.
        self.version = object()

    def register(self) -> None:
        """Forget all callers at each change of a row in `SOURCES`. Repeating is safe."""
        for model in SOURCES:
            for signal in (post_save, post_delete):
                signal.connect(self._changed, sender=model, dispatch_uid=f"identities-{model.__name__}")
        for through in (User.groups.through, User.user_permissions.through, Group.permissions.through):
            m2m_changed.connect(self._changed, sender=through, dispatch_uid=f"identities-{through.__name__}")

    def get(self, proof: str) -> "Caller | None":
        """Return the caller who sent this header or session cookie a moment ago."""
        entry = self._callers.get(_digest(proof))
        # The version is compared here, because a change in another thread may come while an entry is stored.
        return entry[2] if entry and entry[1] is self.version and self._clock() < entry[0] else None

    def put(self, proof: str, caller: "Caller", version: object) -> None:
        """Keep a caller who was identified by a query that began at `version`.

        One who may not chat is not kept: an address that was just confirmed, or terms that were just accepted, count
        at once.
        """
        if version is self.version and caller.reachable and terms.are_accepted(caller.user):
            if len(self._callers) >= MAX_CALLERS:
                self._callers.clear()
            self._callers[_digest(proof)] = (self._clock() + SECONDS, version, caller)

    def forget(self) -> None:
        """Identify each caller anew from now on."""
        self.version = object()
        self._callers.clear()

    def _changed(self, **_signal: object) -> None:
        """Forget now and after the commit, because until then other threads read old rows."""
        self.forget()
        transaction.on_commit(self.forget)


def _digest(proof: str) -> bytes:
    return hashlib.sha256(proof.encode("utf-8", "surrogatepass")).digest()
