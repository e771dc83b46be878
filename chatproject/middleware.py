"""Middleware of our own: the lean list of event streams, and what Django lacks for pages.

The lean list is all native async, no thread hop, nothing but what must hold there too. Sessions, CSRF and the
disabled-user check are the authenticator's (accounts/auth.py), which every such view calls.
"""

import re
from collections.abc import Awaitable, Callable

from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers

from web.refusals import from_exception, response

Handler = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


# What programs in browsers may send to /v1, and see of its answers.
_OPEN_HEADERS = re.compile(r"authorization|content-type|x-stainless-[a-z0-9-]+|openai-[a-z0-9-]+")
_SHOWN_HEADERS = "x-request-id, retry-after, x-should-retry, x-quota-remaining, x-quota-reset"


def open_surface(get_response: Handler) -> Handler:
    """Let pages of every origin call /v1: it knows no cookies, so who calls has been given a token."""

    async def handle(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith("/v1/"):
            return await get_response(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            answer: HttpResponseBase = HttpResponse(status=204)
            asked = request.headers.get("Access-Control-Request-Headers", "").lower().split(",")
            allowed = [name.strip() for name in asked if _OPEN_HEADERS.fullmatch(name.strip())]
            answer["Access-Control-Allow-Headers"] = ", ".join(allowed or ["authorization", "content-type"])
            answer["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            answer["Access-Control-Max-Age"] = "86400"
        else:
            answer = await get_response(request)
            answer["Access-Control-Expose-Headers"] = _SHOWN_HEADERS
        answer["Access-Control-Allow-Origin"] = "*"
        return answer

    return handle


def hosts(get_response: Handler) -> Handler:
    """Refuse a Host header that is not ours, as CommonMiddleware does for pages."""

    async def handle(request: HttpRequest) -> HttpResponseBase:
        request.get_host()
        return await get_response(request)

    return handle


def security_headers(get_response: Handler) -> Handler:
    """Send what SecurityMiddleware, the frame options and django-csp send with pages."""
    headers = {
        "Content-Security-Policy": build_policy(),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "Cross-Origin-Opener-Policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
    }

    async def handle(request: HttpRequest) -> HttpResponseBase:
        answer = await get_response(request)
        for name, value in headers.items():
            answer.headers.setdefault(name, value)
        return answer

    return handle


def locale(get_response: Handler) -> Handler:
    """Speak the caller's language. Each request runs in its own context, so nothing needs to be put back."""

    async def handle(request: HttpRequest) -> HttpResponseBase:
        language = translation.get_language_from_request(request)
        translation.activate(language)
        answer = await get_response(request)
        answer.headers.setdefault("Content-Language", language)
        patch_vary_headers(answer, ("Accept-Language",))
        return answer

    return handle


def refusals(get_response: Handler) -> Handler:
    """Answer refusals here: Django's own exception handling would cross into a thread for each."""

    async def handle(request: HttpRequest) -> HttpResponseBase:
        try:
            return await get_response(request)
        except Exception as error:
            refusal = from_exception(error)
            if refusal is None:
                raise
            return response(request, refusal)

    return handle


def secure_cookies(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """For pages: what was asked for over HTTPS sets its cookies for HTTPS only, without a setting to forget."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        answer = get_response(request)
        if request.is_secure():
            for cookie in answer.cookies.values():
                cookie["secure"] = True
        return answer

    return handle
