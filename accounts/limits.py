"""Rate limits of login, sign-up and redeem codes: allauth's limits, shared by pages and API."""

import time

from allauth.core.internal.ratelimit import consume, get_cache_key, get_rates
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from web.refusals import TooManyRequests

APP = "allauth.account"


def check(request: HttpRequest, action: str) -> None:
    """Count one attempt; raise TooManyRequests when there were too many."""
    if not consume(request, app=APP, action=action):
        raise TooManyRequests(retry_after=seconds_left(request, action))


def seconds_left(request: HttpRequest, action: str, key: str | None = None) -> float:
    """Return the seconds until another attempt is allowed; at least one."""
    return max(1.0, _longest_wait(request, action, key=key))


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
