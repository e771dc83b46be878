"""Invite codes at sign-up: find the inviter, keep the code, credit the new user."""

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from accounts import addresses, links
from accounts.models import SignupCode, UsedAddress, User
from accounts.signup_codes import CODE_CHARS
from accounts.wechat import union
from quotas import invitations

# The cookie with the code of an invitation link, and the seconds that it lives.
COOKIE, COOKIE_SECONDS = "invite_code", 3600


class UsedUpError(Exception):
    """Another sign-up took the last use of an invitation by the operator."""


def is_known(code: str | None) -> bool:
    """Return whether a visitor may sign up with this code."""
    return bool(code) and (inviter(code) is not None or SignupCode.objects.usable(code or "") is not None)


def prepare(user: User, code: str | None) -> None:
    """Note who invited a new user, and whether the account waits for approval."""
    user.invited_by = inviter(code)
    user.signup_code = SignupCode.objects.usable(code) if code and user.invited_by is None else None
    is_approved = user.signup_code is not None and user.signup_code.approves
    user.awaits_approval = settings.SIGNUP_APPROVAL and not is_approved


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


def code_in_query(request: HttpRequest) -> str:
    """Return the code of `?invite=`, empty if it is none."""
    code = request.GET.get("invite", "").strip()[:CODE_CHARS]
    return code if code.isalnum() else ""


def stored_code(request: HttpRequest) -> str:
    """Return the code of an invitation link that this browser has opened."""
    return code_in_query(request) or request.COOKIES.get(COOKIE, "")[:CODE_CHARS]


def store_code(request: HttpRequest, response: HttpResponse) -> None:
    """Keep the code of `?invite=` in a cookie, because a social login leaves the page.

    Not in the session, whose row would be stored for each visitor. A sign-up ends the cookie.
    """
    if code := code_in_query(request):
        response.set_cookie(COOKIE, code, COOKIE_SECONDS, httponly=True, samesite="Lax")
    elif COOKIE in request.COOKIES and request.user.is_authenticated:
        response.delete_cookie(COOKIE, samesite="Lax")


def record_invitation(user: User, login: SocialAccount | None = None) -> None:
    """Record the invitation and credit the new user, in the transaction that creates the account.

    Neither side gets credits when the address or the social login belonged to an account before. Raises UsedUpError
    when an invitation by the operator has no use left.
    """
    digests = [addresses.email_digest(user.email)] if user.email else []
    if login:
        for digest in union.digests(login):
            UsedAddress.objects.note(user.pk, digest)
            digests.append(digest)
    if user.signup_code is not None:
        if not SignupCode.objects.take(user.signup_code.pk):
            raise UsedUpError
        user.groups.add(*user.signup_code.groups.all())
    if user.invited_by_id:
        invitations.join(user.invited_by_id, user.pk, earns=not UsedAddress.objects.used_by_others(user.pk, digests))
