"""Sign-up with an e-mail address that another account has: only the mailbox learns of it.

Where mail can be sent, the sign-up looks the same as any other. The new account claims the address: it has an
unverified `EmailAddress`, and an empty `User.email`, which is unique. The mailbox gets a mail that says so. If the
address was not confirmed so far, the account that confirms it first gets it.
"""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.signals import email_confirmed
from django.conf import settings

from accounts.models import User


def register() -> None:
    email_confirmed.connect(_take_over, dispatch_uid="claims")


def hidden() -> bool:
    """Return whether sign-up must not reveal that an address is taken."""
    return bool(settings.ACCOUNT_PREVENT_ENUMERATION == "strict")


def with_password(login_name: str, password: str) -> User | None:
    """Return the user of an e-mail address, if the password is right.

    An old name may have an @ too. There can be two users: the one that has the address, and the last one that claims
    it. Two passwords are hashed in any case, because the time would reveal whether the address is taken.
    """
    candidates = (_owner(login_name), _claimant(login_name))
    checked = [user for user in candidates if (user or User()).check_password(password)]
    return next(filter(None, checked), None)


def _owner(login_name: str) -> User | None:
    if user := User.objects.filter(username__iexact=login_name).first():
        return user
    address = EmailAddress.objects.filter(email=login_name.lower(), verified=True).select_related("user").first()
    return address.user if address else User.objects.filter(email=login_name).first()


def _claimant(login_name: str) -> User | None:
    claims = EmailAddress.objects.filter(email=login_name.lower(), verified=False, user__email="")
    claim = claims.select_related("user").order_by("-pk").first()
    return claim.user if claim else None


def _take_over(email_address: EmailAddress, **_signal: Any) -> None:
    """Make a confirmed address the account's own; accounts that never confirmed it lose it."""
    user: User = email_address.user
    if email_address.primary and user.email != email_address.email:
        user.email = email_address.email
        user.save(update_fields=["email"])
