"""Refusals of this package."""

from django.utils.translation import gettext_lazy as _

from quotas.errors import QuotaExhausted
from web.refusals import Refusal


class AccountIncomplete(Refusal):
    code, status = "account_incomplete", 403
    text = _("Please complete your account: confirm an e-mail address or link a social login.")


class TermsRequired(Refusal):
    """The user has not accepted the current terms of use; `details` has their version."""

    code, status = "terms_required", 403
    text = _("Please accept the terms of use first.")


class ReauthenticationRequired(Refusal):
    code, status = "reauthentication_required", 403
    text = _("Your login is older than ten minutes. Please log in again, then repeat this step.")


class GuestLimitReached(QuotaExhausted):
    """Refuse a prompt when a guest or the network address has no use left today."""

    text = _("Today's trial is used up. Sign up for more; your conversations stay.")


class TokenExhausted(QuotaExhausted):
    """Refuse a generation when the caller's API token has no use left today."""

    text = _("The daily limit of this API token is used up.")
