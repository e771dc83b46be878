"""Invite codes at sign-up: find the inviter, keep the code, credit the new user."""

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts import addresses, links
from accounts.models import UsedAddress, User
from quotas import invitations

SESSION_KEY = "invite_code"


def inviter(code: str | None) -> User | None:
    """Return the active user with this invite code; ignore case and surrounding spaces."""
    return User.objects.filter(invite_code=code.strip().upper(), is_active=True).first() if code else None


def brings_credits(code: str) -> bool:
    """Return whether an account created with this code gets credits at once."""
    return inviter(code) is not None and any(promise["invited"] for promise in invitations.promises())


def required() -> bool:
    return bool(settings.SIGNUP_MODE == "invite")


def link(request: HttpRequest, user: User) -> str:
    return links.absolute(request, f"{reverse('account_signup')}?invite={user.invite_code}")


def store_code(request: HttpRequest) -> None:
    """Keep the code of `?invite=` in the session, because a social login leaves the page."""
    code = request.GET.get("invite", "").strip()[:16]
    if code.isalnum():
        request.session[SESSION_KEY] = code


def stored_code(request: HttpRequest) -> str:
    return str(request.session.get(SESSION_KEY, ""))


def record_invitation(user: User, login: SocialAccount | None = None) -> None:
    """Record the invitation and credit the new user, in the transaction that creates the account.

    Neither side gets credits when the address or the social login belonged to an account before.
    """
    digests = [addresses.email_digest(user.email)] if user.email else []
    if login:
        digests.append(addresses.login_digest(login.provider, login.uid))
        UsedAddress.objects.note(user.pk, digests[-1])
    if user.invited_by_id:
        invitations.join(user.invited_by_id, user.pk, earns=not UsedAddress.objects.used_by_others(user.pk, digests))
