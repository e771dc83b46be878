"""Compress pages, unless the request could make them repeat a text of its own.

The length of a compressed page that contains both a secret and a text of an attacker shows whether the two are alike
(BREACH). A page is therefore compressed only if its request has no query and no body, which pages repeat in links and
forms. Django masks the CSRF token of each page anew, and random bytes blur the length.
"""

import re
from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.text import compress_string

# Bytes below which compression saves no packet.
LEAST_BYTES = 1000
# Most random bytes in the header of a compressed page.
RANDOM_BYTES = 100
_ACCEPTS_GZIP = re.compile(r"(?:^|[,\s])gzip(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")


def compressed_pages(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Compress HTML with gzip where this is safe."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if isinstance(response, HttpResponse) and _is_safe(request, response):
            patch_vary_headers(response, ("Accept-Encoding",))
            if _ACCEPTS_GZIP.search(request.headers.get("Accept-Encoding", "")):
                response.content = compress_string(response.content, max_random_bytes=RANDOM_BYTES)
                response["Content-Length"] = str(len(response.content))
                response["Content-Encoding"] = "gzip"
        return response

    return handle


def _is_safe(request: HttpRequest, response: HttpResponse) -> bool:
    return (
        request.method == "GET"
        and not request.META.get("QUERY_STRING")
        and response.status_code == HTTPStatus.OK
        and response.get("Content-Type", "").startswith("text/html")
        and len(response.content) >= LEAST_BYTES
        and not response.has_header("Content-Encoding")
    )
