"""What quotas refuse."""

from django.utils.translation import gettext_lazy as _

from web.refusals import Refusal


class QuotaExhausted(Refusal):
    """Neither the day's allowance nor credits are left; `retry_after` is None where no day brings a new allowance."""

    code, status = "quota_exhausted", 429
    text = _("Your quota for this model is used up. Inviting people gives you credits for more answers.")


class InvalidCode(Refusal):
    """A redeem code that was redeemed, has expired or never was: which of them is not said."""

    code, status = "invalid_code", 400
    text = _("This code cannot be redeemed: it is unknown, used or expired.")
