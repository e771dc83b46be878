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

from web import bundle

# Of the offline page; the service worker keeps these files with it.
OFFLINE_FILES = ("chat/chat.css", "chat/favicon.svg", "chat/rivulet.svg")
# Browsers ask again each time, so a new version of the service is noticed by the next visit.
_checked_each_time = cache_control(no_cache=True)


@require_safe
@_checked_each_time
def favicon(_request: HttpRequest) -> HttpResponseBase:
    """Lead to the icon, for browsers and programs that know only its usual address."""
    return redirect(static("chat/favicon.svg"))


@require_safe
@_checked_each_time
def manifest(_request: HttpRequest) -> HttpResponse:
    """Return the web app manifest in the caller's language."""
    icons = [
        {"src": static("chat/favicon.svg"), "sizes": "any", "type": "image/svg+xml"},
        {"src": static("chat/icon-192.png"), "sizes": "192x192", "type": "image/png"},
        {"src": static("chat/icon-512.png"), "sizes": "512x512", "type": "image/png"},
        {
            "src": static("chat/icon-maskable-512.png"),
            "sizes": "512x512",
            "type": "image/png",
            "purpose": "maskable",
        },
    ]
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
        "theme_color": "#f2f5f4",
        "icons": icons,
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
    page, files = render_to_string("offline.html"), [static(name) for name in OFFLINE_FILES]
    version = hashlib.sha256("".join([page, *files]).encode()).hexdigest()[:16]
    kept = orjson.dumps({"page": reverse("offline"), "files": files, "version": version}).decode()
    script = bundle.read("chat/service-worker.js").decode()
    return HttpResponse(f"self.OFFLINE={kept};\n{script}", content_type="text/javascript")
