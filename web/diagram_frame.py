"""Serve the page in a sandboxed frame that draws the diagrams of completions.

The drawing library needs inline styles, which no page of ours allows, and hostile diagrams may find faults in it. So it
runs in an origin of its own: without cookies, without the network, and without a way into the page around it.
"""

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

POLICY = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [UNSAFE_INLINE],
    "base-uri": [NONE],
    "form-action": [NONE],
    "frame-ancestors": [SELF],
    # Also when the page is opened by itself.
    "sandbox": ["allow-scripts"],
}


@require_safe
@cache_control(no_cache=True)
@xframe_options_sameorigin
@csp(POLICY)
def page(request: HttpRequest) -> HttpResponse:
    """Return the page, which is the same for all callers."""
    return render(request, "diagram.html")
