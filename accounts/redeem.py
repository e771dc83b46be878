"""Redeem a code, for page and API.

Failures are limited per user and per IP address, against guessing.
"""

from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import limits, permissions
from accounts.models import BatchGroup, User
from quotas import redeem_codes
from quotas.errors import InvalidCode
from quotas.models import RedeemCode
from web.refusals import Forbidden

ACTION = "redeem_failed"


def redeem(request: HttpRequest, user: User, typed: str) -> RedeemCode:
    """Give the user the code's credits and group.

    Raises InvalidCode, Forbidden, or TooManyRequests after many failures.
    """
    if not permissions.may_redeem(user):
        raise Forbidden(_("Staff who can see redeem codes cannot redeem them."))
    limits.check_failures(request, ACTION, user)
    try:
        with transaction.atomic():
            code = redeem_codes.redeem(user.pk, typed)
            for given in BatchGroup.objects.filter(batch=code.batch_id).select_related("group"):
                user.groups.add(given.group)
        return code
    except InvalidCode:
        limits.count_failure(request, ACTION, user)
        raise
