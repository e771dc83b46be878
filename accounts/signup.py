"""Registration and login with a password, for programs; pages use allauth with equal rules."""

from allauth.account import app_settings as allauth_settings
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts import invites, limits
from accounts.models import User
from web.refusals import Forbidden, InvalidRequest, NotAuthenticated, TooManyRequests

Problems = dict[str, list[str | Promise]]


def register(request: HttpRequest, username: str, email: str, password: str, invite_code: str | None) -> User:
    """Create an account; send a confirmation mail if a mail server is set.

    Raises Forbidden when sign-up is closed, TooManyRequests, or InvalidRequest naming each field.
    """
    if settings.SIGNUP_MODE == "closed":
        raise Forbidden(_("Signing up is closed."))
    limits.check(request, "signup")
    user = User(username=User.normalize_username(username), email=email.lower())
    user.invited_by = invites.inviter(invite_code)
    problems = _conflicts(user)
    try:
        get_adapter().clean_password(password, user)
    except ValidationError as error:
        problems["password"] = list(error.messages)
    if invites.required() and not invite_code:
        problems["invite_code"] = [_("An invite code is needed to sign up.")]
    elif invite_code and user.invited_by is None:
        problems["invite_code"] = [_("This invite code is unknown.")]
    if problems:
        raise InvalidRequest(details=problems)
    user.set_password(password)
    address = _create(user)
    if allauth_settings.EMAIL_VERIFICATION != allauth_settings.EmailVerificationMethod.NONE:
        address.send_confirmation(request, signup=True)
    return user


def login(request: HttpRequest, username: str, password: str) -> User:
    """Return the active user with this name or e-mail address.

    Raises NotAuthenticated, with the same text and after the same time for every reason, or TooManyRequests.
    """
    try:
        user = get_adapter(request).authenticate(request, username=username, password=password)
    except ValidationError as error:  # allauth raises this after too many attempts
        wait = limits.seconds_left(request, "login_failed", username.lower())
        raise TooManyRequests(_("Too many failed login attempts. Try again later."), retry_after=wait) from error
    if not isinstance(user, User) or not user.is_active:
        raise NotAuthenticated(_("Username or password is wrong."))
    return user


def _create(user: User) -> EmailAddress:
    try:
        with transaction.atomic():
            user.save()
            address = EmailAddress.objects.create(user=user, email=user.email, primary=True)
            invites.record_invitation(user)
    except IntegrityError as error:  # another request took the name or address after the check
        if problems := _conflicts(user):
            raise InvalidRequest(details=problems) from error
        raise
    return address


def _conflicts(user: User) -> Problems:
    problems: Problems = {}
    if User.objects.filter(username__iexact=user.username).exists():
        problems["username"] = [_("A user with that username already exists.")]
    if filter_users_by_email(user.email):
        problems["email"] = [_("A user is already registered with this email address.")]
    return problems
