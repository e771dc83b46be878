"""The second factor of accounts: its secrets, codes in API logins, the rule for staff.

allauth has the pages and the login (`allauth.mfa`): authenticator apps (TOTP), passkeys and recovery codes.
"""

import base64
import secrets
from collections.abc import Callable
from io import BytesIO

import segno
from allauth.core.context import request_context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base.internal.flows import check_rate_limit
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from accounts import security_log
from accounts.errors import ReauthenticationRequired
from accounts.models import User
from providers import encryption
from web.refusals import Forbidden, NotAuthenticated, TooManyRequests

ADMIN_PATH, STAFF_API_PATH = "/admin/", "/api/admin/"
# Seconds to wait after too many wrong codes.
RETRY_SECONDS = 60
_TYPED = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Keeps the secrets of authenticator apps encrypted, as those of upstreams."""

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        # Without the key no code is right: anyone can compute the codes of an empty secret, but not of a random one.
        return encryption.decrypt(encrypted_text) or base64.b32encode(secrets.token_bytes(20)).decode()

    def get_totp_issuer(self) -> str:
        return str(settings.SITE_NAME)

    def build_totp_svg(self, url: str) -> str:
        image = BytesIO()
        segno.make_qr(url, error="m").save(image, kind="svg", xmldecl=False, border=2, scale=5, light="#fff")
        return image.getvalue().decode()


def is_set_up(user: User) -> bool:
    """Return whether the account has an authenticator app or a passkey."""
    types = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
    return bool(Authenticator.objects.filter(user=user, type__in=types).exists())


def check_code(request: HttpRequest, user: User, code: str) -> None:
    """Raise a Refusal unless the code is right, or the account has no second factor.

    Without a code that is ReauthenticationRequired. A recovery code works once.
    """
    if not is_set_up(user):
        return
    if not code:
        raise ReauthenticationRequired(
            _("This account has a second factor. Send a code of it too."),
            details={"code": [_("This field is required.")]},
        )
    with request_context(request):
        try:
            forgive = check_rate_limit(user)
        except ValidationError as error:
            text = _("Too many failed login attempts. Try again later.")
            raise TooManyRequests(text, retry_after=RETRY_SECONDS) from error
        rows = Authenticator.objects.filter(user=user, type__in=_TYPED)
        if not any(row.wrap().validate_code(code) for row in rows):
            security_log.note_wrong_code(request, user)
            raise NotAuthenticated(_("The code is wrong."))
        forgive()


def is_missing(user: User) -> bool:
    """Return whether these staff need a second factor first (`REQUIRE_MFA_STAFF`)."""
    return settings.REQUIRE_MFA_STAFF and user.is_staff and not is_set_up(user)


def require_for_staff(request: HttpRequest, user: User) -> None:
    """Raise Forbidden on a staff route when the caller's account lacks a second factor."""
    if request.path.startswith(STAFF_API_PATH) and is_missing(user):
        raise Forbidden(_("Staff need a second factor here. Set one up on the account pages."))


def staff_gate(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Lead staff without a second factor from the admin to its page."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        # The user is read from the database, so this is asked last.
        is_bound = settings.REQUIRE_MFA_STAFF and request.path.startswith(ADMIN_PATH)
        if is_bound and request.user.is_authenticated and is_missing(request.user):
            messages.warning(request, _("The administration needs a second factor. Set one up here first."))
            return redirect("mfa_index")
        return get_response(request)

    return handle
