"""Login by the OpenID Connect provider of the environment, and groups from its claim.

allauth does the login. The provider's address is the operator's choice and may be private. A group that the claim names
for the first time is created, without permissions. A group that the claim no longer names is taken away, if it came
from the claim: groups that staff gave stay.
"""

from typing import Any

import structlog
from allauth.account.signals import user_logged_in
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError
from allauth.socialaccount.providers.openid_connect.views import login as openid_connect_login
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.models import ClaimedGroup, User

log = structlog.get_logger("accounts")

# The id of our one provider in allauth, as stored with its accounts, and a part of its URLs.
PROVIDER_ID = "oidc"
# Characters of a group's name; a longer one is ignored. Groups that one login can give.
MOST_NAME_CHARS, MOST_GROUPS = 150, 200


def register() -> None:
    user_logged_in.connect(_follow_claim, dispatch_uid="oidc")


def login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Begin a login; show an error page while the provider cannot be reached."""
    try:
        response: HttpResponseBase = openid_connect_login(request, provider_id)
    except (OSError, KeyError) as error:  # all failures of allauth's HTTP library, or an incomplete description
        log.warning("OpenID provider unusable, check OIDC_ISSUER", error=type(error).__name__)
        provider = get_adapter(request).get_provider(request, provider_id)
        response = render_authentication_error(request, provider, error=AuthError.UNKNOWN)
    return response


def _follow_claim(user: User, sociallogin: SocialLogin | None = None, **_signal: Any) -> None:
    if sociallogin and sociallogin.account.provider == PROVIDER_ID and settings.OIDC_GROUPS_CLAIM:
        follow(user, claimed(sociallogin.account.extra_data, settings.OIDC_GROUPS_CLAIM))


def claimed(data: dict[str, Any], claim: str) -> list[str]:
    """Return the names in the claim, of userinfo or the ID token."""
    for part in ("userinfo", "id_token"):
        value = (data.get(part) or {}).get(claim)
        if value is not None:
            values = value if isinstance(value, list) else [value]
            names = (name.strip() for name in values if isinstance(name, str))
            return list(dict.fromkeys(name for name in names if 0 < len(name) <= MOST_NAME_CHARS))[:MOST_GROUPS]
    return []


@transaction.atomic
def follow(user: User, names: list[str]) -> None:
    """Give the user these groups, and take away others that a claim gave."""
    there = set(Group.objects.filter(name__in=names).values_list("name", flat=True))
    Group.objects.bulk_create([Group(name=name) for name in names if name not in there], ignore_conflicts=True)
    wanted = {group.pk: group for group in Group.objects.filter(name__in=names)}
    own = set(user.groups.values_list("pk", flat=True))
    given = set(ClaimedGroup.objects.filter(user=user).values_list("group_id", flat=True))
    added, removed = wanted.keys() - own, given - wanted.keys()
    user.groups.add(*added)
    user.groups.remove(*removed)
    ClaimedGroup.objects.bulk_create(
        [ClaimedGroup(user=user, group=wanted[pk]) for pk in added - given], ignore_conflicts=True
    )
    ClaimedGroup.objects.filter(user=user, group__in=removed).delete()
    if added or removed:
        log.info("groups follow the claim", user=user.pk, added=len(added), removed=len(removed))
