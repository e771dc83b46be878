"""`GET /api/chat/` for EventSource: always an event stream, never a second paid answer."""

import time
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Event, Product, read_events, text_of
from tests.readers import until_below


def open_source(
    api_user: ApiUser, query: dict[str, Any], *, last_event_id: str = "", **headers: str
) -> tuple[int, list[Event]]:
    """Read `GET /api/chat/` to its end; return the status and the events."""
    seen = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with api_user.client.stream("GET", f"/api/chat/?{urlencode(query)}", headers={**seen, **headers}) as response:
        if response.status_code == 200:
            assert response.headers["Content-Type"].startswith("text/event-stream")
        return response.status_code, list(read_events(response))


def refusal(events: list[Event]) -> str:
    (event,) = events
    assert (event.id, event.name) == ("refused:0", "error")
    assert event.data["message"]
    return str(event.data["code"])


@pytest.mark.contract("GET /api/chat/")
def test_a_question_in_the_query_is_answered(api_user: ApiUser) -> None:
    """A question in the query is answered like a posted one."""
    status, events = open_source(api_user, {"model": "echo", "prompt": "Hello"})
    assert status == 200
    assert (events[0].name, events[-1].name, text_of(events)) == ("start", "done", "Hello")


def test_refusals_are_events(api_user: ApiUser, product: Product) -> None:
    """A refusal comes as an `error` event with the id `refused:0`, and a reconnect after it gets 204."""
    assert refusal(open_source(api_user, {"model": "nope", "prompt": "x"})[1]) == "invalid_request"
    assert refusal(open_source(api_user, {"model": "plain", "prompt": "x", "colour": "red"})[1]) == "invalid_request"
    assert refusal(open_source(api_user, {"model": "plain", "prompt": "x" * 33_000})[1]) == "prompt_too_long"
    nobody = ApiUser(product, "nobody", "no.such.token", "")
    assert refusal(open_source(nobody, {"model": "plain", "prompt": "x"})[1]) == "not_authenticated"
    assert open_source(api_user, {"model": "nope", "prompt": "x"}, last_event_id="refused:0") == (204, [])
    assert api_user.quota()["used_today"] == 0


@pytest.mark.contract("GET /api/chat/")
def test_reconnecting_resumes(api_user: ApiUser) -> None:
    """With Last-Event-ID the rest comes; at the end 204; nothing is asked again."""
    query = {"model": "echo", "prompt": "One two three"}
    events = open_source(api_user, query)[1]
    assert open_source(api_user, query, last_event_id=events[1].id) == (200, events[2:])
    assert open_source(api_user, query, last_event_id=events[-1].id) == (204, [])
    assert api_user.quota()["used_today"] == 1


def test_an_unknown_last_event_id_starts_nothing(api_user: ApiUser) -> None:
    """A reconnect that names a generation which is not the caller's is refused, not answered anew."""
    assert refusal(open_source(api_user, {"model": "plain", "prompt": "x"}, last_event_id="x:1")[1]) == "not_found"
    assert api_user.quota()["used_today"] == 0


@pytest.mark.contract("GET /api/chat/")
def test_the_same_query_joins_the_running_answer(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """Without Last-Event-ID, the same query joins the running generation; later it starts a new one."""
    query = {"model": "paused", "prompt": f"Join {PAUSE}me"}
    path = f"/api/chat/?{urlencode(query)}"
    with api_user.client.stream("GET", path) as response:
        first = next(read_events(response))
    with api_user.client.stream("GET", path) as response:
        events = read_events(response)
        joined = [next(events)]
        upstream.go_on(query["prompt"])
        joined += events
    assert joined[0] == first
    assert joined[-1].name == "done"
    assert api_user.quota()["used_today"] == 1
    upstream.go_on(query["prompt"])
    assert open_source(api_user, query)[1][0].id != first.id
    assert api_user.quota()["used_today"] == 2


def test_a_key_in_the_query(api_user: ApiUser) -> None:
    """`idempotency_key` works as the header does for POST."""
    query = {"model": "echo", "prompt": "Hello", "idempotency_key": "once"}
    assert open_source(api_user, query) == open_source(api_user, query)
    assert refusal(open_source(api_user, {**query, "prompt": "Other"})[1]) == "conflict"


def test_a_ticket_opens_one_stream(api_user: ApiUser, product: Product) -> None:
    """A ticket stands for its owner, on its path, once."""
    ticket = api_user.client.post("/api/tickets/", json={"path": "/api/chat/"}).json()["ticket"]
    anybody = ApiUser(product, "", "", "")
    query = {"model": "echo", "prompt": "Hello", "ticket": ticket}
    generation = open_source(anybody, query)[1][0].data["generation"]
    assert api_user.generation(generation)["content"] == "Hello"
    assert refusal(open_source(anybody, query)[1]) == "not_authenticated"


def test_a_ticket_for_events_may_say_where_to_go_on(api_user: ApiUser, product: Product) -> None:
    """A page that reconnects takes a new ticket and passes `last_event_id`."""
    events = api_user.answer("One two three", "echo")
    path = f"/api/generations/{events[0].data['generation']}/events/"
    ticket = api_user.client.post("/api/tickets/", json={"path": path}).json()["ticket"]
    query = urlencode({"ticket": ticket, "last_event_id": events[1].id})
    with product.client().stream("GET", f"{path}?{query}") as response:
        assert list(read_events(response)) == events[2:]


@pytest.mark.contract("setting: STREAM_PING_SECONDS")
def test_pings_keep_a_silent_stream_open(api_user: ApiUser, product: Product) -> None:
    """A stream opens with a comment at once, before anything was said."""
    delays: list[float] = []
    for _ in until_below(2, delays, most=5):
        started = time.monotonic()
        with api_user.client.stream("GET", f"/api/chat/?{urlencode({'model': 'hang', 'prompt': 'x'})}") as response:
            first = next(response.iter_lines())
        delays.append(time.monotonic() - started)
        assert first == ": open"
    assert min(delays) < 2
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
