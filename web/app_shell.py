"""Serve the manifest, the service worker and its offline page: the pages as an app.

The worker keeps nothing but the offline page and what that page shows; no page or response of a user is ever stored.
"""

import hashlib

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from web import brand, bundle

# Browsers ask again each time, so a new version of the service is noticed by the next visit.
_checked_each_time = cache_control(no_cache=True)


@require_safe
@_checked_each_time
def favicon(_request: HttpRequest) -> HttpResponseBase:
    """Lead to the icon, for browsers and programs that know only its usual address."""
    return redirect(brand.icon_links()[0]["href"])


@require_safe
@_checked_each_time
def manifest(_request: HttpRequest) -> HttpResponse:
    """Return the web app manifest in the caller's language."""
    document = {
        "id": "/",
        "name": settings.SITE_NAME,
        "short_name": settings.SITE_NAME,
        "description": _("Chat with AI models"),
        "lang": get_language(),
        "start_url": reverse("chat-page"),
        "scope": "/",
        "display": "standalone",
        # The colours of the light theme in frontend/styles/tokens.css; base.html names those of both themes.
        "background_color": "#fcfdfc",
        "theme_color": settings.SITE_COLOR.light.accent if settings.SITE_COLOR else "#f2f5f4",
        "icons": brand.manifest_icons(),
        "shortcuts": [{"name": _("New conversation"), "url": reverse("chat-page")}],
    }
    return HttpResponse(orjson.dumps(document), content_type="application/manifest+json")


@require_safe
@_checked_each_time
def offline(_request: HttpRequest) -> HttpResponse:
    """Show the page that the service worker keeps; it depends on nothing but the language."""
    return HttpResponse(render_to_string("offline.html"))


@require_safe
@_checked_each_time
def service_worker(_request: HttpRequest) -> HttpResponse:
    """Return the script that shows the offline page, with what it keeps.

    It is served here because a service worker governs only paths below its own. The version changes with the kept page
    and its files, so that browsers replace what they keep.
    """
    page = render_to_string("offline.html")
    shown = [static("chat/chat.css"), brand.stylesheet_url("pages"), brand.icon_links()[0]["href"], brand.logo_url()]
    files = [url for url in dict.fromkeys(shown) if url]
    version = hashlib.sha256("".join([page, *files]).encode()).hexdigest()[:16]
    kept = orjson.dumps({"page": reverse("offline"), "files": files, "version": version}).decode()
    script = bundle.read("chat/service-worker.js").decode()
    return HttpResponse(f"self.OFFLINE={kept};\n{script}", content_type="text/javascript")
