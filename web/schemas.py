"""JSON types that all routes share: the format of refusals, and parts of other schemas.

These types describe what is returned; nothing is validated with them at run time. They are TypedDicts of
`typing_extensions`, because pydantic reads those of `typing` from Python 3.12 on only.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
Date = Annotated[str, Field(json_schema_extra={"format": "date"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Details = Annotated[dict[str, Any], Field(description="What is wrong with each field, or facts from the vendor.")]

# Codes of refusals, and of failures that are reported inside a stream.
Code = Literal[
    "invalid_request",
    "invalid_code",
    "not_authenticated",
    "account_incomplete",
    "terms_required",
    "reauthentication_required",
    "forbidden",
    "not_found",
    "conflict",
    "prompt_too_long",
    "content_blocked",
    "quota_exhausted",
    "too_many_requests",
    "internal_error",
    "model_unavailable",
    "service_unavailable",
    "upstream_error",
    "upstream_timeout",
    "interrupted",
    "storage_full",
]


class Problem(TypedDict):
    code: Code
    message: str
    details: NotRequired[Details]


class Refusal(TypedDict):
    error: Problem
    request_id: str


class Health(TypedDict):
    status: Literal["ok", "degraded", "unavailable"]
    redis: NotRequired[str]
    reason: NotRequired[str]
