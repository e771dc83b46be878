"""The form that adds an address to an account.

Apart from `forms`, because allauth's forms import that module.
"""

from typing import Any

from allauth.account.forms import AddEmailForm

from accounts import mail_domains


class AddressForm(AddEmailForm):  # type: ignore[misc]
    """Adds an address within the allowed domains."""

    def clean_email(self) -> Any:
        email = super().clean_email()
        if text := mail_domains.problem(email):
            self.add_error("email", str(text))
        return email
