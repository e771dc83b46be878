"""Refusals of this package."""

from django.utils.translation import gettext_lazy as _

from web.refusals import Refusal


class AccountIncomplete(Refusal):
    code, status = "account_incomplete", 403
    text = _("Please complete your account: confirm an e-mail address or link a social login.")


class ReauthenticationRequired(Refusal):
    code, status = "reauthentication_required", 403
    text = _("Your login is older than ten minutes. Please log in again, then repeat this step.")
