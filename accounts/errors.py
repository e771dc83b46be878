"""Refusals of this package."""

from django.utils.translation import gettext_lazy as _

from web.refusals import Refusal


class AccountIncomplete(Refusal):
    code, status = "account_incomplete", 403
    text = _("Please log in with an account that can be reached: confirm an e-mail address or link a social login.")
