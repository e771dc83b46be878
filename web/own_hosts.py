"""The hosts of this service, as browsers compare them.

A completion must not link to this service: the link would act in the user's name.
"""

from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.http import HttpRequest

_DEFAULT_PORTS = {"http": 80, "https": 443}


def own_hosts(request: HttpRequest) -> frozenset[str]:
    """Return the hosts with which the user and PUBLIC_URL reach this service."""
    origins = [f"{request.scheme}://{request.get_host()}", *filter(None, [settings.PUBLIC_URL])]
    return frozenset(filter(None, map(host_of, origins)))


def host_of(url: str) -> str | None:
    """Return the host that a browser reads in a web address, or None for none.

    It is in ASCII, with its port unless that is the scheme's own.
    """
    parts = urlsplit(url)
    try:
        host = unquote(parts.hostname or "").encode("idna").decode().lower()
    except UnicodeError:
        return None
    port = parts.port
    return host if not host or port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"
