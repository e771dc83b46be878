"""Adapters of allauth: whether sign-up is open, login limits and mail errors.

Redirects need no code here, because allauth follows `next` only to our own hosts.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.forms import Form
from django.http import Http404, HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from accounts import age, claims, invites, limits, links, mail_domains, recent_login, terms, usernames
from accounts.models import UsedAddress, User
from accounts.wechat import browsers, union

log = structlog.get_logger("accounts")


def mail_server(request: HttpRequest) -> dict[str, bool]:
    """Add `mail_server` to all templates, so that no page promises mail without a server."""
    return {"mail_server": bool(settings.ENV.EMAIL_URL)}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP_MODE != "closed"

    def get_client_ip(self, request: HttpRequest) -> str:
        # uvicorn has already set the client's address, from trusted proxies only; a Unix socket has none.
        address = request.META.get("REMOTE_ADDR") or "0.0.0.0"  # noqa: S104
        # A socket for both protocols shows IPv4 clients as ::ffff:192.0.2.1, all of which are in one IPv6 network.
        return address.removeprefix("::ffff:") if "." in address else address

    def clean_username(self, username: str, shallow: bool = False) -> str:
        name = User.normalize_username(username)
        usernames.check(name)  # what allauth suggests itself is checked without the database (`shallow`)
        if not shallow and (problem := User().name_problem(name)):
            raise ValidationError(str(problem))
        return name

    def generate_unique_username(self, txts: list[str | None], regex: str | None = None) -> str:
        name: str = super().generate_unique_username(txts, regex)
        # allauth compares names only, not what they look like.
        while User.objects.filter(username_skeleton=usernames.skeleton(name)).exists():
            name = f"{name[:140]}_{secrets.token_hex(3)}"
        return name

    def save_user(self, request: HttpRequest, user: User, form: Form, commit: bool = True) -> User:
        invites.prepare(user, form.cleaned_data.get("invite_code"))
        if form.cleaned_data.get("terms"):
            terms.note_acceptance(user)
        if form.cleaned_data.get("old_enough"):
            age.note(user)
        super().save_user(request, user, form, commit=False)  # hashes the password, so it runs before the transaction
        with _signup_transaction(request):
            if commit:
                user.save()
            login: SocialLogin | None = getattr(form, "sociallogin", None)  # only the form of a social login has it
            invites.record_invitation(user, login and login.account)
        return user

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        name = credentials.get("username") or credentials.get("email") or ""
        if claims.hidden() and "@" in name:
            self.pre_authenticate(request, **credentials)
            user = claims.with_password(name, credentials["password"])
            if user:
                self._rollback_login_failed_rl_usage()
            return user
        # The login page sends an e-mail address under both names. Checking the password twice would take twice as long
        # as for an unknown address, and so reveal that the account exists.
        if credentials.get("email") == credentials.get("username"):
            credentials.pop("email", None)
        return cast("User | None", super().authenticate(request, **credentials))

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        if emailconfirmation.email_address.can_set_verified():
            super().send_confirmation_mail(request, emailconfirmation, signup)
        else:
            self.send_account_already_exists_mail(emailconfirmation.email_address.email)

    def is_reauthentication_required(self, *, app: str, **_values: Any) -> bool:
        return not recent_login.session_is_recent(self.request)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        # Look before counting, so that a refused attempt lengthens no wait.
        if limits.wait_for_login(request, self._get_login_attempts_cache_key(request, **credentials)):
            raise self.validation_error("too_many_login_attempts")
        super().pre_authenticate(request, **credentials)

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        return limits.login_key(request, credentials.get("username") or credentials.get("email") or "")

    def _delete_login_attempts_cached_email(self, request: HttpRequest, **credentials: Any) -> None:
        """Do nothing, because `limits` deletes the counts of the user, but not of the address."""

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        urls = {name: links.trusted(self.request, value) for name, value in context.items() if name.endswith("_url")}
        try:
            super().send_mail(template_prefix, email, context | urls)
        except OSError as error:  # includes SMTPException; the user can request another mail
            log.warning("mail not sent, check EMAIL_URL", template=template_prefix, error=type(error).__name__)


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Accounts of other services, including those without an e-mail address (WeChat)."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        confirmed = [address.email for address in sociallogin.email_addresses if address.verified]
        if settings.ALLOWED_MAIL_DOMAINS and all(map(mail_domains.problem, confirmed)):
            return False  # also without an address, and with one that the other service did not confirm
        if settings.SIGNUP_MODE == "invite":
            return invites.is_known(invites.stored_code(request))
        return settings.SIGNUP_MODE == "open"

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Form | None = None) -> User:
        for address in sociallogin.email_addresses:  # confirmed at the other service, but perhaps by another user here
            address.verified = address.verified and EmailAddress(email=address.email).can_set_verified()
        if form:  # allauth then also calls AccountAdapter.save_user
            user: User = super().save_user(request, sociallogin, form)
            return user
        invites.prepare(sociallogin.user, invites.stored_code(request))
        with _signup_transaction(request):
            user = super().save_user(request, sociallogin)
            invites.record_invitation(user, sociallogin.account)
        return user

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        # The form has the statement about the age.
        return not settings.SIGNUP_MIN_AGE and bool(super().is_auto_signup_allowed(request, sociallogin))

    def list_apps(
        self, request: HttpRequest | None, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        # Without a provider, all are wanted for a page that offers them.
        found = super().list_apps(request, provider=provider, client_id=client_id)
        return browsers.fitting(found, request, offered=provider is None)

    def get_app(self, request: HttpRequest, provider: str, client_id: str | None = None) -> SocialApp:
        try:
            return super().get_app(request, provider, client_id)
        except SocialApp.DoesNotExist as error:  # a service without keys
            raise Http404 from error

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        # Linked to this account, it never counts as new later.
        user = request.user if request.user.is_authenticated else union.join(request, sociallogin)
        if user:
            for digest in union.digests(sociallogin.account):
                UsedAddress.objects.note(user.pk, digest)


@contextmanager
def _signup_transaction(request: HttpRequest) -> Iterator[None]:
    """Run in one transaction; restart the sign-up when the name or address was just taken."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        messages.error(request, _("This name or address was just taken. Please try again."))
        raise ImmediateHttpResponse(redirect("account_signup")) from error
    except invites.UsedUpError as error:
        messages.error(request, _("This invitation has just been used up."))
        raise ImmediateHttpResponse(redirect("account_signup")) from error
