"""`POST /api/messages/<id>/continue/`: a completion that ended early goes on in the same message."""

import secrets
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from chat.generations.continuation import INSTRUCTION
from tests.product import ApiUser, Event, Product, read_events, text_of
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server


def cut_off(api_user: ApiUser, **body: Any) -> dict[str, Any]:
    """Return a generation that ended with `length`."""
    row = api_user.ended(api_user.ask("Tell me", "too-long", **body)["id"])
    assert (row["finish_reason"], row["content"]) == ("length", "some text")
    return row


def go_on(api_user: ApiUser, message: int, key: str = "") -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return api_user.client.post(f"/api/messages/{message}/continue/", json={}, headers=headers)


def continued(api_user: ApiUser, message: int) -> list[Event]:
    """Continue a message; return the events to the end."""
    with api_user.client.stream(
        "POST", f"/api/messages/{message}/continue/", json={}, headers={"Accept": "text/event-stream"}
    ) as response:
        assert response.status_code == 200
        return list(read_events(response))


def bytes_kept(product: Product, name: str) -> int:
    with closing(sqlite3.connect(product.var_dir / "rivulet.sqlite3")) as database:
        user = "SELECT id FROM accounts_user WHERE username = ?"
        found = database.execute(f"SELECT conversations FROM chat_storageuse WHERE user_id = ({user})", [name])
        return int(found.fetchone()[0])


@pytest.mark.contract("POST /api/messages/{message_id}/continue/")
def test_the_text_grows_in_the_same_message(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """The continuation is appended and charged; each generation keeps its own part."""
    first = cut_off(api_user)
    used, kept = api_user.quota()["used_today"], bytes_kept(api_user.product, api_user.name)
    events = continued(api_user, first["message"])
    assert events[0].data["continues"] == {"message": first["message"], "content_from": 9, "reasoning_from": 0}
    assert (events[-1].data["message"], events[-1].data["charge"]["amount"]) == (first["message"], 1)
    assert text_of(events) == "some text"
    assert api_user.quota()["used_today"] == used + 1
    messages = api_user.messages(first["conversation"])
    assert [message["content"] for message in messages] == ["Tell me", "some textsome text"]
    assert messages[1]["generation"] == events[0].data["generation"] != first["id"]
    assert bytes_kept(api_user.product, api_user.name) == kept + len("some text")
    for generation in (first["id"], messages[1]["generation"]):
        row = api_user.generation(generation)
        assert (row["content"], row["message"], row["status"]) == ("some text", first["message"], "completed")
    assert text_of(api_user.follow(first["id"])) == "some text"
    sent = upstream.asked(INSTRUCTION)[-1].body["messages"]
    assert sent == [
        {"role": "user", "content": "Tell me"},
        {"role": "assistant", "content": "some text"},
        {"role": "user", "content": INSTRUCTION},
    ]


def test_the_next_prompt_sends_the_whole_text(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A further continuation and the next prompt see one assistant turn."""
    first = cut_off(api_user)
    continued(api_user, first["message"])
    continued(api_user, first["message"])
    assert upstream.asked(INSTRUCTION)[-1].body["messages"][1]["content"] == "some text" * 2
    api_user.answer("And then?", "plain", conversation=first["conversation"])
    turns = [(turn["role"], turn["content"]) for turn in upstream.asked("And then?")[-1].body["messages"]]
    assert turns == [("user", "Tell me"), ("assistant", "some text" * 3), ("user", "And then?")]


def test_only_what_ended_early_goes_on(api_user: ApiUser) -> None:
    """A whole, a failed, a running and an imported completion are refused, and nothing is charged."""
    whole = api_user.ended(api_user.ask("Hello", "plain")["id"])
    failed = api_user.ended(api_user.ask("Hello", "cut")["id"])
    running = api_user.ask("Hello", "hang-after-headers")
    used = api_user.quota()["used_today"]
    for row in (whole, failed, running):
        refused = go_on(api_user, row["message"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        assert "ended early" in refused.json()["error"]["message"]
    assert api_user.quota()["used_today"] == used
    api_user.stop(running["id"])
    prompt = api_user.messages(whole["conversation"])[0]["id"]
    assert go_on(api_user, prompt).status_code == 404
    unknown = api_user.client.post(f"/api/messages/{whole['message']}/continue/", json={"model": "plain"})
    assert (unknown.status_code, list(unknown.json()["error"]["details"])) == (400, ["model"])


def test_a_stopped_completion_goes_on(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A message without text is asked for once more; a running continuation can be stopped too."""
    prompt = f"Say {secrets.token_hex(8)}"
    asked = api_user.ask(prompt, "hang-after-headers")["id"]
    wait_until(lambda: bool(upstream.asked(prompt)))
    empty = api_user.stop(asked)
    assert (empty["finish_reason"], empty["content"]) == ("cancelled", "")
    again = go_on(api_user, empty["message"]).json()["generation"]
    assert again["message"] == empty["message"]
    wait_until(lambda: len(upstream.asked(prompt)) == 2)
    stopped = api_user.stop(again["id"])
    assert stopped["finish_reason"] == "cancelled"
    assert [turn["content"] for turn in upstream.asked(prompt)[-1].body["messages"]] == [prompt]
    assert len(api_user.messages(empty["conversation"])) == 2


def test_an_interrupted_completion_goes_on(api_user: ApiUser) -> None:
    """The text that was kept when a process died can be continued, and the continuation is charged."""
    first = cut_off(api_user)
    ended = "UPDATE chat_generation SET status = 'interrupted', finish_reason = NULL WHERE id = ?"
    api_user.product.sql(ended, first["id"])
    begun = api_user.ended(go_on(api_user, first["message"]).json()["generation"]["id"])
    assert (begun["message"], begun["charge"]["amount"]) == (first["message"], 1)
    assert api_user.messages(first["conversation"])[1]["content"] == "some text" * 2


def test_the_same_key_continues_once(api_user: ApiUser) -> None:
    """A repeated key returns the same generation, and another request with it is a conflict."""
    first, key = cut_off(api_user), "once-more"
    begun = go_on(api_user, first["message"], key).json()["generation"]
    api_user.ended(begun["id"])
    repeated = go_on(api_user, first["message"], key)
    assert (repeated.status_code, repeated.json()["generation"]["id"]) == (202, begun["id"])
    assert api_user.messages(first["conversation"])[1]["content"] == "some text" * 2
    body = {"model": "plain", "prompt": "x"}
    other = api_user.client.post("/api/chat/", json=body, headers={"Idempotency-Key": key})
    assert other.status_code == 409


def test_while_it_runs_the_message_has_both_parts(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """Message and generation show their texts; a stop keeps both parts, and charges."""
    row = api_user.ask("Count", "endless")
    with api_user.following(row["id"]) as (_status, events):
        next(event for event in events if event.name == "message")
    first = api_user.stop(row["id"])
    begun = go_on(api_user, first["message"]).json()["generation"]
    with api_user.following(begun["id"]) as (_status, events):
        next(event for event in events if event.name == "message")
    message = api_user.messages(first["conversation"])[1]
    assert message["content"].startswith(first["content"])
    second = api_user.stop(begun["id"])
    assert second["charge"]["amount"] == 1
    assert api_user.messages(first["conversation"])[1]["content"] == first["content"] + second["content"]
    assert api_user.generation(first["id"])["content"] == first["content"]


def test_an_earlier_generation_of_a_deleted_conversation(api_user: ApiUser) -> None:
    """Nothing of a continued message is left after its conversation is deleted."""
    first = cut_off(api_user)
    continued(api_user, first["message"])
    assert api_user.client.delete(f"/api/conversations/{first['conversation']}/").status_code == 204
    row = api_user.generation(first["id"])
    assert (row["content"], row["message"], row["charge"]["amount"]) == ("", None, 1)
