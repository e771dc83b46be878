"""web/disconnect.py: who has left is told of once, early or late."""

from django.http import HttpRequest

from web import disconnect
from web.disconnect import Client


def test_every_caller_hears_of_it_once() -> None:
    """Everybody who asked hears of it, once."""
    caller, told = Client(), list[str]()
    caller.on_disconnect(lambda: told.append("a"))
    caller.on_disconnect(lambda: told.append("b"))
    assert (caller.disconnected, told) == (False, [])
    caller.disconnect()
    caller.disconnect()
    assert (caller.disconnected, told) == (True, ["a", "b"])


def test_who_asks_late_hears_at_once() -> None:
    """Whoever asks about a caller who has left hears of it at once."""
    caller, told = Client(), list[str]()
    caller.disconnect()
    caller.on_disconnect(lambda: told.append("a"))
    assert told == ["a"]


def test_one_for_each_request() -> None:
    """Handler and view mean the same caller."""
    request, other = HttpRequest(), HttpRequest()
    request.scope, other.scope = {}, {}  # type: ignore[attr-defined]
    assert disconnect.client_of(request) is disconnect.client_of(request)
    assert disconnect.client_of(request) is not disconnect.client_of(other)
