"""Invite codes at the door: whose code it is, how the page keeps it, what the invited get at once."""

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts import addresses
from accounts.models import UsedAddress, User
from quotas import invitations

SESSION_KEY = "invite_code"


def inviter(code: str | None) -> User | None:
    """Return the active user whose invite code this is; case and spaces around it do not matter."""
    return User.objects.filter(invite_code=code.strip().upper(), is_active=True).first() if code else None


def brings_credits(code: str) -> bool:
    """Whether an account made with this code has credits at once."""
    return inviter(code) is not None and any(promise["invited"] for promise in invitations.promises())


def required() -> bool:
    return bool(settings.SIGNUP_MODE == "invite")


def link(request: HttpRequest, user: User) -> str:
    """Return the address by which a user invites others."""
    return request.build_absolute_uri(f"{reverse('account_signup')}?invite={user.invite_code}")


def remember(request: HttpRequest) -> None:
    """Keep the code of `?invite=` for this visit: the page may be left for a social login in between."""
    code = request.GET.get("invite", "").strip()[:16]
    if code.isalnum():
        request.session[SESSION_KEY] = code


def remembered(request: HttpRequest) -> str:
    return str(request.session.get(SESSION_KEY, ""))


def welcome(user: User, login: SocialAccount | None = None) -> None:
    """Note who invited the new user, and give them their credits; part of the transaction that creates the account.

    Neither side gets anything when the address, or the account at another service, was that of an account before.
    """
    digests = [addresses.of_mailbox(user.email)] if user.email else []
    if login:
        digests.append(addresses.of_login(login.provider, login.uid))
        UsedAddress.objects.note(user.pk, digests[-1])
    if user.invited_by_id:
        invitations.join(user.invited_by_id, user.pk, earns=not UsedAddress.objects.others_had(user.pk, digests))
