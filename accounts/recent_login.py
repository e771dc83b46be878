"""Steps that need a recent login: API tokens, e-mail addresses, linked social logins.

Pages ask for the password again (allauth's reauthentication). The API refuses with `reauthentication_required`. An
account without a usable password has nothing to ask for, so allauth lets its sessions pass.
"""

import time
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.decorators import reauthentication_required
from allauth.core import exceptions
from allauth.core.context import request_context
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from accounts import limits
from accounts.auth import Caller
from accounts.errors import ReauthenticationRequired
from accounts.models import User
from web.refusals import TooManyRequests

# The key of the session's value: Unix seconds of the login that began it.
SESSION_KEY = "logged_in_at"


def register() -> None:
    user_logged_in.connect(_record_login, dispatch_uid="recent_login")


def session_is_recent(request: HttpRequest) -> bool:
    """Return whether the session began with a login a short time ago."""
    return is_recent(request.session.get(SESSION_KEY, 0))


def is_recent(logged_in_at: float) -> bool:
    return bool(time.time() - logged_in_at < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT)


def require(request: HttpRequest, caller: Caller) -> None:
    """Raise ReauthenticationRequired unless the caller entered a password a short time ago.

    An API token or a ticket proves no login, so a stolen one cannot make tokens that outlive it.
    """
    if caller.via == "session":
        try:
            require_on_page(request)
        except exceptions.ReauthenticationRequired as error:
            raise ReauthenticationRequired from error
    elif not login_is_recent(request, caller):
        raise ReauthenticationRequired


def confirm(request: HttpRequest, user: User, password: str, *, is_recent: bool) -> None:
    """Raise ReauthenticationRequired unless this is the user's password.

    An account without one needs a recent login instead (`is_recent`). Failures count as failed logins; raises
    TooManyRequests after too many.
    """
    if not user.has_usable_password():
        if not is_recent:
            raise ReauthenticationRequired
        return
    try:
        with request_context(request):
            right = get_adapter(request).reauthenticate(user, password)
    except ValidationError as error:  # allauth raises this after too many attempts
        wait = max(1.0, limits.wait_for_login(request, limits.login_key(request, user.get_username())))
        raise TooManyRequests(_("Too many failed login attempts. Try again later."), retry_after=wait) from error
    if not right:
        raise ReauthenticationRequired(_("The password is wrong."))


def login_is_recent(request: HttpRequest, caller: Caller) -> bool:
    """Return whether the caller logged in recently; API tokens and tickets prove no login."""
    if caller.via == "session":
        return session_is_recent(request)
    return caller.login is not None and is_recent(caller.login.at) and not caller.login.has_ended()


def require_on_page(request: HttpRequest) -> None:
    """Raise allauth's exception unless the login is recent.

    It leads to the page that asks for the password, which then repeats the request.
    """
    reauthentication_required(lambda _request: HttpResponse(), app="allauth.account")(request)


def _record_login(request: HttpRequest | None, **_signal: Any) -> None:
    if request is not None and hasattr(request, "session"):
        request.session[SESSION_KEY] = time.time()
