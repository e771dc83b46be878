"""Rate limits of logging in and signing up: allauth's own, so that pages and API draw on the same allowance."""

import time

from allauth.core.internal.ratelimit import Rate, consume, get_cache_key, get_rates
from django.core.cache import cache
from django.http import HttpRequest

from runtime.refusals import TooManyRequests

APP = "allauth.account"


def check(request: HttpRequest, action: str) -> None:
    """Count one attempt; raise TooManyRequests when there were too many."""
    if not consume(request, app=APP, action=action):
        raise TooManyRequests(retry_after=seconds_left(request, action))


def seconds_left(request: HttpRequest, action: str, key: str | None = None) -> float:
    """Return how long until another attempt is allowed; at least a second."""
    rates = get_rates(app=APP, action=action)
    return max(
        [1.0, *(_wait(rate, get_cache_key(request, app=APP, action=action, rate=rate, key=key)) for rate in rates)]
    )


def _wait(rate: Rate, cache_key: str) -> float:
    attempts: list[float] = cache.get(cache_key) or []  # newest first
    if len(attempts) < rate.amount:
        return 0
    return float(attempts[rate.amount - 1] + rate.duration - time.time())
