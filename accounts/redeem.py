"""Redeeming a code, for page and API: guessing is bounded by counting failures, for a person and for an address."""

from django.http import HttpRequest

from accounts import limits
from accounts.models import User
from quotas import redeem_codes
from quotas.errors import InvalidCode
from quotas.models import RedeemCode

ACTION = "redeem_failed"


def redeem(request: HttpRequest, user: User, typed: str) -> RedeemCode:
    """Give the user what the code is worth; raise InvalidCode, or TooManyRequests after too many of those."""
    limits.check_failures(request, ACTION, user)
    try:
        return redeem_codes.redeem(user.pk, typed)
    except InvalidCode:
        limits.count_failure(request, ACTION, user)
        raise
