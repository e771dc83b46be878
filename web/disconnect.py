"""Whether a request's client is still connected, as the handler of event streams reports it."""

from collections.abc import Callable, MutableMapping
from typing import Any

from django.http import HttpRequest


class Client:
    """The client of one request. Only the event loop uses this object."""

    __slots__ = ("_callbacks", "disconnected")

    def __init__(self) -> None:
        self.disconnected = False
        self._callbacks: list[Callable[[], object]] = []

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the client has disconnected, or at once if it already has."""
        if self.disconnected:
            callback()
        else:
            self._callbacks.append(callback)

    def disconnect(self) -> None:
        """Note that the client has disconnected, and run the callbacks once."""
        self.disconnected = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


def client_of(request: HttpRequest) -> Client:
    """Return the client of a request, the same object for its handler and its view."""
    scope: MutableMapping[str, Any] = request.scope  # type: ignore[attr-defined]
    client: Client = scope.setdefault("rivulet.client", Client())
    return client
