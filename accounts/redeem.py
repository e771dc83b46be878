"""Redeem a code, for page and API.

Failures are limited per user and per IP address, against guessing.
"""

from django.http import HttpRequest

from accounts import limits
from accounts.models import User
from quotas import redeem_codes
from quotas.errors import InvalidCode
from quotas.models import RedeemCode

ACTION = "redeem_failed"


def redeem(request: HttpRequest, user: User, typed: str) -> RedeemCode:
    """Credit the code to the user; raise InvalidCode, or TooManyRequests after many failures."""
    limits.check_failures(request, ACTION, user)
    try:
        return redeem_codes.redeem(user.pk, typed)
    except InvalidCode:
        limits.count_failure(request, ACTION, user)
        raise
