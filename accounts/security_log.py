"""The security log: logins, and changes of what gives access to an account.

Each event has a line in the log of the process, and a row for the user whose account it is (`security_events`). A line
names the user by id and the client by address. It contains no password, token or typed name: users type passwords into
the field for names too.
"""

from typing import Any

import structlog
from allauth.account import signals as account_signals
from allauth.account.models import EmailAddress
from allauth.mfa import signals as factor_signals
from allauth.mfa.models import Authenticator
from allauth.socialaccount import signals as social_signals
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from accounts import login_alerts
from accounts.models import User
from accounts.security_events import SecurityEvent
from web.refusals import request_id

log = structlog.get_logger("accounts")

Kind = SecurityEvent.Kind
# Stands for the user of a failed login whose name is unknown. It is written too, so that the time of the response does
# not show whether the account exists; these rows are shown to no user.
NO_USER = 0


def register() -> None:
    for signal, receiver in (
        (user_logged_in, _log_login),
        (user_logged_out, _log_logout),
        (user_login_failed, _log_failure),
        (account_signals.password_changed, _log_password),
        (account_signals.password_set, _log_password),
        (account_signals.password_reset, _log_password),
        (account_signals.email_changed, _note_email),
        (factor_signals.authenticator_added, _note_new_factor),
        (factor_signals.authentication_failed, _note_wrong_code),
        (factor_signals.authenticator_removed, _note_removed_factor),
        (factor_signals.authenticator_reset, _note_recovery_codes),
        (social_signals.social_account_added, _note_linked),
        (social_signals.social_account_removed, _note_unlinked),
    ):
        signal.connect(receiver, dispatch_uid="security_log")


def log_token_login(request: HttpRequest, user: User) -> None:
    """Log a login of a program, for which Django has no signal."""
    _log("login", request, user.pk, via="api")
    _note_login(request, user)


def note(request: HttpRequest, user: User, kind: str, detail: str = "") -> None:
    """Store an event for the user."""
    SecurityEvent.objects.note(user.pk, kind, request, detail)


def _log(event: str, request: HttpRequest | None, user_id: int | None, **fields: Any) -> None:
    if request is not None:
        fields |= {"client": request.META.get("REMOTE_ADDR", ""), "request_id": request_id(request)}
    log.info(event, user=user_id, **fields)


def _log_login(request: HttpRequest | None, user: User, **_signal: Any) -> None:
    _log("login", request, user.pk, via="page")
    if request is not None:
        _note_login(request, user)


def _note_login(request: HttpRequest, user: User) -> None:
    login_alerts.warn(request, user)
    note(request, user, Kind.LOGIN)


def _log_logout(request: HttpRequest | None, user: User | None, **_signal: Any) -> None:
    _log("logout", request, user.pk if user else None)
    if request is not None and user is not None:
        note(request, user, Kind.LOGOUT)


def _log_failure(credentials: dict[str, Any], request: HttpRequest | None = None, **_signal: Any) -> None:
    name = next((str(credentials[key]) for key in ("username", "email", "login") if credentials.get(key)), "")
    name = name.replace("\0", "")
    # Both queries each time, so that the time of a response does not show whether the account exists.
    user = User.objects.filter(username=name).values_list("pk", flat=True).first()
    owner = EmailAddress.objects.filter(email=name.lower()).values_list("user_id", flat=True).first()
    _log("login failed", request, user or owner)
    SecurityEvent.objects.note(user or owner or NO_USER, Kind.LOGIN_FAILED, request)


def _log_password(request: HttpRequest, user: User, **_signal: Any) -> None:
    _log("password changed", request, user.pk)
    note(request, user, Kind.PASSWORD)


def _note_email(request: HttpRequest, user: User, to_email_address: EmailAddress | None, **_signal: Any) -> None:
    note(request, user, Kind.EMAIL, to_email_address.email if to_email_address else "")


def _note_new_factor(request: HttpRequest, user: User, authenticator: Authenticator, **_signal: Any) -> None:
    kind = Kind.RECOVERY_CODES if authenticator.type == Authenticator.Type.RECOVERY_CODES else Kind.FACTOR_ADDED
    note(request, user, kind, authenticator.type)


def _note_removed_factor(request: HttpRequest, user: User, authenticator: Authenticator, **_signal: Any) -> None:
    note(request, user, Kind.FACTOR_REMOVED, authenticator.type)


def _note_wrong_code(request: HttpRequest, user: User, **_signal: Any) -> None:
    note_wrong_code(request, user)


def note_wrong_code(request: HttpRequest, user: User) -> None:
    """Store that a code or passkey was wrong, after a right password."""
    note(request, user, Kind.LOGIN_FAILED, "second factor")


def _note_recovery_codes(request: HttpRequest, user: User, **_signal: Any) -> None:
    note(request, user, Kind.RECOVERY_CODES)


def _note_linked(request: HttpRequest, sociallogin: Any, **_signal: Any) -> None:
    if sociallogin.user.pk:
        note(request, sociallogin.user, Kind.LINKED, sociallogin.account.provider)


def _note_unlinked(request: HttpRequest, socialaccount: Any, **_signal: Any) -> None:
    note(request, socialaccount.user, Kind.UNLINKED, socialaccount.provider)
