"""Access and refresh tokens (JWT): issue, check, rotate and revoke them.

A refresh token works once. The tokens that descend from one login are a family; a refresh token that is used a second
time was copied, so it ends its whole family. Only the ids of used tokens and ended families are stored, never a token.
"""

import time
from dataclasses import dataclass
from datetime import datetime
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

# Claims that a refresh token passes on: Unix seconds of the login (OpenID Connect's name), and the first token's id.
_LOGIN_CLAIM, _FAMILY_CLAIM = "auth_time", "family"


@dataclass(frozen=True, slots=True)
class Login:
    """The login from which a token descends.

    Tokens of version 0.2.0 do not contain it, so they count as old.
    """

    user: User
    at: float
    family: str

    def has_ended(self) -> bool:
        """Return whether a refresh token of the family was used twice."""
        return bool(_stored_ids(_family_id(self.family)))


class _SingleUseToken(RefreshToken):
    @classmethod
    def for_user(cls, user: Any) -> Self:
        # BlacklistMixin would store every issued token in plain text.
        return super(BlacklistMixin, cls).for_user(user)

    @property
    def family(self) -> str:
        return str(self.get(_FAMILY_CLAIM) or self[api_settings.JTI_CLAIM])

    def check_blacklist(self) -> None:
        """Raise TokenError when the token was used before or its family has ended.

        Because a token that was used before was copied, its family ends.
        """
        own_id, family_id = self[api_settings.JTI_CLAIM], _family_id(self.family)
        stored = _stored_ids(own_id, family_id)
        if own_id in stored and family_id not in stored:
            self._end_family()
        if stored:
            raise TokenError("used before")

    def use(self) -> None:
        """Use the token up; raise NotAuthenticated, and end the family, when another request was faster."""
        if not _store(self[api_settings.JTI_CLAIM], datetime_from_epoch(self["exp"])):
            self._end_family()
            raise NotAuthenticated

    def _end_family(self) -> None:
        # A descendant that is being issued at this moment expires a little later than one from now.
        _store(_family_id(self.family), self.current_time + 2 * self.lifetime)


def issue(user: User, parent: _SingleUseToken | None = None) -> Tokens:
    """Return a new pair for a user; it is valid until the password changes.

    Without a `parent`, the refresh token that is exchanged for it, it begins a family now.
    """
    refresh = _SingleUseToken.for_user(user)
    refresh[_FAMILY_CLAIM] = (parent or refresh).family
    refresh[_LOGIN_CLAIM] = parent.get(_LOGIN_CLAIM, 0) if parent else int(time.time())
    return {"access": str(refresh.access_token), "refresh": str(refresh)}


def login_of(access: str) -> Login:
    """Return the active user and the login of a valid access token, else raise NotAuthenticated."""
    token = _parse(AccessToken, access)
    return Login(_user(token), token.get(_LOGIN_CLAIM, 0), token.get(_FAMILY_CLAIM, ""))


def rotate(refresh: str) -> Tokens:
    """Exchange a refresh token for a new pair; raise NotAuthenticated if invalid or used."""
    token = _parse(_SingleUseToken, refresh)
    user = _user(token)
    token.use()
    return issue(user, token)


def revoke(refresh: str) -> None:
    """Revoke a refresh token; raise NotAuthenticated if it is invalid or used."""
    _parse(_SingleUseToken, refresh).use()


def delete_expired() -> None:
    OutstandingToken.objects.filter(expires_at__lte=aware_utcnow()).delete()


def _parse(kind: type[T], text: str) -> T:
    try:
        return kind(text)  # type: ignore[arg-type]
    except TokenError as error:
        raise NotAuthenticated from error


def _family_id(family: str) -> str:
    return f"family:{family}"


def _stored_ids(*ids: str) -> set[str]:
    """Return those of the ids that are stored as used or ended."""
    return set(BlacklistedToken.objects.filter(token__jti__in=ids).values_list("token__jti", flat=True))


def _store(token_id: str, expires_at: datetime) -> bool:
    """Store an id as used or ended, until it expires; return whether it is new."""
    row, _created = OutstandingToken.objects.get_or_create(
        jti=token_id, defaults={"token": "", "created_at": aware_utcnow(), "expires_at": expires_at}
    )
    _row, first = BlacklistedToken.objects.get_or_create(token=row)
    return first


def _user(token: AccessToken | RefreshToken) -> User:
    # Not the library's `get_user`: every prompt with a JWT needs this, so the query must be fast.
    user = fast_sql.read(User, token.get(api_settings.USER_ID_CLAIM))
    if user is None or not user.is_active:
        raise NotAuthenticated
    if token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
        raise NotAuthenticated  # the password has changed since the token was issued
    return user
