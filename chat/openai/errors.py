"""Translate refusals and failures into OpenAI's error format, for /v1.

https://platform.openai.com/docs/guides/error-codes. A vendor's refusal of our key is never passed on unchanged, because
callers would blame their own token.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from chat.errors import with_text
from providers.errors import UnknownModel, Unsupported
from providers.wire.base import IMAGES
from web.refusals import NotAuthenticated, NotFound, Refusal, TooLarge

# For refusals that repeat on a retry: clients retry after 429 and 5xx unless this header forbids it.
NO_RETRY = {"x-should-retry": "false"}


class Kind(NamedTuple):
    """One of our codes as OpenAI's clients see it: status, type, code and headers."""

    status: int
    type: str
    code: str | None
    headers: Mapping[str, str] = {}


_SERVER = ("server_error", "server_error")
_REQUEST = "invalid_request_error"
KINDS: Mapping[str, Kind] = {
    "not_authenticated": Kind(401, _REQUEST, "invalid_api_key"),
    "account_incomplete": Kind(403, _REQUEST, "account_incomplete"),
    "terms_required": Kind(403, _REQUEST, "terms_required"),
    "forbidden": Kind(403, _REQUEST, "forbidden"),
    "not_found": Kind(404, _REQUEST, "not_found"),
    "invalid_request": Kind(400, _REQUEST, None),
    "prompt_too_long": Kind(400, _REQUEST, "context_length_exceeded"),
    "conflict": Kind(409, _REQUEST, "conflict", NO_RETRY),
    "storage_full": Kind(413, _REQUEST, "storage_full"),
    "content_blocked": Kind(400, _REQUEST, "content_policy_violation", NO_RETRY),
    "quota_exhausted": Kind(429, "insufficient_quota", "insufficient_quota", NO_RETRY),
    "too_many_requests": Kind(429, "requests", "rate_limit_exceeded"),
    "upstream_error": Kind(502, *_SERVER),
    "upstream_timeout": Kind(504, *_SERVER),
    "model_unavailable": Kind(503, *_SERVER),
    "service_unavailable": Kind(503, *_SERVER),
    "interrupted": Kind(503, *_SERVER),
    "internal_error": Kind(500, *_SERVER),
}


class Failed(Refusal):
    """A completion that failed before the response began; `failure` is its `error` event's data."""

    is_counted = False

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(str(failure["message"]), retry_after=failure.get("retry_after"))
        self.failure = failure


def response(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Render a refusal."""
    if isinstance(refusal, Failed):
        kind, error = _failed(refusal.failure)
    else:
        kind, error = _refused(refusal)
    # A refused method, content type or body has its own status.
    own = isinstance(refusal, TooLarge) or refusal.http_status != refusal.status
    status = refusal.http_status if own else kind.status
    return JsonResponse({"error": error}, status=status, headers={**refusal.headers(), **kind.headers})


def event(failure: Mapping[str, Any]) -> bytes:
    """Return the event for a failure; it is the last one of its stream."""
    return b"data: %b\n\n" % orjson.dumps({"error": problem(failure)})


def problem(failure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a failure as `{message, type, param, code}`."""
    return _failed(failure)[1]


def status_of(failure: Mapping[str, Any]) -> int:
    """Return the status with which a failure would be refused."""
    return _failed(failure)[0].status


def interrupted() -> dict[str, Any]:
    """Return the failure of a completion that this process breaks off."""
    return with_text({"code": "interrupted"})


def _refused(refusal: Refusal) -> tuple[Kind, dict[str, Any]]:
    body = refusal.body()
    kind = KINDS.get(refusal.code) or Kind(refusal.http_status, _REQUEST, refusal.code)
    param, message = None, body["message"]
    if isinstance(refusal, NotAuthenticated):
        message = str(_("Incorrect API key provided."))
    elif isinstance(refusal, NotFound):
        kind = kind._replace(code="unknown_url")
    elif kind.code is None and (details := body.get("details")):
        param, reasons = next(iter(details.items()))
        message = f"{param}: {' '.join(map(str, reasons))}"
        if isinstance(refusal, UnknownModel):
            kind = Kind(404, _REQUEST, "model_not_found")
        elif isinstance(refusal, Unsupported):
            kind, param = Kind(400, _REQUEST, "unsupported_parameter"), "messages" if param == IMAGES else param
    return kind, _error(kind, message, param)


def _failed(failure: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    kind = KINDS.get(str(failure["code"]), KINDS["internal_error"])
    param = failure.get("details", {}).get("param")
    message = f"{param}: {failure['message']}" if param else failure["message"]
    return kind, _error(kind, message, param)


def _error(kind: Kind, message: str, param: str | None) -> dict[str, Any]:
    return {"message": message, "type": kind.type, "param": param, "code": kind.code}
