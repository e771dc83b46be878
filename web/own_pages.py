"""Whether a GET with a cookie comes from a page of this service.

For the GET routes that start something. Browsers send the cookie with links, images and frames of other sites too, and
a GET has no CSRF token.
"""

from django.http import HttpRequest

from web.refusals import Forbidden


def require_own_page(request: HttpRequest) -> None:
    """Raise Forbidden unless a script of ours or the address bar sent the request.

    Browsers omit `Sec-Fetch-Site` when the page came over plain HTTP from another machine. Then `Accept` decides,
    because images, frames and links cannot name an event stream there.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        is_own = "text/event-stream" in request.headers.get("Accept", "").lower()
    else:
        is_own = site == "none" or (site == "same-origin" and _is_by_script(request))
    if not is_own:
        raise Forbidden


def _is_by_script(request: HttpRequest) -> bool:
    """Return False for links, frames and images, whose addresses a completion may choose."""
    mode, destination = (request.headers.get(f"Sec-Fetch-{name}") for name in ("Mode", "Dest"))
    return mode != "navigate" and destination in (None, "empty")
