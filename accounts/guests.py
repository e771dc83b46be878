"""Guests: visitors who try the chat without an account (GUEST_DAILY_LIMIT).

A guest is a user without a name, an address or a password, whose session is the only proof. So prompts are screened,
charged and kept as those of all users. Only what a trial needs is open to guests. A guest who signs up keeps the
conversations; the others are deleted after some days.
"""

import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from allauth.core.internal.ratelimit import get_ip
from django.conf import settings
from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import age, deletion
from accounts.errors import GuestLimitReached
from accounts.models import GuestUse, User
from quotas.days import day_of, seconds_to_reset
from runtime import database
from web.refusals import Forbidden

# Days after which a guest who did not sign up is deleted with all conversations.
DAYS = 7
# Seconds between two deletions of such guests, and how many each deletes: more than come in that time.
DELETION_SECONDS, AT_ONCE = 300, 100
# What guests may call and see. All else is closed to them, new routes too.
_OPEN = re.compile(
    r"/(c/\d+/)?$|/api/(chat|models|quotas|announcements|me/terms)/$"
    r"|/api/generations/|/api/messages/\d+/(regenerate|continue)/$"
    r"|/api/conversations/(\d+/(messages/)?)?$|/accounts/(keep|terms|logout|login|guest)/$"
    r"|/(i18n|static|brand)/|/(privacy|terms|offline|diagram|s/.*)/$"
    r"|/(favicon\.ico|manifest\.webmanifest|service-worker\.js)$"
)


def offer(_request: HttpRequest) -> dict[str, Any]:
    """Add the prompts of a guest's day and the guest's statement to all templates."""
    limit = settings.GUEST_DAILY_LIMIT
    return {"guest_limit": limit, "guest_statement": age.statement() if limit and settings.SIGNUP_MIN_AGE else ""}


def begin(request: HttpRequest) -> User:
    """Make a guest, and log the visitor in as this one."""
    user = User(username=f"guest-{secrets.token_hex(8)}", is_guest=True, stated_age=settings.SIGNUP_MIN_AGE)
    user.set_unusable_password()
    user.save()
    login(request, user, settings.AUTHENTICATION_BACKENDS[0])
    return user


def address_of(request: HttpRequest, user: User) -> str:
    """Return the address for which a guest's prompts count, empty for other users."""
    return get_ip(request) if user.is_guest else ""


def allowance(request: HttpRequest, user: User) -> dict[str, int] | None:
    """Return how many prompts a guest has a day and left; None for other users."""
    if not user.is_guest:
        return None
    limit, places = settings.GUEST_DAILY_LIMIT, _places(user.pk, get_ip(request))
    used = GuestUse.objects.most_used(places, day_of(timezone.now()))
    return {"limit": limit, "left": max(limit - used, 0)}


def _places(user_id: int, address: str) -> list[tuple[str, str]]:
    return [("user", str(user_id)), ("address", address)]


def count(user_id: int, address: str) -> None:
    """Count a prompt of a guest; raise GuestLimitReached beyond GUEST_DAILY_LIMIT.

    Call it within the transaction that starts a generation, so that a prompt that is refused does not count.
    """
    now, most = timezone.now(), settings.GUEST_DAILY_LIMIT
    places = _places(user_id, address)
    if not most or not all(GuestUse.objects.take(kind, name, day_of(now), most) for kind, name in places):
        raise GuestLimitReached(retry_after=seconds_to_reset(now))


def require_open(user: User, path: str) -> None:
    """Raise Forbidden when a guest calls what is not open to guests."""
    if user.is_guest and not _OPEN.match(path):
        raise Forbidden(_("Guests cannot do this. Please sign up; your conversations stay."))


def gate(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Lead guests from pages that are not open to them to the sign-up."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        # The user is read from the database, so this is asked last. Routes of the API refuse by `require_open`.
        is_page = not request.path.startswith("/api/") and not _OPEN.match(request.path)
        if is_page and settings.SESSION_COOKIE_NAME in request.COOKIES and getattr(request.user, "is_guest", False):
            return redirect("guest_keep")
        return get_response(request)

    return handle


async def delete_old() -> None:
    """Delete guests who did not sign up within `DAYS`, and counts of past days.

    Repeating is safe.
    """
    now = timezone.now()
    # One by one, so that others do not wait long for a database thread.
    for user_id in await database.run(_old_ids, now):
        await database.run(_delete, user_id)
    await database.run(GuestUse.objects.filter(day__lt=day_of(now) - timedelta(days=1)).delete)


def _old_ids(now: datetime) -> list[int]:
    old = User.objects.filter(is_guest=True, deletion_requested_at=None, date_joined__lt=now - timedelta(days=DAYS))
    return list(old.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])


@transaction.atomic
def _delete(user_id: int) -> None:
    # Read again under a lock, because the guest may have signed up meanwhile.
    still = User.objects.select_for_update(of=("self",)).filter(pk=user_id, is_guest=True, deletion_requested_at=None)
    if user := still.first():
        deletion.request(user)
