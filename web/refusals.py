"""Refusals: why a request is not carried out, in one format for all clients.

JSON views, DRF, pages and event streams use them. Each app subclasses `Refusal` in its own `errors.py`. `docs/api.md`
lists the codes and statuses.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.db import InternalError as DatabaseInternalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from prometheus_client import Counter
from rest_framework import exceptions as drf
from rest_framework.response import Response

from runtime.statement_limit import was_cut_off, was_interrupted
from web import body_limits
from web.schemas import Code, Problem

log = structlog.get_logger("runtime")

REFUSALS = Counter("rivulet_refusals", "Refused requests", ["code"])


class Refusal(Exception):  # noqa: N818
    """A refused request; `details` names fields or the vendor's reasons, `retry_after` is in seconds."""

    code: ClassVar[Code] = "invalid_request"
    status: ClassVar[int] = 400
    text: ClassVar[str | Promise] = _("The request is not valid.")
    # The template for browsers, if not that of the status.
    page: ClassVar[str] = ""
    # Whether REFUSALS counts it; a failed generation is counted as such.
    is_counted: ClassVar[bool] = True

    def __init__(
        self,
        message: str | Promise | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message or self.text)
        self.message = message or self.text
        self.details = details
        self.retry_after = retry_after
        self.http_status = status or self.status

    def body(self) -> Problem:
        """Return `{code, message, details?}`, with the message in the active language."""
        body: Problem = {"code": self.code, "message": str(self.message)}
        if self.details:
            body["details"] = {name: _plain(value) for name, value in self.details.items()}
        return body

    @property
    def wait_seconds(self) -> int | None:
        """Whole seconds to wait before the next attempt, as in the header and the body."""
        return None if self.retry_after is None else max(1, math.ceil(self.retry_after))

    def count(self) -> None:
        """Count it, where it is rendered."""
        if self.is_counted:
            REFUSALS.labels(self.code).inc()

    def headers(self) -> dict[str, str]:
        return {} if self.wait_seconds is None else {"Retry-After": str(self.wait_seconds)}


class InvalidRequest(Refusal):
    """Body or parameters are wrong; `details` names each field."""


class MethodNotAllowed(Refusal):
    text = _("This method is not allowed here.")

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(status=405)
        self.allowed = allowed

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Allow": ", ".join(self.allowed)}


class WrongCoding(Refusal):
    """The body is compressed in a way that is not read."""

    def __init__(self, coding: str) -> None:
        text = _("A body with Content-Encoding %(coding)s cannot be read; send it as it is, or with one gzip.")
        super().__init__(details={"body": [text % {"coding": coding}]}, status=415)

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Accept-Encoding": "gzip"}


class NotAuthenticated(Refusal):
    code, status, text = "not_authenticated", 401, _("Please log in.")

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "WWW-Authenticate": 'Bearer realm="api"'}


class Forbidden(Refusal):
    code, status, text = "forbidden", 403, _("You do not have permission to do this.")


class NotFound(Refusal):
    code, status, text = "not_found", 404, _("The requested resource does not exist.")


class Conflict(Refusal):
    code, status, text = "conflict", 409, _("The request conflicts with the stored data.")


class TooLarge(Refusal):
    code, status, text = "prompt_too_long", 413, _("The request is too large.")


class TooManyRequests(Refusal):
    code, status, text = "too_many_requests", 429, _("Too many requests. Please wait a moment.")


class ServiceUnavailable(Refusal):
    code, status = "service_unavailable", 503
    text = _("The service is not available at the moment. Please try again shortly; nothing was charged.")

    def __init__(self, message: str | Promise | None = None, *, retry_after: float = 5) -> None:
        super().__init__(message, retry_after=retry_after)


class TooSlow(ServiceUnavailable):
    """The database ended a statement that took too long."""

    text, page = _("This took too long. Please narrow down what you look for."), "too_slow"


def _plain(value: Any) -> Any:
    if isinstance(value, Promise):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def from_exception(error: Exception) -> Refusal | None:
    """Return the refusal for a known exception, or None if the exception is a bug."""
    match error:
        case Refusal():
            return error
        case OperationalError() if was_interrupted(error):
            return TooSlow()
        case DatabaseInternalError() if not was_cut_off(error):
            return None
        case OperationalError() | InterfaceError() | DatabaseInternalError():
            log.error("database unavailable, request refused with 503", error=type(error).__name__)
            return ServiceUnavailable()
        case Http404() | drf.NotFound():
            return NotFound()
        case PermissionDenied() | drf.PermissionDenied():
            return Forbidden()
        case SuspiciousOperation() | DataError():
            return InvalidRequest()  # a value that the database cannot store, such as a NUL
    return None


def response(request: HttpRequest, refusal: Refusal, page: str = "") -> HttpResponse:
    """Render a refusal: JSON for programs, the page of its status (or `page`) for browsers."""
    refusal.count()
    for prefix, renderer in settings.REFUSAL_RENDERERS.items():
        if request.path.startswith(prefix):
            return import_string(renderer)(request, refusal)  # type: ignore[no-any-return]
    headers = refusal.headers()
    if request.path.startswith(("/api/", "/sse/")):
        body = {"error": refusal.body(), "request_id": request_id(request)}
        return JsonResponse(body, status=refusal.http_status, headers=headers)
    status = refusal.http_status
    name = page or refusal.page or (status if status in {403, 404, 429, 503} else 500)
    rendered = render(request, f"{name}.html", {"refusal": refusal}, status=status)
    for header, value in headers.items():
        rendered[header] = value
    return rendered


def request_id(request: HttpRequest) -> str:
    scope: Mapping[str, Any] = getattr(request, "scope", {})
    return str(scope.get("request_id", ""))


class RefusalMiddleware:
    """Turn exceptions of page and REST views into the response of their refusal."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        scope: Mapping[str, Any] = getattr(request, "scope", {})
        if scope.get("body_too_large"):
            return response(request, TooLarge(body_limits.message_of(request.path)))
        if refusal := scope.get("refusal"):  # decided before a view could run
            return response(request, refusal)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        refusal = from_exception(error)
        return response(request, refusal) if refusal else None


def drf_exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Render DRF's exceptions in the same format as all other refusals."""
    refusal = from_exception(error) or _from_drf(error)
    if refusal is None:
        return None
    refusal.count()
    body = {"error": refusal.body(), "request_id": request_id(context["request"]._request)}
    return Response(body, status=refusal.http_status, headers=refusal.headers())


def _from_drf(error: Exception) -> Refusal | None:
    match error:
        case drf.ValidationError():
            detail = error.detail if isinstance(error.detail, dict) else {"body": error.detail}
            return InvalidRequest(details=detail)
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return NotAuthenticated()
        case drf.Throttled():
            return TooManyRequests(retry_after=getattr(error, "wait", None))
        case drf.ParseError():
            return InvalidRequest(details={"body": [_("This is not valid JSON.")]})
        case drf.APIException():
            return InvalidRequest(str(error.detail), status=error.status_code)
    return None


class InternalError(Refusal):
    code, status, text = "internal_error", 500, _("Something went wrong on our side. Nothing was charged.")


def _view(refusal: Refusal, page: str = "") -> Callable[..., HttpResponse]:
    """Return a view that renders a refusal, for `handler404` and the like."""

    def view(request: HttpRequest, exception: Exception | None = None, reason: str = "") -> HttpResponse:
        return response(request, refusal, page)

    return view


csrf_failure = _view(Forbidden(), "403_csrf")
page_not_found = _view(NotFound())
permission_denied = _view(Forbidden())
bad_request = _view(InvalidRequest())
# allauth's rate limits; most of them end within a minute.
too_many_requests = _view(TooManyRequests(retry_after=60))
server_error = _view(InternalError())
