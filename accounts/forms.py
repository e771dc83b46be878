"""What our sign-up forms, local and social, ask beyond allauth's fields (ACCOUNT_SIGNUP_FORM_CLASS)."""

from typing import Any

from allauth.core import context
from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import invites
from accounts.models import User


class InvitedForm(forms.Form):
    """Base of allauth's sign-up forms: the invite code, taken from `?invite=` when the page was opened by a link."""

    invite_code = forms.CharField(label=_("Invite code"), required=False, max_length=16)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        invites.remember(context.request)
        field = self.fields["invite_code"]
        field.required = invites.required()
        field.initial = invites.remembered(context.request)
        self.brings_credits = invites.brings_credits(field.initial)

    def clean_invite_code(self) -> str:
        code: str = self.cleaned_data["invite_code"]
        if code and invites.inviter(code) is None:
            raise forms.ValidationError(_("This invite code is unknown."))
        return code

    def signup(self, request: HttpRequest, user: User) -> None:
        """Allauth asks for this hook; the inviter is noted where the account is saved (adapters)."""
        request.session.pop(invites.SESSION_KEY, None)
