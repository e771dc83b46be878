"""web/disconnect.py: callbacks for the disconnection of a client."""

from django.http import HttpRequest

from web import disconnect
from web.disconnect import Client


def test_each_callback_is_called_once() -> None:
    """Each callback is called once, when the client disconnects."""
    client, calls = Client(), list[str]()
    client.on_disconnect(lambda: calls.append("a"))
    client.on_disconnect(lambda: calls.append("b"))
    assert (client.disconnected, calls) == (False, [])
    client.disconnect()
    client.disconnect()
    assert (client.disconnected, calls) == (True, ["a", "b"])


def test_a_late_callback_is_called_at_once() -> None:
    """A callback that is added after the disconnection is called at once."""
    client, calls = Client(), list[str]()
    client.disconnect()
    client.on_disconnect(lambda: calls.append("a"))
    assert calls == ["a"]


def test_handler_and_view_share_the_client() -> None:
    """Handler and view of one request get the same object."""
    request, other = HttpRequest(), HttpRequest()
    request.scope, other.scope = {}, {}  # type: ignore[attr-defined]
    assert disconnect.client_of(request) is disconnect.client_of(request)
    assert disconnect.client_of(request) is not disconnect.client_of(other)
