"""Serve the invitation page, and the sign-up page with its invite code.

The invitation page shows the link, its QR code, the invited users and the earned credits.
"""

import segno
from allauth.account.views import signup as allauth_signup
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import invites
from accounts.models import User
from quotas import history, invitations
from quotas.models import REWARDS_A_DAY

# Invited users per page.
PAGE_SIZE = 50


def signup(request: HttpRequest) -> HttpResponse:
    """Show or process allauth's sign-up form, and keep the invite code of the page's address."""
    response: HttpResponse = allauth_signup(request)
    invites.store_code(request, response)
    return response


@require_safe
@login_required
@never_cache
def invitation_page(request: HttpRequest) -> HttpResponse:
    """Show the user's link and the users who signed up with it."""
    user: User = request.user  # type: ignore[assignment]
    link = invites.link(request, user)
    before = history.place(request.GET.get("before", ""))
    invited, older = history.page(invitations.of(user.pk), before, PAGE_SIZE)
    context = {
        "link": link,
        "code": user.invite_code,
        # An SVG; the style sheet keeps it dark on light, which cameras need.
        "qr_code": segno.make_qr(link, error="m").svg_inline(
            border=2, omitsize=True, svgclass="qr-code", lineclass="qr-dark"
        ),
        "open": settings.SIGNUP_MODE != "closed",
        "promises": invitations.promises(),
        "sums": invitations.sums(user.pk),
        "invited": invited,
        "older": older,
        "newest": before is None,
        "rewards_a_day": REWARDS_A_DAY,
    }
    return render(request, "invite.html", context)
