"""`GET /api/chatgpt/test`, as a page of the classic examples reads it; tests/browser/test_classic.py is such a page."""

import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import pytest

from chat.models import Generation
from chat.openai.classic import ClassicFormat
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product
from tests.scenarios import PLAIN
from tests.upstreams import FakeOpenAI

PATH = "/api/chatgpt/test"
ROW = Generation(id="a" * 32, model="m")


class Dispatched(NamedTuple):
    """One dispatched event, as an EventSource would dispatch it."""

    id: str
    name: str
    data: Any


def dispatched(text: str) -> list[Dispatched]:
    """Parse by the rules of EventSource: an id is kept, a block without data is not dispatched."""
    events, last_id = [], ""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        last_id = fields.get("id", last_id)
        if "data" in fields:
            events.append(Dispatched(last_id, fields.get("event", "message"), json.loads(fields["data"])))
    return events


def text_of(events: list[Dispatched]) -> str:
    """Append what the page would append; anything else than text would show as "undefined"."""
    contents = [event.data["choices"][0]["delta"]["content"] for event in events if event.name == "message"]
    assert all(isinstance(content, str) for content in contents)
    return "".join(contents)


def listen(client: httpx.Client, after: str = "", **query: str) -> httpx.Response:
    headers = {"Last-Event-ID": after} if after else {}
    return client.get(f"{PATH}?{urlencode(query)}", headers=headers)


@pytest.mark.contract("GET /api/chatgpt/test")
def test_unnamed_events_with_chunks(api_user: ApiUser) -> None:
    """The chunks have text only; the completion is charged and not kept."""
    answer = listen(api_user.client, message="Hello 你好", model="echo")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = dispatched(answer.text)
    assert text_of(events) == "Hello 你好"
    assert {event.name for event in events} == {"message"}
    assert events[0].data["object"] == "chat.completion.chunk"
    assert all(re.fullmatch(r"[0-9a-f]{32}:[0-9]+", event.id) for event in events)
    assert "[DONE]" not in answer.text
    row = api_user.generation(events[0].id.partition(":")[0])
    assert (row["content"], row["conversation"], row["charge"]["amount"]) == ("Hello 你好", None, 1)
    assert api_user.client.get("/api/conversations/").json()["results"] == []
    assert api_user.quota()["used_today"] == 1


def test_reasoning_is_left_out(api_user: ApiUser) -> None:
    """Events have content only."""
    assert text_of(dispatched(listen(api_user.client, message="x", model="reasoning").text)) == PLAIN


@pytest.mark.contract("GET /api/chatgpt/test")
def test_without_a_model(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """Without `model` the request goes to the first available model; the demo is the last one."""
    models = [model["slug"] for model in api_user.client.get("/api/models/").json() if model["available"]]
    assert models[-1] == "demo"
    events = dispatched(listen(api_user.client, message="x").text)
    assert events[0].data["model"] == models[0]


def test_reconnecting_resumes(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """After any event the rest comes; after the last it is 204; the upstream gets one request."""
    words = [f"word {number} " for number in range(5)]
    query = {"message": PAUSE.join(words), "model": "paused"}
    with api_user.client.stream("GET", f"{PATH}?{urlencode(query)}") as response:
        texts, text = response.iter_text(), ""
        for number, word in enumerate(words):
            if number:
                upstream.go_on(query["message"])
            while word not in text_of(dispatched(text.rpartition("\n\n")[0])):
                text += next(texts)
        events = dispatched(text + "".join(texts))
    assert len(events) >= len(words)
    for place in (0, 1, len(events) // 2):
        rest = dispatched(listen(api_user.client, events[place].id, **query).text)
        assert text_of(events[: place + 1]) + text_of(rest) == text_of(events) == "".join(words)
    assert listen(api_user.client, events[-1].id, **query).status_code == 204
    assert len(upstream.asked(query["message"])) == 1
    assert api_user.quota()["used_today"] == 1


def test_reconnecting_before_the_first_text(api_user: ApiUser) -> None:
    """A connection that breaks before the first text is resumed, because the id came before the text."""
    path = f"{PATH}?{urlencode({'message': 'x', 'model': 'endless'})}"
    with api_user.client.stream("GET", path) as response:
        first = next(response.iter_text())
    (seen,) = re.findall(r"id: (\w+:0)\n\n", first)
    with api_user.client.stream("GET", path, headers={"Last-Event-ID": seen}) as response:
        assert re.findall(r"id: (\w+:0)\n\n", next(response.iter_text())) == [seen]
    assert api_user.quota()["used_today"] == 1
    api_user.stop(seen.partition(":")[0])


def test_the_same_query_joins_the_running_generation(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """Without an id, the same user's same query joins the generation that still runs."""
    message = f"join {PAUSE}me"
    path = f"{PATH}?{urlencode({'message': message, 'model': 'paused'})}"
    with api_user.client.stream("GET", path) as response:
        first = next(response.iter_text())
        with api_user.client.stream("GET", path) as second:
            texts = second.iter_text()
            joined = next(texts)
            upstream.go_on(message)
            joined += "".join(texts)
    assert re.findall(r"id: (\w+):0", joined) == re.findall(r"id: (\w+):0", first)
    assert api_user.quota()["used_today"] == 1


def test_refusals_are_events(api_user: ApiUser, product: Product) -> None:
    """A refusal is an `error` event with code and message; a reconnect after it gets 204."""

    def refused(answer: httpx.Response) -> str:
        assert answer.status_code == 200
        (event,) = dispatched(answer.text)
        assert (event.id, event.name, set(event.data)) == ("refused:0", "error", {"code", "message"})
        return str(event.data["code"])

    assert refused(listen(api_user.client)) == "invalid_request"
    assert refused(listen(api_user.client, message="x", model="nope")) == "invalid_request"
    assert refused(listen(api_user.client, message="x" * 33_000)) == "prompt_too_long"
    assert refused(listen(product.client(), message="x")) == "not_authenticated"
    assert refused(listen(api_user.client, "nonsense", message="x")) == "not_found"
    assert refused(listen(api_user.client, f"{'a' * 32}:0", message="x")) == "not_found"
    assert listen(api_user.client, "refused:0", message="x").status_code == 204
    assert api_user.client.post(PATH).status_code == 405
    assert api_user.quota()["used_today"] == 0


def test_a_failure_is_an_event(api_user: ApiUser) -> None:
    """The `error` event comes after the text; a reconnect after it gets 204, one before it gets the event."""
    *texts, failure = dispatched(listen(api_user.client, message="x", model="error").text)
    assert text_of(texts) == "one two three "
    assert (failure.name, set(failure.data), failure.data["code"]) == ("error", {"code", "message"}, "upstream_error")
    assert listen(api_user.client, failure.id, message="x").status_code == 204
    assert dispatched(listen(api_user.client, texts[-1].id, message="x").text) == [failure]
    assert api_user.quota()["used_today"] == 0


def test_a_ticket(api_user: ApiUser, product: Product) -> None:
    """A ticket authenticates its owner, once."""
    ticket = api_user.client.post("/api/tickets/", json={"path": PATH}).json()["ticket"]
    assert text_of(dispatched(listen(product.client(), message="Hi", model="echo", ticket=ticket).text)) == "Hi"
    assert dispatched(listen(product.client(), message="Hi", ticket=ticket).text)[0].data["code"] == "not_authenticated"


# --- the format -------------------------------------------------------------------------------------------------------


class Page:
    """A page that has the first `chars` characters: takes what waits after each event."""

    def __init__(self, chars: int = 0) -> None:
        self.format, self.events = ClassicFormat(ROW, chars), list[Dispatched]()

    def publish(self, *events: tuple[str, Any]) -> "Page":
        for name, data in events:
            if name in {"done", "error"}:
                self.format.complete(name, data)
            else:
                self.format.publish(name, data)
            self.events += dispatched(self.format.take().decode())
        return self

    @property
    def text(self) -> str:
        return text_of(self.events)


def message(text: str) -> tuple[str, Any]:
    return "message", {"role": "assistant", "content": text}


def reset(content: str = "") -> tuple[str, Any]:
    return "reset", {"content": content, "reasoning": "hm"}


DONE: tuple[str, Any] = ("done", {})


@pytest.mark.parametrize("chars", range(8))
def test_text_continues_at_every_place(chars: int) -> None:
    """Whatever the page has, it gets the rest, from deltas and from a `reset` alike."""
    whole = "你好, 👋 x"
    deltas = [message(piece) for piece in ("你", "好, ", "👋 ", "x")]
    assert Page(chars).publish(("start", {}), *deltas, DONE).text == whole[chars:]
    assert Page(chars).publish(reset(whole), DONE).text == whole[chars:]
    assert Page(chars).publish(reset(whole[:4]), *deltas[2:], DONE).text == whole[chars:]


def test_text_that_waits_goes_out_in_one_event() -> None:
    """Its id counts all characters."""
    page = Page()
    for text in ("Hel", "lo"):
        page.format.publish(*message(text))
    (event,) = dispatched(page.format.take().decode())
    assert (event.id, text_of([event])) == (f"{ROW.id}:5", "Hello")


def test_leading_white_space_waits_for_text() -> None:
    """It may be withdrawn before another attempt, and sent text cannot be withdrawn."""
    space = message(" \n")
    assert Page().publish(space).events == []
    assert Page().publish(space, reset(), message("Hi")).text == "Hi"
    assert Page().publish(space, message("Hi")).text == " \nHi"
    assert Page().publish(space, DONE).text == " \n"


def test_nothing_follows_withdrawn_text() -> None:
    """Text that was withdrawn after the page had it cannot be replaced there."""
    assert Page().publish(message("bad"), reset(), DONE).text == "bad"


def test_a_failure_has_an_id_behind_all_text() -> None:
    page = Page(3).publish(reset("abc"), ("error", {"code": "interrupted", "message": "Gone.", "charge": None}))
    assert page.events == [Dispatched(f"{ROW.id}:4", "error", {"code": "interrupted", "message": "Gone."})]
