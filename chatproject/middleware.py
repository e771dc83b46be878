"""Our middleware: the async list for event streams, and one addition for pages.

The async list has no thread hop and contains only what event streams need too. Sessions, CSRF and the check for
disabled users are in the authenticator (accounts/auth.py), which every such view calls.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import DisallowedHost
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers

from accounts.apps import accounts
from accounts.auth import USER_IN_SCOPE
from runtime import statement_limit
from runtime.apps import runtime
from web import refusals as web_refusals
from web.health import has_metrics_token

# Where Prometheus reads.
METRICS = "/metrics"

Handler = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
PageHandler = Callable[[HttpRequest], HttpResponseBase]

# Response headers of /v1 that scripts of browsers may read.
_RESPONSE_HEADERS = "x-request-id, request-id, retry-after, x-should-retry, x-quota-remaining, x-quota-reset"

# Seconds that the database may work for a page of the admin or a list of the staff API; then it is refused with 503.
STAFF_READ_SECONDS = 5.0
STAFF_PATHS = ("/admin/", "/api/admin/")


def openai_cors(get_response: Handler) -> Handler:
    """Allow pages of every origin to call /v1, which accepts tokens but no cookies."""

    async def handle(request: HttpRequest) -> HttpResponseBase:
        if not f"{request.path}/".startswith("/v1/"):
            return await get_response(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response: HttpResponseBase = HttpResponse(status=204)
            # Any, because each client has headers of its own; without cookies none of them proves anything here.
            requested = request.headers.get("Access-Control-Request-Headers")
            response["Access-Control-Allow-Headers"] = requested or "authorization, content-type"
            response["Access-Control-Allow-Methods"] = "GET, HEAD, POST, OPTIONS"
            response["Access-Control-Max-Age"] = "86400"
        else:
            response = await get_response(request)
            response["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
        response["Access-Control-Allow-Origin"] = "*"
        return response

    return handle


def allowed_hosts(get_response: Handler) -> Handler:
    """Refuse a Host header that is not in ALLOWED_HOSTS, as CommonMiddleware does for pages.

    Prometheus names each process by its address, which may be known to nothing but a cluster's own lists.
    """

    async def handle(request: HttpRequest) -> HttpResponseBase:
        try:
            request.get_host()
        except DisallowedHost:
            if request.path != METRICS or not has_metrics_token(request):
                raise
        return await get_response(request)

    return handle


def cors(get_response: Handler) -> Handler:
    """Let django-cors-headers handle what pages of other origins send; others need only its `Vary`."""
    handle_foreign = cast("Handler", CorsMiddleware(get_response))
    paths = re.compile(settings.CORS_URLS_REGEX)

    async def handle(request: HttpRequest) -> HttpResponseBase:
        if request.method == "OPTIONS" or "HTTP_ORIGIN" in request.META:
            return await handle_foreign(request)
        response = await get_response(request)
        if paths.match(request.path_info):
            _vary(response, "origin")
        return response

    return handle


def locale(get_response: Handler) -> Handler:
    """Activate the client's language. Each request has its own context, so nothing is restored."""

    async def handle(request: HttpRequest) -> HttpResponseBase:
        language = translation.get_language_from_request(request)
        translation.activate(language)
        response = await get_response(request)
        response.headers.setdefault("Content-Language", language)
        _vary(response, "Accept-Language")
        return response

    return handle


def _vary(response: HttpResponseBase, name: str) -> None:
    vary = response.headers.get("Vary")
    if vary is None:
        response.headers["Vary"] = name
    elif vary == "Accept-Language":  # nearly always, and Django takes it apart
        response.headers["Vary"] = f"{vary}, {name}"
    else:
        patch_vary_headers(response, (name,))


def refusals(get_response: Handler) -> Handler:
    """Render refusals here, because Django's exception handling would use a thread for each."""

    async def handle(request: HttpRequest) -> HttpResponseBase:
        refused: web_refusals.Refusal | None = getattr(request, "scope", {}).get("refusal")
        if refused:  # while the body was read
            return web_refusals.response(request, refused)
        try:
            return await get_response(request)
        except Exception as error:
            refusal = web_refusals.from_exception(error)
            if refusal is None:
                raise
            return web_refusals.response(request, refusal)

    return handle


def bounded_staff_reads(get_response: PageHandler) -> PageHandler:
    """Bound the time of reading requests to the admin pages and the staff API.

    Because their lists and searches may read whole tables.
    """

    def handle(request: HttpRequest) -> HttpResponseBase:
        if request.method not in {"GET", "HEAD"} or not request.path.startswith(STAFF_PATHS):
            return get_response(request)
        with statement_limit.limited(STAFF_READ_SECONDS):
            return get_response(request)

    return handle


class ReplicaReads:
    """Let lists of the admin pages and the dashboard read from the database's replica.

    It comes last, so the primary has decided about the user. Lists of the staff API do the same in `web.staff`.
    """

    def __init__(self, get_response: PageHandler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        match = request.resolver_match
        name = match.url_name if match and request.method in {"GET", "HEAD"} else None
        is_list = name is not None and (name == "dashboard" or name.endswith("_changelist"))
        if not is_list or not runtime().read_replica.exists:
            return None

        def read() -> HttpResponseBase:
            response: HttpResponseBase = view(request, *args, **kwargs)
            return response.render() if isinstance(response, TemplateResponse) else response

        try:
            return runtime().read_replica.read(read, STAFF_READ_SECONDS)
        except OperationalError as error:  # Django shows it to no `process_exception`
            refusal = web_refusals.from_exception(error)
            if refusal is None:
                raise
            return web_refusals.response(request, refusal)


def secure_cookies(get_response: PageHandler) -> PageHandler:
    """Mark cookies of pages as secure when the request came over HTTPS, without a setting."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response

    return handle


def session_user(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Note the user of a page's session for the log line, and the session's use."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        # Only a session that was read, and without a failure: the log line needs no query of its own.
        if response.status_code < 500 and request.session.accessed and SESSION_KEY in request.session:
            scope: dict[str, Any] = getattr(request, "scope", {})
            user_id = int(request.session[SESSION_KEY])
            scope.setdefault(USER_IN_SCOPE, user_id)
            accounts().session_activity.note(request, user_id)
        return response

    return handle
