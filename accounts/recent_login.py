"""Steps that need a recent login: API tokens, e-mail addresses, linked social logins.

Pages ask for the password again (allauth's reauthentication). The API refuses with `reauthentication_required`. An
account without a usable password has nothing to ask for, so allauth lets its sessions pass.
"""

import time
from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.core import exceptions
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse

from accounts.auth import Caller
from accounts.errors import ReauthenticationRequired

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
    elif caller.login is None or not is_recent(caller.login.at) or caller.login.has_ended():
        raise ReauthenticationRequired


def require_on_page(request: HttpRequest) -> None:
    """Raise allauth's exception unless the login is recent.

    It leads to the page that asks for the password, which then repeats the request.
    """
    reauthentication_required(lambda _request: HttpResponse(), app="allauth.account")(request)


def _record_login(request: HttpRequest | None, **_signal: Any) -> None:
    if request is not None and hasattr(request, "session"):
        request.session[SESSION_KEY] = time.time()
