"""Registration and login with a password, for programs; pages use allauth with equal rules."""

from allauth.account import app_settings as allauth_settings
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts import age, claims, invites, limits, mail_domains, terms
from accounts.models import User
from web.refusals import Forbidden, InvalidRequest, NotAuthenticated, TooManyRequests

Problems = dict[str, list[StrOrPromise]]


def register(
    request: HttpRequest,
    username: str,
    email: str,
    password: str,
    invite_code: str | None,
    terms_version: str | None = None,
    *,
    old_enough: bool = False,
) -> User:
    """Create an account; send a confirmation mail if a mail server is set.

    With mail, an address that another account has makes no difference here (see `claims`). Raises Forbidden when
    sign-up is closed, TooManyRequests, or InvalidRequest naming each field.
    """
    if settings.SIGNUP_MODE == "closed":
        raise Forbidden(_("Signing up is closed."))
    limits.check(request, "signup")
    user = User(username=User.normalize_username(username), email=email.lower())
    invites.prepare(user, invite_code)
    problems = _conflicts(user)
    try:
        get_adapter().clean_password(password, user)
    except ValidationError as error:
        problems["password"] = list(error.messages)
    if invites.required() and not invite_code:
        problems["invite_code"] = [_("An invite code is needed to sign up.")]
    elif invite_code and not (user.invited_by or user.signup_code):
        problems["invite_code"] = [_("This invite code is unknown.")]
    problems |= _state(user, terms_version, old_enough=old_enough)
    if problems:
        raise InvalidRequest(details=problems)
    user.set_password(password)
    address = _create(user, user.email)
    # Without the limit, strangers could fill a mailbox by signing up with its address.
    may_mail = allauth_settings.EMAIL_VERIFICATION != allauth_settings.EmailVerificationMethod.NONE
    if may_mail and limits.allows(request, "signup_mail", address.email):
        address.send_confirmation(request, signup=True)
    return user


def _state(user: User, terms_version: str | None, *, old_enough: bool) -> Problems:
    """Note what the new user states; return what is missing."""
    problems: Problems = {}
    if terms_version:
        if terms_version != settings.TERMS_VERSION:
            problems["terms_version"] = [_("This is not the current version of the terms.")]
        terms.note_acceptance(user)
    if settings.SIGNUP_MIN_AGE:
        if not old_enough:
            problems["old_enough"] = [age.statement()]
        age.note(user)
    return problems


def login(request: HttpRequest, username: str, password: str) -> User:
    """Return the active user with this name or e-mail address.

    Raises NotAuthenticated, with the same text and after the same time for every reason, or TooManyRequests.
    """
    try:
        user = get_adapter(request).authenticate(request, username=username, password=password)
    except ValidationError as error:  # allauth raises this after too many attempts
        wait = max(1.0, limits.wait_for_login(request, limits.login_key(request, username)))
        raise TooManyRequests(_("Too many failed login attempts. Try again later."), retry_after=wait) from error
    if not isinstance(user, User) or not user.is_active:
        raise NotAuthenticated(_("Username or password is wrong."))
    return user


def _create(user: User, email: str) -> EmailAddress:
    try:
        return _store(user, email)
    except invites.UsedUpError as error:
        raise InvalidRequest(details={"invite_code": [_("This invitation has just been used up.")]}) from error
    except IntegrityError as error:  # another request took the name or address after the check
        if problems := _conflicts(user):
            raise InvalidRequest(details=problems) from error
        user.pk, user._state.adding = None, True
        return _store(user, email)  # with mail, a taken address is claimed


@transaction.atomic
def _store(user: User, email: str) -> EmailAddress:
    user.email = email
    user.save()
    invites.record_invitation(user)
    return EmailAddress.objects.create(user=user, email=email, primary=True)


def _conflicts(user: User) -> Problems:
    problems: Problems = {}
    if problem := user.name_problem(user.username):
        problems["username"] = [problem]
    if problem := mail_domains.problem(user.email):
        problems["email"] = [problem]
    elif not claims.hidden() and filter_users_by_email(user.email):
        problems["email"] = [_("A user is already registered with this email address.")]
    return problems
