"""The sessions of a user: list, bound and end them, and note their use.

allauth stores one row for each session at login (`allauth.usersessions`). A visitor without a login has none. Logins of
apps by JWT are no sessions; see `jwt`.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import structlog
from allauth.account.adapter import get_adapter
from allauth.account.signals import password_changed, password_reset, password_set
from allauth.core.internal.httpkit import HTTP_USER_AGENT_MAX_LENGTH
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import RefreshFamily, User

log = structlog.get_logger("accounts")

# Seconds between two writes of `last_seen_at` of one session by one process.
PRECISION_SECONDS = 60.0
# Sessions whose last write a process knows. Beyond it all are forgotten, which costs each one write.
MOST_KNOWN = 10_000
# Sessions that one user may have. A further login ends the one that was not seen for the longest time.
MOST_SESSIONS = 100


def register() -> None:
    user_logged_in.connect(_bound, dispatch_uid="sessions")
    for signal in (password_changed, password_set):
        signal.connect(_end_others, dispatch_uid="sessions")
    password_reset.connect(_end_all, dispatch_uid="sessions")


class SessionActivity:
    """Stores when sessions were last seen, each once a minute; one object per process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stored_at: dict[str, float] = {}

    def note(self, request: HttpRequest, user_id: int, *, is_known: bool = True) -> None:
        """Store that the request's session is in use. Any thread may call this.

        `is_known` is false where the login is certain: a session from before this table then gets its row.
        """
        key, now = request.session.session_key, self._clock()
        if not key or now < self._stored_at.get(key, -PRECISION_SECONDS) + PRECISION_SECONDS:
            return
        if len(self._stored_at) >= MOST_KNOWN:
            self._stored_at.clear()
        self._stored_at[key] = now
        client = _client_of(request)
        rows = UserSession.objects.filter(session_key=key, user_id=user_id)
        if not rows.update(**client, last_seen_at=timezone.now()) and not is_known:
            UserSession.objects.get_or_create(session_key=key, defaults={**client, "user_id": user_id})


def listed(user: User) -> list[UserSession]:
    """Return the user's sessions, the last seen first, without those that have ended."""
    rows = list(UserSession.objects.filter(user=user))
    store = import_module(settings.SESSION_ENGINE).SessionStore
    there = set(
        store.get_model_class()
        .objects.filter(session_key__in=[row.session_key for row in rows], expire_date__gt=timezone.now())
        .values_list("session_key", flat=True)
    )
    ended = [row.pk for row in rows if row.session_key not in there]
    UserSession.objects.filter(pk__in=ended).delete()
    return sorted((row for row in rows if row.session_key in there), key=lambda row: row.last_seen_at, reverse=True)


def end(user: User, session_id: int) -> bool:
    """End one of the user's sessions; return whether there was such a one."""
    row = UserSession.objects.filter(user=user, pk=session_id).first()
    if row is None:
        return False
    row.end()
    log.info("session ended", user=user.pk)
    return True


def end_all(user: User, but: str | None = None) -> None:
    """End all sessions of a user but for the one with this key."""
    for row in UserSession.objects.filter(user=user).exclude(session_key=but or ""):
        row.end()


def _client_of(request: HttpRequest) -> dict[str, Any]:
    return {
        "ip": get_adapter(request).get_client_ip(request),
        "user_agent": request.META.get("HTTP_USER_AGENT", "")[:HTTP_USER_AGENT_MAX_LENGTH],
    }


def _bound(request: HttpRequest | None, user: User, **_signal: Any) -> None:
    for row in UserSession.objects.filter(user=user).order_by("-last_seen_at", "-pk")[MOST_SESSIONS - 1 :]:
        row.end()


def _end_others(request: HttpRequest, user: User, **_signal: Any) -> None:
    """After a change of the password only this session goes on; JWTs end by themselves."""
    end_all(user, request.session.session_key)
    RefreshFamily.objects.filter(user=user).delete()


def _end_all(request: HttpRequest, user: User, **_signal: Any) -> None:
    """After a reset, nothing goes on that an intruder may have begun, API tokens included."""
    end_all(user)
    RefreshFamily.objects.filter(user=user).delete()
    user.api_tokens.all().delete()
    log.info("all logins and API tokens ended", user=user.pk)
