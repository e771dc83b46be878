"""Access and refresh tokens (JWT): issued, checked, rotated and revoked.

A refresh token works once. Only the ids of used ones are stored, never a token.
"""

from typing import Any, Self

from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, BlacklistMixin, RefreshToken
from rest_framework_simplejwt.utils import aware_utcnow, datetime_from_epoch, get_md5_hash_password

from accounts.models import User
from accounts.schemas import Tokens
from runtime import fast_sql
from web.refusals import NotAuthenticated


class _Refresh(RefreshToken):
    @classmethod
    def for_user(cls, user: Any) -> Self:
        # The library would store every token in clear when it is issued.
        return super(BlacklistMixin, cls).for_user(user)

    def retire(self) -> bool:
        """Remember that it was used; False when somebody was faster."""
        used, _created = OutstandingToken.objects.get_or_create(
            jti=self[api_settings.JTI_CLAIM],
            defaults={"token": "", "created_at": self.current_time, "expires_at": datetime_from_epoch(self["exp"])},
        )
        _row, first = BlacklistedToken.objects.get_or_create(token=used)
        return first


def issue(user: User) -> Tokens:
    """Return a new pair for a user; it dies with the user's password."""
    refresh = _Refresh.for_user(user)
    return {"access": str(refresh.access_token), "refresh": str(refresh)}


def user_of(access: str) -> User:
    """Return the active user whose valid access token this is; raise NotAuthenticated otherwise."""
    try:
        return _user(AccessToken(access))  # type: ignore[arg-type]
    except TokenError as error:
        raise NotAuthenticated from error


def rotate(refresh: str) -> Tokens:
    """Exchange a refresh token for a new pair, once; raise NotAuthenticated for any that is not good any more."""
    token = _parse(refresh)
    user = _user(token)
    if not token.retire():
        raise NotAuthenticated
    return issue(user)


def revoke(refresh: str) -> None:
    """Make a refresh token useless; raise NotAuthenticated when it already is."""
    if not _parse(refresh).retire():
        raise NotAuthenticated


def forget_expired() -> None:
    """Delete the ids of used tokens that have expired since."""
    OutstandingToken.objects.filter(expires_at__lte=aware_utcnow()).delete()


def _parse(refresh: str) -> _Refresh:
    try:
        return _Refresh(refresh)  # type: ignore[arg-type]
    except TokenError as error:
        raise NotAuthenticated from error


def _user(token: AccessToken | RefreshToken) -> User:
    """What the library's `get_user` does, with a statement that is built once: every question asks this."""
    user = fast_sql.read(User, token.get(api_settings.USER_ID_CLAIM))
    if user is None or not user.is_active:
        raise NotAuthenticated
    if token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
        raise NotAuthenticated  # the password was changed since
    return user
