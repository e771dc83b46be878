"""`GET /api/chatgpt/test`: what a page of the classic examples reads; tests/browser/test_classic.py is such a page."""

import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import pytest

from chat.events.log import encode
from chat.models import Generation
from chat.openai.classic import Retelling
from tests.product import Person, Product
from tests.scenarios import PLAIN
from tests.upstreams import FakeOpenAI

PATH = "/api/chatgpt/test"
ROW = Generation(id="a" * 32, model="m")


class Told(NamedTuple):
    """One dispatched event, as an EventSource would dispatch it."""

    id: str
    name: str
    data: Any


def told(text: str) -> list[Told]:
    """Parse by the rules of EventSource: an id is kept, a block without data is not dispatched."""
    events, last_id = [], ""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        last_id = fields.get("id", last_id)
        if "data" in fields:
            events.append(Told(last_id, fields.get("event", "message"), json.loads(fields["data"])))
    return events


def text_of(events: list[Told]) -> str:
    """Append what the page would append; anything else than text would show as "undefined"."""
    contents = [event.data["choices"][0]["delta"]["content"] for event in events if event.name == "message"]
    assert all(isinstance(content, str) for content in contents)
    return "".join(contents)


def listen(client: httpx.Client, after: str = "", **query: str) -> httpx.Response:
    headers = {"Last-Event-ID": after} if after else {}
    return client.get(f"{PATH}?{urlencode(query)}", headers=headers)


@pytest.mark.contract("GET /api/chatgpt/test")
def test_it_works(person: Person) -> None:
    """Unnamed events with OpenAI's chunks: text only, with ids, then the end; charged and not kept."""
    answer = listen(person.client, message="Hello 你好", model="echo")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = told(answer.text)
    assert text_of(events) == "Hello 你好"
    assert {event.name for event in events} == {"message"}
    assert events[0].data["object"] == "chat.completion.chunk"
    assert all(re.fullmatch(r"[0-9a-f]{32}:[0-9]+", event.id) for event in events)
    assert "[DONE]" not in answer.text
    row = person.generation(events[0].id.partition(":")[0])
    assert (row["content"], row["conversation"], row["charge"]["amount"]) == ("Hello 你好", None, 1)
    assert person.client.get("/api/conversations/").json()["results"] == []
    assert person.quota()["used_today"] == 1


def test_reasoning_is_left_out(person: Person) -> None:
    """Thinking text is not part of it."""
    assert text_of(told(listen(person.client, message="x", model="reasoning").text)) == PLAIN


@pytest.mark.contract("GET /api/chatgpt/test")
def test_without_a_model(person: Person, upstream: FakeOpenAI) -> None:
    """Without `model` the first of the list that can answer is asked; the demo is the last of it."""
    models = [model["slug"] for model in person.client.get("/api/models/").json() if model["available"]]
    assert models[-1] == "demo"
    events = told(listen(person.client, message="x").text)
    assert events[0].data["model"] == models[0]


def test_reconnecting_resumes(person: Person, upstream: FakeOpenAI) -> None:
    """After any event the rest comes, nothing twice and nothing missing; after the last it is 204; it is asked once."""
    events = told(listen(person.client, message="x", model="quick").text)
    assert len(events) > 3
    asked = len(upstream.requests)
    for place in (0, 1, len(events) // 2):
        rest = told(listen(person.client, events[place].id, message="x", model="quick").text)
        assert text_of(events[: place + 1]) + text_of(rest) == text_of(events)
    assert listen(person.client, events[-1].id, message="x", model="quick").status_code == 204
    assert len(upstream.requests) == asked
    assert person.quota()["used_today"] == 1


def test_reconnecting_before_the_first_text(person: Person) -> None:
    """A line that breaks before anything was said is taken up again: the id was there before the text."""
    with person.client.stream("GET", f"{PATH}?{urlencode({'message': 'x', 'model': 'paced'})}") as response:
        first = next(response.iter_text())
    (seen,) = re.findall(r"id: (\w+:0)\n\n", first)
    with person.client.stream("GET", f"{PATH}?message=x&model=paced", headers={"Last-Event-ID": seen}) as response:
        assert re.findall(r"id: (\w+:0)\n\n", next(response.iter_text())) == [seen]
    assert person.quota()["used_today"] == 1
    person.stop(seen.partition(":")[0])


def test_the_same_query_joins_the_running_answer(person: Person) -> None:
    """Without an id, the same person's same query joins the answer that is still running, even without a model."""
    with person.client.stream("GET", f"{PATH}?message=x&model=quick") as response:
        first = next(response.iter_text())
        joined = listen(person.client, message="x", model="quick").text
    assert re.findall(r"id: (\w+):0", joined) == re.findall(r"id: (\w+):0", first)
    assert person.quota()["used_today"] == 1


def test_refusals_are_events(person: Person, product: Product) -> None:
    """What is refused is an `error` event of code and message; a reconnect after it gets 204."""

    def refused(answer: httpx.Response) -> str:
        assert answer.status_code == 200
        (event,) = told(answer.text)
        assert (event.id, event.name, set(event.data)) == ("refused:0", "error", {"code", "message"})
        return str(event.data["code"])

    assert refused(listen(person.client)) == "invalid_request"
    assert refused(listen(person.client, message="x", model="nope")) == "invalid_request"
    assert refused(listen(person.client, message="x" * 33_000)) == "prompt_too_long"
    assert refused(listen(product.client(), message="x")) == "not_authenticated"
    assert refused(listen(person.client, "nonsense", message="x")) == "not_found"
    assert refused(listen(person.client, f"{'a' * 32}:0", message="x")) == "not_found"
    cross_site = person.client.get(f"{PATH}?message=x", headers={"Sec-Fetch-Site": "cross-site"})
    assert refused(cross_site) == "forbidden"
    assert listen(person.client, "refused:0", message="x").status_code == 204
    assert person.client.post(PATH).status_code == 405
    assert person.quota()["used_today"] == 0


def test_a_failure_is_an_event(person: Person) -> None:
    """What fails ends with an `error` event behind the text; a reconnect after it gets 204, one before it the event."""
    *texts, failure = told(listen(person.client, message="x", model="error").text)
    assert text_of(texts) == "one two three "
    assert (failure.name, set(failure.data), failure.data["code"]) == ("error", {"code", "message"}, "upstream_error")
    assert listen(person.client, failure.id, message="x").status_code == 204
    assert told(listen(person.client, texts[-1].id, message="x").text) == [failure]
    assert person.quota()["used_today"] == 0


def test_a_ticket(person: Person, product: Product) -> None:
    """A ticket stands for its owner, once."""
    ticket = person.client.post("/api/tickets/", json={"path": PATH}).json()["ticket"]
    assert text_of(told(listen(product.client(), message="Hi", model="echo", ticket=ticket).text)) == "Hi"
    assert told(listen(product.client(), message="Hi", ticket=ticket).text)[0].data["code"] == "not_authenticated"


# --- telling our events differently ----------------------------------------------------------------------------------


def retold(seen: int, *events: tuple[str, Any]) -> list[Told]:
    retelling = Retelling(ROW, seen)
    stream = b": open\n\n" + b"".join(encode(ROW.id, n, name, data) for n, (name, data) in enumerate(events, 1))
    return told(retelling.tell(stream).decode())


@pytest.mark.parametrize("seen", range(8))
def test_every_place(seen: int) -> None:
    """Whatever the page has, it gets what follows, from deltas and from a `reset` alike."""
    whole = "你好, 👋 x"
    deltas = [("message", {"content": piece}) for piece in ("你", "好, ", "👋 ", "x")]
    end = ("done", {})
    assert text_of(retold(seen, ("start", {}), *deltas, end)) == whole[seen:]
    assert text_of(retold(seen, ("reset", {"content": whole, "reasoning": "hm"}), end)) == whole[seen:]
    assert text_of(retold(seen, ("reset", {"content": whole[:4], "reasoning": ""}), *deltas[2:], end)) == whole[seen:]


def test_white_space_waits() -> None:
    """White space in front may be withdrawn before another attempt, so it waits for the first visible character."""
    space, reset = ("message", {"content": " \n"}), ("reset", {"content": "", "reasoning": ""})
    assert retold(0, space) == []
    assert text_of(retold(0, space, reset, ("message", {"content": "Hi"}))) == "Hi"
    assert text_of(retold(0, space, ("message", {"content": "Hi"}))) == " \nHi"
    assert text_of(retold(0, space, ("done", {}))) == " \n"


def test_withdrawn_text() -> None:
    """Text that was withdrawn after it was seen cannot be called back; nothing follows it."""
    events = retold(0, ("message", {"content": "bad"}), ("reset", {"content": "", "reasoning": ""}), ("done", {}))
    assert text_of(events) == "bad"
