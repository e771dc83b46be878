"""Access and refresh tokens (JWT): issue, check, rotate and revoke them.

A refresh token works once. Only the ids of used tokens are stored, never a token.
"""

from typing import Any, Self, TypeVar

from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, BlacklistMixin, RefreshToken, Token
from rest_framework_simplejwt.utils import aware_utcnow, datetime_from_epoch, get_md5_hash_password

from accounts.models import User
from accounts.schemas import Tokens
from runtime import fast_sql
from web.refusals import NotAuthenticated

T = TypeVar("T", bound=Token)


class _SingleUseToken(RefreshToken):
    @classmethod
    def for_user(cls, user: Any) -> Self:
        # BlacklistMixin would store every issued token in plain text.
        return super(BlacklistMixin, cls).for_user(user)

    def mark_used(self) -> bool:
        """Store that the token was used; return False when it already was."""
        used, _created = OutstandingToken.objects.get_or_create(
            jti=self[api_settings.JTI_CLAIM],
            defaults={"token": "", "created_at": self.current_time, "expires_at": datetime_from_epoch(self["exp"])},
        )
        _row, first = BlacklistedToken.objects.get_or_create(token=used)
        return first


def issue(user: User) -> Tokens:
    """Return a new pair for a user; it is valid until the password changes."""
    refresh = _SingleUseToken.for_user(user)
    return {"access": str(refresh.access_token), "refresh": str(refresh)}


def user_of(access: str) -> User:
    """Return the active user of a valid access token, else raise NotAuthenticated."""
    return _user(_parse(AccessToken, access))


def rotate(refresh: str) -> Tokens:
    """Exchange a refresh token for a new pair; raise NotAuthenticated if invalid or used."""
    token = _parse(_SingleUseToken, refresh)
    user = _user(token)
    if not token.mark_used():
        raise NotAuthenticated
    return issue(user)


def revoke(refresh: str) -> None:
    """Revoke a refresh token; raise NotAuthenticated if it is invalid or used."""
    if not _parse(_SingleUseToken, refresh).mark_used():
        raise NotAuthenticated


def delete_expired() -> None:
    OutstandingToken.objects.filter(expires_at__lte=aware_utcnow()).delete()


def _parse(kind: type[T], text: str) -> T:
    try:
        return kind(text)  # type: ignore[arg-type]
    except TokenError as error:
        raise NotAuthenticated from error


def _user(token: AccessToken | RefreshToken) -> User:
    # Not the library's `get_user`: every prompt with a JWT needs this, so the query must be fast.
    user = fast_sql.read(User, token.get(api_settings.USER_ID_CLAIM))
    if user is None or not user.is_active:
        raise NotAuthenticated
    if token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
        raise NotAuthenticated  # the password has changed since the token was issued
    return user
