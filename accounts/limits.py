"""Rate limits of login, sign-up and redeem codes: allauth's limits, shared by pages and API.

IPv6 addresses count by their /64 network, because one client can use all addresses of it.
"""

import time
from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.signals import password_reset
from allauth.core.internal.ratelimit import consume, get_cache_key, get_ip, get_rates
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from web.refusals import TooManyRequests

APP = "allauth.account"
_LOGIN = "login_failed"


def register() -> None:
    password_reset.connect(_forgive, dispatch_uid="limits")


def allows(request: HttpRequest, action: str, key: str) -> bool:
    """Count one use of a key, such as an address; return whether it is allowed."""
    return consume(request, app=APP, action=action, key=key) is not None


def login_key(request: HttpRequest, name: str) -> str:
    """Return what failed logins are counted for: the client's address and the name, as one."""
    return f"{get_ip(request)} {name.strip().lower()}"


def wait_for_login(request: HttpRequest, key: str) -> float:
    """Return the seconds until the next login attempt is allowed; 0 when it is now."""
    return _longest_wait(request, _LOGIN, key=key)


def _forgive(request: HttpRequest, user: User, **_signal: Any) -> None:
    """Delete the counts of a user who has just set a new password by mail.

    Only those at the client's address are deleted. The count of the address itself stays; with it an attacker could
    begin anew by resetting an own password.
    """
    emails = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    for name in {user.get_username(), user.email, *emails}:
        for rate in get_rates(app=APP, action=_LOGIN):
            if rate.per == "key":
                key = login_key(request, name)
                cache.delete(get_cache_key(request, app=APP, action=_LOGIN, rate=rate, key=key))


def check(request: HttpRequest, action: str) -> None:
    """Count one attempt; raise TooManyRequests when there were too many."""
    if not consume(request, app=APP, action=action):
        raise TooManyRequests(retry_after=max(1.0, _longest_wait(request, action)))


def check_failures(request: HttpRequest, action: str, user: User) -> None:
    """Raise TooManyRequests after too many failures, without counting one; see `count_failure`."""
    if wait := _longest_wait(request, action, user=user):
        raise TooManyRequests(_("Too many failed attempts. Try again later."), retry_after=wait)


def count_failure(request: HttpRequest, action: str, user: User) -> None:
    consume(request, app=APP, action=action, user=user)


def _longest_wait(request: HttpRequest, action: str, *, key: str | None = None, user: User | None = None) -> float:
    wait = 0.0
    for rate in get_rates(app=APP, action=action):
        cache_key = get_cache_key(request, app=APP, action=action, rate=rate, key=key, user=user)
        attempts: list[float] = cache.get(cache_key) or []  # newest first
        if len(attempts) >= rate.amount:
            wait = max(wait, attempts[rate.amount - 1] + rate.duration - time.time())
    return wait
