"""How allauth's pages behave here: who may sign up, how logins are counted, and what becomes of mail.

Redirects need nothing of ours: allauth follows `next` to our own hosts only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.forms import Form
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from accounts import addresses, invites
from accounts.models import UsedAddress, User

log = structlog.get_logger("accounts")


def mail_server(request: HttpRequest) -> dict[str, bool]:
    """Say in all templates whether there is a server for mail: without one no page may promise any."""
    return {"mail_server": bool(settings.ENV.EMAIL_URL)}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts with a password of ours."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP_MODE != "closed"

    def get_client_ip(self, request: HttpRequest) -> str:
        # Our server has already put the client's address here, from proxies it trusts; a Unix socket has none.
        return request.META.get("REMOTE_ADDR") or "0.0.0.0"  # noqa: S104

    def clean_username(self, username: str, shallow: bool = False) -> str:
        cleaned: str = super().clean_username(User.normalize_username(username), shallow)
        return cleaned

    def save_user(self, request: HttpRequest, user: User, form: Form, commit: bool = True) -> User:
        user.invited_by = invites.inviter(form.cleaned_data.get("invite_code"))
        with _nothing_taken(request):
            super().save_user(request, user, form, commit)
            login: SocialLogin | None = getattr(form, "sociallogin", None)  # what the form of a social login has
            invites.welcome(user, login and login.account)
        return user

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        # The page sends an address under both names; checked twice, it would take twice as long as an unknown one.
        if credentials.get("email") == credentials.get("username"):
            credentials.pop("email", None)
        user: User | None = super().authenticate(request, **credentials)
        return user

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # Without the Host header, by which a caller could begin a new count at will.
        return str(credentials.get("username") or credentials.get("email") or "").lower()

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        try:
            super().send_mail(template_prefix, email, context)
        except OSError as error:  # the mail server's trouble, SMTPException included: a mail can be asked for again
            log.warning("mail not sent", template=template_prefix, error=type(error).__name__)


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Accounts of other services. Those that give no address (WeChat) are welcome too."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        if settings.SIGNUP_MODE == "invite":
            return invites.inviter(invites.remembered(request)) is not None
        return settings.SIGNUP_MODE == "open"

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Form | None = None) -> User:
        if form:  # which goes through the other adapter too
            user: User = super().save_user(request, sociallogin, form)
            return user
        sociallogin.user.invited_by = invites.inviter(invites.remembered(request))
        with _nothing_taken(request):
            user = super().save_user(request, sociallogin)
            invites.welcome(user, sociallogin.account)
        return user

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        if request.user.is_authenticated:  # about to be linked to an account: later on it is nobody new
            account = sociallogin.account
            UsedAddress.objects.note(request.user.pk, addresses.of_login(account.provider, account.uid))


@contextmanager
def _nothing_taken(request: HttpRequest) -> Iterator[None]:
    """One transaction; when somebody took the name or the address since it was checked, say so and begin again."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        messages.error(request, _("This name or address was just taken. Please try again."))
        raise ImmediateHttpResponse(redirect("account_signup")) from error
