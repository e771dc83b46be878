"""Translate refusals and failures into Anthropic's error format, for `/v1/messages`.

https://docs.anthropic.com/en/api/errors. Statuses and headers are those of the rest of /v1.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, JsonResponse

from chat.openai import errors
from web.refusals import Refusal, TooLarge, request_id

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def response(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Render a refusal."""
    plain = errors.response(request, refusal)
    message = orjson.loads(plain.content)["error"]["message"]
    headers = {name: value for name, value in plain.items() if name.lower() != "content-type"}
    kind = _type(plain.status_code)
    if getattr(refusal, "failure", {}).get("code") == "prompt_too_long" and not isinstance(refusal, TooLarge):
        message = f"prompt is too long: {message}"  # which Anthropic's own programs look for
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id(request)}
    return JsonResponse(body, status=plain.status_code, headers=headers)


def event(failure: Mapping[str, Any]) -> bytes:
    """Return the event for a failure; it is the last one of its stream."""
    status = errors.status_of(failure)
    error = {"type": _type(status), "message": errors.problem(failure)["message"]}
    return b"event: error\ndata: %b\n\n" % orjson.dumps({"type": "error", "error": error})


def _type(status: int) -> str:
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
