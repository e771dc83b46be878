"""web/disconnect.py: who has left is told of once, early or late."""

from django.http import HttpRequest

from web import disconnect
from web.disconnect import Presence


def test_every_caller_hears_of_it_once() -> None:
    """Everybody who asked hears of it, once."""
    caller, told = Presence(), list[str]()
    caller.when_left(lambda: told.append("a"))
    caller.when_left(lambda: told.append("b"))
    assert (caller.left, told) == (False, [])
    caller.leave()
    caller.leave()
    assert (caller.left, told) == (True, ["a", "b"])


def test_who_asks_late_hears_at_once() -> None:
    """Whoever asks about a caller who has left hears of it at once."""
    caller, told = Presence(), list[str]()
    caller.leave()
    caller.when_left(lambda: told.append("a"))
    assert told == ["a"]


def test_one_for_each_request() -> None:
    """Handler and view mean the same caller."""
    request, other = HttpRequest(), HttpRequest()
    request.scope, other.scope = {}, {}  # type: ignore[attr-defined]
    assert disconnect.of(request) is disconnect.of(request)
    assert disconnect.of(request) is not disconnect.of(other)
