"""The base of allauth's sign-up forms (ACCOUNT_SIGNUP_FORM_CLASS), which adds the invite code."""

from typing import Any

from allauth.core import context
from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import age, invites, mail_domains, terms
from accounts.models import User


class InviteCodeForm(forms.Form):
    """A form with the invite code, filled in from `?invite=` of an invitation link."""

    invite_code = forms.CharField(label=_("Invite code"), required=False, max_length=16)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["invite_code"]
        field.required = invites.required()
        field.initial = invites.stored_code(context.request)
        self.brings_credits = invites.brings_credits(field.initial)
        age.add_field(self)
        terms.add_field(self)

    def clean_invite_code(self) -> str:
        code: str = self.cleaned_data["invite_code"]
        if code and not invites.is_known(code):
            raise forms.ValidationError(_("This invite code is unknown."))
        return code

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        email = self.cleaned_data.get("email")
        if email and (text := mail_domains.problem(email)):
            self.add_error("email", str(text))
        return cleaned

    def signup(self, request: HttpRequest, user: User) -> None:
        """Do nothing more; allauth calls this after saving the account."""
