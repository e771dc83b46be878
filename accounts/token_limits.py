"""Limits of single API tokens: expiry, models, uses a day and calls a minute.

A use is a row, made in the transaction that starts a generation. It goes again when the generation costs nothing, so
the rows of a day are what `used_today` says.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.errors import TokenExhausted
from accounts.models import ApiToken, TokenUse, User
from providers import access
from providers.apps import providers_app
from quotas import days
from runtime import fast_sql
from web.refusals import InvalidRequest

# How long uses are kept: yesterday's may still be given back by a generation that began then.
KEPT = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """The limits of the token that a caller came with; None: no limit."""

    id: int
    expires_at: datetime | None
    models: frozenset[str] | None
    daily_limit: int | None
    requests_per_minute: int | None

    @classmethod
    def of(cls, token: ApiToken) -> Self:
        models = None if token.allowed_models is None else frozenset(token.allowed_models)
        return cls(token.pk, token.expires_at, models, token.daily_limit, token.requests_per_minute)

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    def allows(self, model: str) -> bool:
        return self.models is None or model in self.models


def use(limits: TokenLimits, generation: str, now: datetime) -> None:
    """Count a generation that starts now; raise TokenExhausted beyond the daily limit.

    Call it within a transaction that has the user's lock, so that of parallel calls none is too many.
    """
    day = days.day_of(now)
    most = limits.daily_limit
    if most is not None and TokenUse.objects.filter(token=limits.id, day=day).count() >= most:
        raise TokenExhausted(retry_after=days.seconds_to_reset(now))
    fast_sql.create(TokenUse, generation=generation, token_id=limits.id, day=day)


def give_back(generation: str) -> None:
    """Forget the use of a generation that costs nothing. Repeating is safe."""
    TokenUse.objects.filter(generation=generation).delete()


def with_use(tokens: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
    """Return tokens with `used_today`."""
    today = Q(uses__day=days.day_of(timezone.now()))
    return tokens.annotate(used_today=Count("uses", filter=today))


def delete_old() -> None:
    """Delete the uses of earlier days."""
    TokenUse.objects.filter(day__lt=days.day_of(timezone.now() - KEPT)).delete()


def checked_models(user: User, slugs: Iterable[str]) -> list[str]:
    """Return the slugs once each; raise InvalidRequest for one of no usable model."""
    usable = usable_models(user)
    found = list(dict.fromkeys(slugs))
    if unknown := [slug for slug in found if slug not in usable]:
        raise InvalidRequest(details={"models": [_("Unknown model: %(slug)s") % {"slug": unknown[0][:100]}]})
    return found


def usable_models(user: User) -> Collection[str]:
    """Return the slugs of the models that a user may use, in order."""
    return [model.slug for model in access.usable(providers_app().configuration, user.pk)]
