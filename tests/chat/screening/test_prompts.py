"""Sensitive words in prompts: refused before anything is stored, or masked in all that is stored and sent."""

from typing import Any

import pytest

from tests.chat.screening.conftest import Hits, Lister, Speaker
from tests.product import ApiUser, read_events


def refused(api_user: ApiUser, prompt: str, key: str = "", **body: Any) -> dict[str, Any]:
    """Send a prompt that must be refused; return the error."""
    answer = api_user.client.post(
        "/api/chat/", json={"model": "plain", "prompt": prompt, **body}, headers={"Idempotency-Key": key} if key else {}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "content_blocked"), answer.text
    return dict(answer.json()["error"])


@pytest.mark.contract("sensitive words in prompts")
def test_a_blocked_prompt_is_refused(newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """A blocked prompt is refused without storing, sending or charging; the attempt is counted."""
    word = listed("forbidden fruit", "block")
    asked = len(speaker.requests)
    error = refused(newcomer, "Tell me about the ＦＯＲＢＩＤＤＥＮ-fruit", key="once")
    assert error["message"]
    assert "fruit" not in str(error)
    assert newcomer.client.get("/api/conversations/").json()["results"] == []
    assert newcomer.quota()["used_today"] == 0
    assert len(speaker.requests) == asked
    assert hits(newcomer.name) == (1, [(word, "input", None)])
    assert newcomer.ask("Tell me about apples", "plain", key="once")["status"] == "running"


@pytest.mark.contract("sensitive words in prompts")
def test_masked(newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """Words are masked in message, title and prompt; a repeat returns the same generation."""
    word = listed("萨德", "mask", "input")
    speaker.say("萨德 is not masked in answers")
    first = newcomer.ask("薩 德是什么？", "plain", key="k", system_prompt="Be 萨德")
    newcomer.ended(first["id"])
    messages = speaker.sent_for("***是什么？")
    assert messages[0] == {"role": "system", "content": "Be **"}
    conversation = newcomer.client.get(f"/api/conversations/{first['conversation']}/").json()
    assert (conversation["title"], conversation["system_prompt"]) == ("***是什么？", "Be **")
    stored = newcomer.messages(first["conversation"])
    assert [message["content"] for message in stored] == ["***是什么？", "萨德 is not masked in answers"]
    assert newcomer.ask("薩 德是什么？", "plain", key="k", system_prompt="Be 萨德")["id"] == first["id"]
    assert hits(newcomer.name) == (0, [(word, "input", first["id"])])


@pytest.mark.contract("sensitive words in prompts")
def test_earlier_turns(newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """Words listed later are masked in prompts of old conversations, which stay unchanged."""
    speaker.say("An answer about walnuts")
    first = newcomer.ask("What are walnuts?", "plain", system_prompt="Speak of walnuts")
    newcomer.ended(first["id"])
    answer = newcomer.messages(first["conversation"])[1]["id"]
    listed("walnuts", "block")
    speaker.say("Nothing more.")
    second = newcomer.ask("And then?", "plain", conversation=first["conversation"])
    newcomer.ended(second["id"])
    assert [message["content"] for message in speaker.sent_for("And then?")] == [
        *("Speak of *******", "What are *******?", "An answer about *******", "And then?")
    ]
    again = newcomer.client.post(f"/api/messages/{answer}/regenerate/", json={})
    assert again.status_code == 202
    newcomer.ended(again.json()["generation"]["id"])
    assert speaker.sent_for("What are *******?")[0]["content"] == "Speak of *******"
    assert newcomer.messages(first["conversation"])[0]["content"] == "What are walnuts?"
    assert hits(newcomer.name) == (0, [])


def test_system_prompts_are_refused_too(newcomer: ApiUser, listed: Lister) -> None:
    """A blocked word in a new or changed system prompt refuses the prompt."""
    speaking = newcomer.ask("Hello", "plain", system_prompt="Be brief")
    newcomer.ended(speaking["id"])
    listed("walnuts", "block", "input")
    refused(newcomer, "Hello", system_prompt="Speak of walnuts")
    refused(newcomer, "Hello", system_prompt="Speak of walnuts", conversation=speaking["conversation"])
    conversation = newcomer.client.get(f"/api/conversations/{speaking['conversation']}/").json()
    assert conversation["system_prompt"] == "Be brief"


def test_event_source(newcomer: ApiUser, listed: Lister) -> None:
    """The GET route reports the refusal as an event."""
    listed("walnuts", "block")
    with newcomer.client.stream("GET", "/api/chat/", params={"model": "plain", "prompt": "walnuts"}) as response:
        (event,) = read_events(response)
    assert (event.id, event.name, event.data["code"]) == ("refused:0", "error", "content_blocked")
    assert event.data["charge"]["amount"] == 0


@pytest.mark.contract("PATCH /api/conversations/{conversation_id}/")
def test_titles_that_are_changed(newcomer: ApiUser, listed: Lister, hits: Hits) -> None:
    """A changed title or system prompt is screened like a prompt."""
    conversation = newcomer.ask("Hello", "plain")["conversation"]
    path = f"/api/conversations/{conversation}/"
    masked, blocked = listed("hazelnuts", "mask"), listed("walnuts", "block")
    changed = newcomer.client.patch(path, json={"title": "On hazelnuts", "pinned": True})
    assert (changed.status_code, changed.json()["title"], changed.json()["pinned"]) == (200, "On *********", True)
    answer = newcomer.client.patch(path, json={"system_prompt": "Speak of wal-nuts", "pinned": False})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "content_blocked")
    schema = newcomer.client.get("/api/schema/", headers={"Accept": "application/json"}).json()
    assert "422" in schema["paths"]["/api/conversations/{conversation_id}/"]["patch"]["responses"]
    kept = newcomer.client.get(path).json()
    assert (kept["system_prompt"], kept["pinned"]) == ("", True)
    assert hits(newcomer.name) == (1, [(masked, "input", None), (blocked, "input", None)])
