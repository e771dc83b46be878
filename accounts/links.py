"""Absolute links in mails and invitations.

They begin with PUBLIC_URL, else with the request's host and port if both are allowed. A client can send any port in the
Host header, and a link to another port of the host would lead to another program.
"""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest


def absolute(request: HttpRequest, path: str) -> str:
    """Return the absolute address of a path of ours."""
    return f"{_origin(request)}{path}"


def trusted(request: HttpRequest, url: str) -> str:
    """Return an address that a package made from the request as a safe link."""
    parts = urlsplit(url)
    return absolute(request, parts._replace(scheme="", netloc="").geturl())


def _origin(request: HttpRequest) -> str:
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    origin = f"{request.scheme}://{request.get_host()}"  # get_host() refuses hosts that are not allowed
    parts, listening = urlsplit(origin), request.META.get("SERVER_PORT", "")
    if parts.port is None or str(parts.port) == listening or origin in settings.CSRF_TRUSTED_ORIGINS:
        return origin
    host = parts.netloc.rpartition(":")[0]
    return f"{request.scheme}://{host}:{listening}" if listening.isdigit() else f"{request.scheme}://{host}"
