"""Refusals of quotas."""

from django.utils.translation import gettext_lazy as _

from web.refusals import Refusal


class QuotaExhausted(Refusal):
    """Refuse a generation when neither allowance nor credits are left.

    `retry_after` is None for a daily limit of 0, where no day brings a new allowance.
    """

    code, status = "quota_exhausted", 429
    text = _("Your quota for this model is used up. Inviting people gives you credits for more answers.")


class InvalidCode(Refusal):
    """Refuse a redeem code that is used, expired or unknown, without saying which."""

    code, status = "invalid_code", 400
    text = _("This code cannot be redeemed: it is unknown, used or expired.")
