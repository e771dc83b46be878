"""The statement at sign-up that a user is old enough (SIGNUP_MIN_AGE)."""

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts.models import User


def statement() -> StrOrPromise:
    return _("I am at least %(age)d years old.") % {"age": settings.SIGNUP_MIN_AGE}


def add_field(form: forms.Form) -> None:
    """Add the checkbox to a sign-up form, where an age is set."""
    if settings.SIGNUP_MIN_AGE:
        form.fields["old_enough"] = forms.BooleanField(label=statement())


def note(user: User) -> None:
    """Note the statement on a user who is saved afterwards."""
    user.stated_age = settings.SIGNUP_MIN_AGE
