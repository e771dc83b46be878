"""Whether the caller of a request is still there; the handler of event streams knows, whatever a view waits for."""

from collections.abc import Callable, MutableMapping
from typing import Any

from django.http import HttpRequest


class Presence:
    """One caller's; all on the event loop."""

    def __init__(self) -> None:
        self.left = False
        self._callbacks: list[Callable[[], object]] = []

    def when_left(self, callback: Callable[[], object]) -> None:
        """Call back once the caller has left; at once when that has happened already."""
        if self.left:
            callback()
        else:
            self._callbacks.append(callback)

    def leave(self) -> None:
        """Tell everybody that the caller has left."""
        self.left = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


def of(request: HttpRequest) -> Presence:
    """Return the presence of a request's caller; it is the same for whoever asks."""
    scope: MutableMapping[str, Any] = request.scope  # type: ignore[attr-defined]
    found: Presence = scope.setdefault("presence", Presence())
    return found
