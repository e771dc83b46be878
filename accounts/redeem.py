"""Redeem a code, for page and API.

Failures are limited per user and per IP address, against guessing.
"""

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import limits, permissions
from accounts.models import User
from quotas import redeem_codes
from quotas.errors import InvalidCode
from quotas.models import RedeemCode
from web.refusals import Forbidden

ACTION = "redeem_failed"


def redeem(request: HttpRequest, user: User, typed: str) -> RedeemCode:
    """Credit the code to the user; raise InvalidCode, Forbidden, or TooManyRequests after many failures."""
    if not permissions.may_redeem(user):
        raise Forbidden(_("Staff who can see redeem codes cannot redeem them."))
    limits.check_failures(request, ACTION, user)
    try:
        return redeem_codes.redeem(user.pk, typed)
    except InvalidCode:
        limits.count_failure(request, ACTION, user)
        raise
