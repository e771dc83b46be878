"""Asking and reading: the stream as a program sees it, on both databases."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Event, Product, connected, text_of
from tests.upstreams import FakeOpenAI


@pytest.mark.contract("POST /api/chat/")
def test_an_answer_is_start_deltas_done(api_user: ApiUser) -> None:
    """A completion is `start`, deltas, `done`, with ids that rise by one."""
    events = api_user.answer("Say it", "echo")
    assert [event.name for event in events[:1]] == ["start"]
    assert {event.name for event in events[1:-1]} == {"message"}
    assert events[-1].name == "done"
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert text_of(events) == "Say it"


@pytest.mark.contract("event: start")
def test_start_says_what_was_begun(api_user: ApiUser) -> None:
    """`start` names the generation, the conversation, the model and the title."""
    start = api_user.answer("A title", "plain")[0].data
    assert start == {
        "generation": start["generation"],
        "conversation": start["conversation"],
        "model": "plain",
        "title": "A title",
    }
    assert api_user.client.get(f"/api/conversations/{start['conversation']}/").json()["title"] == "A title"


@pytest.mark.contract("GET /api/generations/{generation_id}/", "event: done")
def test_done_is_what_every_route_says(api_user: ApiUser) -> None:
    """A reader of `done` finds the same text, charge and quota on every route."""
    events = api_user.answer("Hello", "plain")
    done, text = events[-1].data, text_of(events)
    row = api_user.generation(events[0].data["generation"])
    assert (row["status"], row["finish_reason"], row["content"]) == ("completed", "stop", text)
    assert done["charge"] == row["charge"] == {"amount": 1, "source": "daily", "reason": "stop"}
    assert done["usage"] == row["usage"]
    assert done["quota"] == api_user.quota()
    question, answer = api_user.messages(row["conversation"])
    assert (question["role"], question["content"], question["parent"]) == ("user", "Hello", None)
    assert (answer["id"], answer["parent"]) == (done["message"], question["id"])
    assert (answer["content"], answer["generation"], answer["model"]) == (text, row["id"], "plain")


@pytest.mark.contract("POST /api/chat/")
def test_without_event_stream_the_generation_is_returned(api_user: ApiUser) -> None:
    """A client that does not ask for an event stream gets 202 with the generation and the address of its events."""
    answer = api_user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})
    assert answer.status_code == 202
    body = answer.json()
    assert body["generation"]["status"] == "running"
    assert body["events"] == f"/api/generations/{body['generation']['id']}/events/"
    assert text_of(api_user.follow(body["generation"]["id"])) == api_user.ended(body["generation"]["id"])["content"]


@pytest.mark.contract("X-Quota-Remaining, X-Quota-Reset")
def test_reserved_answers_carry_the_quota(api_user: ApiUser) -> None:
    """The response headers state the quota that remains after the generation and when the day ends."""
    answer = api_user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})
    assert int(answer.headers["X-Quota-Remaining"]) == api_user.quota()["remaining"]
    assert 0 < int(answer.headers["X-Quota-Reset"]) - time.time() <= 86_400


@pytest.mark.contract("GET /api/generations/{generation_id}/events/")
def test_every_place_to_resume(api_user: ApiUser) -> None:
    """After any event, the rest comes and nothing twice; after the last, 204."""
    events = api_user.answer("One two three four", "echo")
    generation = events[0].data["generation"]
    assert api_user.follow(generation) == events
    for place, event in enumerate(events[:-1], 1):
        assert api_user.follow(generation, event.id) == events[place:]
    with api_user.following(generation, events[-1].id) as (status, _rest):
        assert status == 204


def test_resume_while_running(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """A reader who left in the middle continues from its last event, while the generation still runs."""
    prompt = PAUSE.join(["resume ", "while it ", "runs"])
    with api_user.asking(prompt, "paused") as stream:
        seen = [next(stream) for _ in range(2)]
    with api_user.following(seen[0].data["generation"], seen[-1].id) as (_status, stream):
        upstream.go_on(prompt, 2)
        rest = list(stream)
    assert [event.number for event in seen + rest] == list(range(1, len(seen + rest) + 1))
    assert text_of(seen + rest) == api_user.generation(seen[0].data["generation"])["content"]


@pytest.mark.contract("GET /api/generations/{generation_id}/events/", "event: reset")
@pytest.mark.parametrize("last_event_id", ["nonsense", "x:1", ":", "{generation}:999999", "{generation}:" + "9" * 40])
def test_unknown_ids_get_a_reset(api_user: ApiUser, last_event_id: str) -> None:
    """An id that is unknown, malformed or too large is answered with `reset`, then what follows."""
    events = api_user.answer("Hello", "echo")
    generation = events[0].data["generation"]
    again = api_user.follow(generation, last_event_id.format(generation=generation))
    assert [event.name for event in again] == ["reset", "done"]
    assert again[0].data == {"content": "Hello", "reasoning": ""}
    assert [event.number for event in again] == [events[-1].number - 1, events[-1].number]
    assert again[-1] == events[-1]


@pytest.mark.contract("GET /api/generations/{generation_id}/events/")
def test_last_event_id_in_the_query(api_user: ApiUser) -> None:
    """`?last_event_id=` does what the header does."""
    events = api_user.answer("Hello", "echo")
    generation = events[0].data["generation"]
    found = api_user.client.get(f"/api/generations/{generation}/events/?last_event_id={events[-1].id}")
    assert found.status_code == 204


@pytest.mark.contract("leaving does not stop")
def test_leaving_does_not_stop(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """After a tab is closed in the middle, the completion is complete in the history, and charged once."""
    before = api_user.quota()["used_today"]
    with api_user.asking("Hello", "quick") as stream:
        generation = next(stream).data["generation"]
        next(stream)
    row = api_user.ended(generation)
    assert (row["status"], row["finish_reason"], row["charge"]["amount"]) == ("completed", "stop", 1)
    assert row["content"] == text_of(api_user.answer("Hello", "quick"))
    assert api_user.quota()["used_today"] == before + 2


@pytest.mark.contract("event: reasoning")
def test_reasoning_is_kept_apart(api_user: ApiUser) -> None:
    """Thinking text comes in events of its own and is stored beside the content."""
    events = api_user.answer("Hello", "reasoning")
    thought = "".join(event.data["content"] for event in events if event.name == "reasoning")
    assert thought
    row = api_user.generation(events[0].data["generation"])
    assert (row["reasoning"], row["content"]) == (thought, text_of(events))


@pytest.mark.contract("events are the same bytes for everybody")
def test_several_readers_see_the_same_bytes(api_user: ApiUser) -> None:
    """Two tabs on one answer get the same events."""
    generation = api_user.ask("Hello", "quick")["id"]
    with api_user.following(generation) as (_status, first), api_user.following(generation) as (_other, second):
        assert list(first) == list(second)


@pytest.mark.contract("event: message")
def test_deltas_are_forwarded_as_they_come(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """Each delta reaches the reader before the upstream sends the next one."""
    first, *others = (f"{number} " for number in range(20))
    prompt = PAUSE.join([first, *others])
    with api_user.asking(prompt, "paused") as stream:
        assert next(stream).name == "start"
        assert next(stream).data["content"] == first
        for delta in others:
            upstream.go_on(prompt)
            assert next(stream).data["content"] == delta
        assert next(stream).name == "done"


def test_the_demo_answers_without_any_vendor(api_user: ApiUser) -> None:
    """`demo` streams Markdown with code, a table and a formula, and says what it is."""
    events = api_user.answer("What can you do?", "demo")
    text = text_of(events)
    assert len(events) > 50
    assert "```" in text
    assert "|---" in text.replace(" ", "")
    assert "$" in text
    assert "demo" in text.lower()
    assert "OPENAI_API_KEYS" in text


def test_conversations_go_on(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A second question is sent with the turns before it and the conversation's system prompt."""
    first = api_user.answer("First", "echo", system_prompt="Be brief")
    conversation = first[0].data["conversation"]
    api_user.answer("Second", "echo", conversation=conversation)
    sent = upstream.requests[-1].body["messages"]
    assert [(turn["role"], turn["content"]) for turn in sent] == [
        ("system", "Be brief"),
        ("user", "First"),
        ("assistant", "First"),
        ("user", "Second"),
    ]
    assert [message["parent"] is None for message in api_user.messages(conversation)] == [True, False, False, False]


@pytest.mark.contract("GET /api/conversations/{conversation_id}/messages/")
def test_parent_makes_a_branch(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """Going on from an earlier message leaves out what came after it."""
    conversation = api_user.answer("First", "echo")[0].data["conversation"]
    api_user.answer("Second", "echo", conversation=conversation)
    answer_to_first = api_user.messages(conversation)[1]["id"]
    api_user.answer("Other", "echo", conversation=conversation, parent=answer_to_first)
    assert [turn["content"] for turn in upstream.requests[-1].body["messages"]] == ["First", "First", "Other"]
    assert api_user.messages(conversation)[4]["parent"] == answer_to_first


def test_parent_zero_is_the_beginning(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """With `parent` 0 a conversation gets another first question, that knows nothing of the other one."""
    conversation = api_user.answer("First", "echo")[0].data["conversation"]
    api_user.answer("Instead", "echo", conversation=conversation, parent=0)
    assert [turn["content"] for turn in upstream.requests[-1].body["messages"]] == ["Instead"]
    messages = api_user.messages(conversation)
    assert [message["content"] for message in messages if message["parent"] is None] == ["First", "Instead"]
    alone = api_user.client.post("/api/chat/", json={"model": "echo", "prompt": "x", "parent": 0})
    assert (alone.status_code, list(alone.json()["error"]["details"])) == (400, ["parent"])


@pytest.mark.contract("POST /api/messages/{message_id}/regenerate/")
def test_regenerate_adds_a_sibling(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """Another answer to the same question stands beside the first, by another model where one is named."""
    events = api_user.answer("Question", "echo")
    first = events[-1].data["message"]
    again = api_user.client.post(f"/api/messages/{first}/regenerate/", json={"model": "plain"})
    assert again.status_code == 202
    row = api_user.ended(again.json()["generation"]["id"])
    messages = api_user.messages(row["conversation"])
    assert [message["role"] for message in messages] == ["user", "assistant", "assistant"]
    assert messages[1]["parent"] == messages[2]["parent"] == messages[0]["id"]
    assert messages[2]["model"] == "plain"
    assert [turn["content"] for turn in upstream.requests[-1].body["messages"]] == ["Question"]


def test_the_same_key_regenerates_once(api_user: ApiUser) -> None:
    """A repeated key returns the same generation with one charge; with another model it is a conflict."""
    first = api_user.ended(api_user.ask("Question", "echo")["id"])
    path, key = f"/api/messages/{first['message']}/regenerate/", {"Idempotency-Key": "again"}
    begun = api_user.ended(api_user.client.post(path, json={}, headers=key).json()["generation"]["id"])
    repeated = api_user.client.post(path, json={}, headers=key)
    assert (repeated.status_code, repeated.json()["generation"]["id"]) == (202, begun["id"])
    assert len(api_user.messages(first["conversation"])) == 3
    assert api_user.quota()["used_today"] == 2
    other = api_user.client.post(path, json={"model": "plain"}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    # The key stands for its generation though the message is gone.
    assert api_user.client.delete(f"/api/messages/{first['message']}/").status_code == 204
    assert api_user.client.post(path, json={}, headers=key).json()["generation"]["id"] == begun["id"]


def test_postgresql_too(on_postgresql: Product) -> None:
    """On PostgreSQL a completion streams, is stored, charged and resumed just the same."""
    api_user = on_postgresql.register("streaming")
    events: list[Event] = api_user.answer("你好，世界 👋", "echo")
    assert text_of(events) == "你好，世界 👋"
    row = api_user.generation(events[0].data["generation"])
    assert (row["content"], row["charge"]["amount"]) == ("你好，世界 👋", 1)
    assert api_user.follow(row["id"], events[1].id) == events[2:]
    conversation = row["conversation"]
    api_user.answer("Again", "echo", conversation=conversation)
    assert len(api_user.messages(conversation)) == 4


@pytest.fixture(params=["sqlite", "postgresql"])
def forgetting(request: pytest.FixtureRequest, upstream: FakeOpenAI, tmp_path: Path) -> Iterator[Product]:
    """The product, which keeps events for a second, on both databases."""
    if request.param == "sqlite":
        yield request.getfixturevalue("forgetful")
        return
    database = request.getfixturevalue("postgres").migrated_database()
    with Product(tmp_path, database, **connected(upstream), CHANNEL_RETENTION_SECONDS="1") as running:
        yield running


@pytest.mark.contract("setting: CHANNEL_RETENTION_SECONDS")
@pytest.mark.server
def test_snapshot_when_the_log_is_gone(forgetting: Product) -> None:
    """When events are no longer kept, the stored text comes as one `reset`, and the end as it was; then still 204.

    The message of a failure is in the language of the user who asked, for every reader.
    """
    api_user = forgetting.register("alice")
    api_user.client.headers["Accept-Language"] = "zh-CN"
    answered, failed = api_user.answer("Hello", "echo"), api_user.answer("Hello", "http-400")
    api_user.answer("What is left changes", "echo")
    api_user.client.headers["Accept-Language"] = "en"
    for events, text in ((answered, "Hello"), (failed, "")):
        again = follow_when_gone(api_user, events[0].data["generation"])
        assert again[0].data == {"content": text, "reasoning": ""}
        assert [event.name for event in again] == ["reset", events[-1].name]
        assert (again[1].id, json.dumps(again[1].data)) == (events[-1].id, json.dumps(events[-1].data))
    assert "，" in failed[-1].data["message"]
    assert (answered[-1].data["quota"]["title"], api_user.quota()["title"]) == ("标准", "Standard")
    with api_user.following(answered[0].data["generation"], answered[-1].id) as (status, _rest):
        assert status == 204


def follow_when_gone(api_user: ApiUser, generation: str) -> list[Event]:
    """Wait until the events of a generation are no longer kept, and return what comes instead."""
    deadline = time.monotonic() + 20
    while (again := api_user.follow(generation))[0].name != "reset":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return again
