"""The authenticator: find the caller of a request by session, JWT, API token or ticket.

Async views and DRF both use it. It needs no middleware, because event streams run without Django's session and
authentication middleware. It does not decide what a caller may do.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Literal

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.middleware import get_user
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts import approval, guests, jwt, second_factor, terms, tickets
from accounts.apps import accounts
from accounts.errors import AccountIncomplete
from accounts.models import ApiToken, User, digest
from accounts.token_limits import TokenLimits
from runtime import database
from web.refusals import Forbidden, NotAuthenticated

Method = Literal["session", "jwt", "token", "ticket"]
# A token's `last_used_at` is stored at most once in this time, to save writes.
LAST_USED_PRECISION = timedelta(minutes=1)
# The key in the ASGI scope for the id of the request's user.
USER_IN_SCOPE = "rivulet.user"


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a request, the method of authentication, and whether chatting is allowed (`reachable`).

    `login`: the login from which a JWT descends. `token`: the limits of the API token that the caller came with.
    """

    user: User
    via: Method
    reachable: bool
    login: jwt.Login | None = None
    token: TokenLimits | None = None


def authenticate(request: HttpRequest, *, tickets: bool = False) -> Caller:
    """Return the caller; raise NotAuthenticated, or Forbidden when a session's CSRF check fails.

    `tickets`: accept `?ticket=` on GET. A ticket works once, so call this once per request.
    """
    caller = _identify(request, tickets_too=tickets)
    if caller is None:
        raise NotAuthenticated
    return _noted(request, caller)


async def aauthenticate(request: HttpRequest, *, tickets: bool = False) -> Caller:
    """Do the same from the event loop; the database is asked once in `identities.SECONDS`."""
    if not (proof := _proof(request)) or (tickets and "ticket" in request.GET):
        return await database.run(authenticate, request, tickets=tickets)
    identities = accounts().identities
    if (caller := identities.get(proof)) is None:
        version = identities.version
        caller = await database.run(authenticate, request)
        identities.put(proof, caller, version)
    elif caller.via == "session":
        _enforce_csrf(request)
    return _noted(request, caller)


async def aauthenticate_bearer(request: HttpRequest) -> Caller:
    """Return the caller by the header; cookies are ignored, so no CSRF check is needed."""
    header = _header_of(request)
    identities, proof = accounts().identities, _header_proof(header)
    if (caller := identities.get(proof)) is None:
        version = identities.version
        caller = await database.run(_by_header, header)
        identities.put(proof, caller, version)
    return _noted(request, caller)


def user_id_of(request: HttpRequest) -> int | None:
    """Return the id of the user whose header or session a request carries, else None.

    That is enough to read the request's body, but not to act on it: there is no CSRF check.
    """
    header = _header_of(request)
    try:
        user = _by_header(header).user if header else _session_user(request)
    except NotAuthenticated:
        return None
    return user.pk if user else None


def require_may_chat(caller: Caller) -> None:
    """Raise a Refusal unless the account can be reached, is approved and accepted the terms.

    It can be reached by a valid address or a linked social login.
    """
    if not caller.reachable:
        raise AccountIncomplete
    approval.require(caller.user)
    terms.require_accepted(caller.user)


def disabled_among(user_ids: Collection[int]) -> set[int]:
    """Return the ids of users that are disabled or deleted."""
    disabled = set(user_ids) - set(User.objects.filter(pk__in=user_ids, is_active=True).values_list("pk", flat=True))
    if disabled:
        accounts().identities.forget()
    return disabled


class Authentication(BaseAuthentication):
    """The authenticator for DRF; it sets `request.user`, and the Caller as `request.auth`."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        caller = _identify(request._request, tickets_too=False)
        if caller is None:
            return None
        second_factor.require_for_staff(request._request, caller.user)
        return caller.user, _noted(request._request, caller)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def _noted(request: HttpRequest, caller: Caller) -> Caller:
    """Note the user for the request's log line; refuse a token that has just expired."""
    if caller.token is not None and caller.token.has_expired:
        raise NotAuthenticated
    guests.require_open(caller.user, request.path)
    getattr(request, "scope", {})[USER_IN_SCOPE] = caller.user.pk
    return caller


def _identify(request: HttpRequest, *, tickets_too: bool) -> Caller | None:
    """Return the caller, or None without credentials; an invalid header or ticket raises NotAuthenticated."""
    header = request.META.get("HTTP_AUTHORIZATION", "").strip()
    if header:
        return _by_header(header)
    if tickets_too and request.method == "GET" and "ticket" in request.GET:
        ticket = tickets.redeem(request.GET["ticket"], request.path)
        if ticket is None or not ticket.user.is_active:
            raise NotAuthenticated
        return _caller(ticket.user, "ticket", token=ticket.token)
    return _by_session(request)


def _header_of(request: HttpRequest) -> str:
    """Return the header that names the caller; on /v1 also `x-api-key`, of Anthropic's clients."""
    header: str = request.META.get("HTTP_AUTHORIZATION", "").strip()
    key = request.META.get("HTTP_X_API_KEY", "").strip() if request.path.startswith("/v1/") else ""
    return header or (f"Bearer {key}" if key else "")


def _by_header(header: str) -> Caller:
    scheme, _space, secret = header.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise NotAuthenticated
    if not secret.startswith("sk-"):
        login = jwt.login_of(secret)
        return _caller(login.user, "jwt", login)
    token = ApiToken.objects.select_related("user").filter(digest=digest(secret), user__is_active=True).first()
    now = timezone.now()
    if token is None or (token.expires_at and token.expires_at <= now):
        raise NotAuthenticated
    if not token.last_used_at or token.last_used_at <= now - LAST_USED_PRECISION:
        stale = Q(last_used_at=None) | Q(last_used_at__lte=now - LAST_USED_PRECISION)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return _caller(token.user, "token", token=token)


def _session_user(request: HttpRequest) -> User | None:
    if not hasattr(request, "session"):
        cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        if not cookie:
            return None
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    user = get_user(request)  # refuses disabled users and sessions older than the password
    return user if isinstance(user, User) else None


def _by_session(request: HttpRequest) -> Caller | None:
    user = _session_user(request)
    if user is None:
        return None
    _enforce_csrf(request)
    accounts().session_activity.note(request, user.pk, is_known=False)
    return _caller(user, "session")


def _enforce_csrf(request: HttpRequest) -> None:
    try:
        SessionAuthentication().enforce_csrf(request)  # type: ignore[arg-type]  # it reads Django's request too
    except PermissionDenied as error:
        text = _("The page was open too long or came from elsewhere. Reload it and try again.")
        raise Forbidden(text) from error


def _proof(request: HttpRequest) -> str:
    """Return the header or the session cookie that identifies the caller; empty without either."""
    header: str = request.META.get("HTTP_AUTHORIZATION", "").strip()
    if header:
        return _header_proof(header)
    cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return f"session {cookie}" if cookie else ""


def _header_proof(header: str) -> str:
    return f"header {header}"


def _caller(user: User, via: Method, login: jwt.Login | None = None, token: ApiToken | None = None) -> Caller:
    if settings.REQUIRE_VERIFIED_EMAIL:
        has_address = EmailAddress.objects.filter(user=user, verified=True).exists()
    else:
        has_address = bool(user.shown_email)
    reachable = has_address or user.is_guest or SocialAccount.objects.filter(user=user).exists()
    return Caller(user, via, reachable, login, TokenLimits.of(token) if token else None)
