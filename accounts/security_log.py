"""Log lines of logins, failed logins, logouts and changed passwords.

A line names the user by id and the client by address. It contains no password, token or typed name: users type
passwords into the field for names too.
"""

from typing import Any

import structlog
from allauth.account.models import EmailAddress
from allauth.account.signals import password_changed, password_reset, password_set
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from accounts.models import User
from web.refusals import request_id

log = structlog.get_logger("accounts")


def register() -> None:
    user_logged_in.connect(_log_login, dispatch_uid="security_log")
    user_logged_out.connect(_log_logout, dispatch_uid="security_log")
    user_login_failed.connect(_log_failure, dispatch_uid="security_log")
    for signal in (password_changed, password_set, password_reset):
        signal.connect(_log_password, dispatch_uid="security_log")


def log_token_login(request: HttpRequest, user: User) -> None:
    """Log a login of a program, for which Django has no signal."""
    _log("login", request, user.pk, via="api")


def _log(event: str, request: HttpRequest | None, user_id: int | None, **fields: Any) -> None:
    if request is not None:
        fields |= {"client": request.META.get("REMOTE_ADDR", ""), "request_id": request_id(request)}
    log.info(event, user=user_id, **fields)


def _log_login(request: HttpRequest | None, user: User, **_signal: Any) -> None:
    _log("login", request, user.pk, via="page")


def _log_logout(request: HttpRequest | None, user: User | None, **_signal: Any) -> None:
    _log("logout", request, user.pk if user else None)


def _log_failure(credentials: dict[str, Any], request: HttpRequest | None = None, **_signal: Any) -> None:
    name = next((str(credentials[key]) for key in ("username", "email", "login") if credentials.get(key)), "")
    name = name.replace("\0", "")
    # Both queries each time, so that the time of a response does not show whether the account exists.
    user = User.objects.filter(username=name).values_list("pk", flat=True).first()
    owner = EmailAddress.objects.filter(email=name.lower()).values_list("user_id", flat=True).first()
    _log("login failed", request, user or owner)


def _log_password(request: HttpRequest | None, user: User, **_signal: Any) -> None:
    _log("password changed", request, user.pk)
