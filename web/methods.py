"""One route for several HTTP methods, for plain async views."""

from collections.abc import Callable, Coroutine
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from web.refusals import MethodNotAllowed

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def methods(**views: View) -> View:
    """Return one view that chooses by method; other methods are refused with 405.

    HEAD is one of them where it is named: a GET may start something, as an EventSource's does.
    """

    async def choose(request: HttpRequest, **kwargs: object) -> HttpResponseBase:
        view = views.get(request.method or "")
        if view is None:
            raise MethodNotAllowed(sorted(views))
        return await view(request, **kwargs)

    # Where the API's description finds them.
    vars(choose)["views"] = {name: view for name, view in views.items() if name != "HEAD"}
    return choose
