"""The document of all our routes, made once."""

from functools import cache
from typing import Any

from django.urls import get_resolver

from web import openapi


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document, which is the same for all callers."""
    return openapi.document(get_resolver().url_patterns)
