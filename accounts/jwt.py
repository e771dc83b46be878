"""Access and refresh tokens (JWT): issue, check, rotate and revoke them.

A refresh token works once. The tokens that descend from one login are a family; a refresh token that is used a second
time was copied, so it ends its whole family. Only the id of a family's newest token is stored, never a token.
"""

import time
from dataclasses import dataclass
from typing import Any, NoReturn, Self, TypeVar

from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, BlacklistMixin, RefreshToken, Token
from rest_framework_simplejwt.utils import aware_utcnow, datetime_from_epoch, get_md5_hash_password

from accounts.models import RefreshFamily, User
from accounts.schemas import Tokens
from runtime import fast_sql
from web.refusals import NotAuthenticated

T = TypeVar("T", bound=Token)

# Claims that a refresh token passes on: Unix seconds of the login (OpenID Connect's name), and the first token's id.
_LOGIN_CLAIM, _FAMILY_CLAIM = "auth_time", "family"
# Logins of one user with an outstanding refresh token; a further one ends the one that was used the longest ago.
MOST_LOGINS = 100


@dataclass(frozen=True, slots=True)
class Login:
    """The login from which a token descends.

    Tokens of version 0.2.0 do not contain it, so they count as old.
    """

    user: User
    at: float
    family: str

    def has_ended(self) -> bool:
        """Return whether the family was revoked, or one of its tokens used twice."""
        return bool(self.family) and not RefreshFamily.objects.filter(family=self.family).exists()


class _RefreshToken(RefreshToken):
    """A refresh token that works once, and is not stored."""

    @classmethod
    def for_user(cls, user: Any) -> Self:
        # BlacklistMixin would store every issued token in plain text.
        return super(BlacklistMixin, cls).for_user(user)

    @property
    def id(self) -> str:
        return str(self[api_settings.JTI_CLAIM])

    @property
    def family(self) -> str | None:
        """The family; None for a token of version 0.2.0."""
        family: str | None = self.get(_FAMILY_CLAIM)
        return family

    def pair(self) -> Tokens:
        return {"access": str(self.access_token), "refresh": str(self)}


def issue(user: User) -> Tokens:
    """Return a new pair for a login; it is valid until the password changes.

    Ends the login that was not used for the longest time if the user has more than `MOST_LOGINS`.
    """
    refresh = _RefreshToken.for_user(user)
    refresh[_FAMILY_CLAIM], refresh[_LOGIN_CLAIM] = refresh.id, int(time.time())
    return _begin(user, refresh, refresh.id)


def _begin(user: User, refresh: _RefreshToken, family: str) -> Tokens:
    own = RefreshFamily.objects.filter(user=user)
    own.create(user=user, family=family, newest=refresh.id, expires_at=datetime_from_epoch(refresh["exp"]))
    surplus = own.order_by("-expires_at", "-pk").values_list("pk", flat=True)[MOST_LOGINS:]
    own.filter(pk__in=list(surplus)).delete()
    return refresh.pair()


def login_of(access: str) -> Login:
    """Return the active user and the login of a valid access token, else raise NotAuthenticated."""
    token = _parse(AccessToken, access)
    return Login(_user(token), token.get(_LOGIN_CLAIM, 0), token.get(_FAMILY_CLAIM, ""))


def rotate(refresh: str) -> Tokens:
    """Exchange a refresh token for a new pair; raise NotAuthenticated if invalid or used."""
    token = _parse(_RefreshToken, refresh)
    user = _user(token)
    new = _RefreshToken.for_user(user)
    new[_FAMILY_CLAIM], new[_LOGIN_CLAIM] = token.family or new.id, token.get(_LOGIN_CLAIM, 0)
    if token.family is None:
        _use_without_family(token)
        return _begin(user, new, new.id)
    newest = RefreshFamily.objects.filter(family=token.family, newest=token.id)
    if not newest.update(newest=new.id, expires_at=datetime_from_epoch(new["exp"])):
        _end(token.family)
    return new.pair()


def revoke(refresh: str) -> None:
    """End a refresh token's family; raise NotAuthenticated if the token is invalid or used.

    The tokens of a deleted user have ended already, which is no fault.
    """
    token = _parse(_RefreshToken, refresh)
    if token.family is None:
        _use_without_family(token)
        return
    deleted, _rows = RefreshFamily.objects.filter(family=token.family, newest=token.id).delete()
    if not deleted and User.objects.filter(pk=token.get(api_settings.USER_ID_CLAIM)).exists():
        _end(token.family)


def _end(family: str) -> NoReturn:
    """End a family, because a token that was used before was copied."""
    RefreshFamily.objects.filter(family=family).delete()
    raise NotAuthenticated


def _use_without_family(token: _RefreshToken) -> None:
    """Store that a token of version 0.2.0 was used; raise NotAuthenticated if it already was."""
    row, _created = OutstandingToken.objects.get_or_create(
        jti=token.id,
        defaults={"token": "", "created_at": token.current_time, "expires_at": datetime_from_epoch(token["exp"])},
    )
    if not BlacklistedToken.objects.get_or_create(token=row)[1]:
        raise NotAuthenticated


def delete_expired() -> None:
    """Delete families, and ids of used tokens, that have expired."""
    for rows in (RefreshFamily.objects, OutstandingToken.objects):
        rows.filter(expires_at__lte=aware_utcnow()).delete()


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
