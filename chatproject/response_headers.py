"""Headers of all responses, of pages and streams: the request's id, caching, `Vary` and HSTS."""

from collections.abc import Iterable
from typing import Any

from csp.utils import build_policy
from django.conf import settings

Header = tuple[bytes, bytes]

# Paths whose content depends on the caller.
_PERSONAL = ("/api/", "/sse/", "/v1/")
# Documents below them that are the same for all callers, and may be kept.
_SHARED = ("/api/schema/", "/api/docs/")


def constant() -> list[Header]:
    """Return the headers that SecurityMiddleware, XFrameOptionsMiddleware and django-csp set for pages."""
    headers = {
        "content-security-policy": build_policy(),
        "x-content-type-options": "nosniff",
        "referrer-policy": settings.SECURE_REFERRER_POLICY,
        "cross-origin-opener-policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "x-frame-options": settings.X_FRAME_OPTIONS,
    }
    return [(name.encode(), str(value).encode()) for name, value in headers.items()]


def completed(scope: dict[str, Any], headers: Iterable[Header], constants: Iterable[Header] = ()) -> list[Header]:
    """Return the headers of a response, and those that it lacks.

    A response without a caching rule of its own must not be kept, because it may be private. `Vary` names what
    identifies the caller, for caches that keep it nevertheless. HSTS counts over HTTPS only.
    """
    done = [*headers, (b"x-request-id", scope["request_id"].encode())]
    if scope["path"].startswith("/v1/messages"):
        done.append((b"request-id", scope["request_id"].encode()))  # the name that Anthropic's clients look for
    names = {name.lower() for name, _value in done}
    done += [header for header in constants if header[0] not in names]
    if b"cache-control" not in names:
        done.append((b"cache-control", b"no-store"))
    if scope["path"].startswith(_PERSONAL) and not scope["path"].startswith(_SHARED):
        named = b",".join(value for name, value in done if name.lower() == b"vary").lower()
        missing = [name for name in (b"Cookie", b"Authorization") if name.lower() not in named]
        done += [(b"vary", b", ".join(missing))] if missing else []
    if scope.get("scheme") == "https" and settings.HSTS_SECONDS:
        done.append((b"strict-transport-security", b"max-age=%d" % settings.HSTS_SECONDS))
    return done
