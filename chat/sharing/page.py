"""The read-only page behind a link, and the form on "Your data" that revokes one."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from chat.apps import chat
from chat.models import Share
from chat.screening.lexicon import Costs
from chat.sharing import api, frozen
from web.own_hosts import host_of, own_hosts

# Search engines keep nothing of the page, and no host that it links to learns its address.
_HEADERS = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


@require_safe
def page(request: HttpRequest, token: str) -> HttpResponseBase:
    """Show a copy to any visitor, or to users who are logged in."""
    if settings.SHARE_MODE == "off":
        raise Http404
    if settings.SHARE_MODE == "members":
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if request.user.is_guest:  # which any visitor can become
            return redirect("guest_keep")
    share = Share.objects.open_now().filter(token=token, user__is_active=True).first()
    if share is None:
        raise Http404
    words, own = chat().words.for_user(share.user_id).current, own_hosts(request)
    turns = frozen.shown(share.turns, words)
    for turn in turns:
        turn["sources"] = [
            {**source, "is_external": (host := host_of(source["url"])) is not None and host not in own}
            for source in turn["sources"]
        ]
    context = {"title": frozen.screened(share.title, words.incoming, Costs()), "share": share, "turns": turns}
    response = render(request, "shared.html", context)
    for name, value in _HEADERS.items():
        response[name] = value
    return response


@require_POST
@login_required
@never_cache
def revoke(request: HttpRequest, share_id: int) -> HttpResponse:
    """Revoke a link of the user. Repeating is safe."""
    api.revoke(request.user.pk or 0, share_id)
    return redirect("account_data")
