"""Whether a GET with a cookie comes from a page of this service.

For the GET routes that start something. Browsers send the cookie with links, images and frames of other sites too, and
a GET has no CSRF token.
"""

from django.http import HttpRequest

from web.refusals import Forbidden

# What `Sec-Fetch-Site` says about our own pages, and about addresses that the user typed or bookmarked.
_OWN = frozenset({"same-origin", "none"})


def require_own_page(request: HttpRequest) -> None:
    """Raise Forbidden unless a page of ours sent the request.

    Browsers omit `Sec-Fetch-Site` when the page came over plain HTTP from another machine. Then `Accept` decides,
    because images, frames and links cannot name an event stream there.
    """
    site = request.headers.get("Sec-Fetch-Site")
    accepts_events = "text/event-stream" in request.headers.get("Accept", "").lower()
    if not (accepts_events if site is None else site in _OWN):
        raise Forbidden
