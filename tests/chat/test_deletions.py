"""Deleting a message with what follows it, and all conversations at once."""

import pytest

from tests.product import ApiUser

pytestmark = pytest.mark.server


def delete(api_user: ApiUser, message: int) -> int:
    return api_user.client.delete(f"/api/messages/{message}/").status_code


@pytest.mark.contract("DELETE /api/messages/{message_id}/")
def test_what_follows_a_message_goes_with_it(api_user: ApiUser) -> None:
    """A message, all its descendants and their bytes are gone; siblings and charges stay."""
    first = api_user.ended(api_user.ask("One", "echo")["id"])
    conversation = first["conversation"]
    api_user.answer("Two", "echo", conversation=conversation)
    kept = api_user.ended(api_user.ask("Three", "echo", conversation=conversation, parent=first["message"])["id"])
    tree = {
        message["content"]: message["id"] for message in api_user.messages(conversation) if message["role"] == "user"
    }
    used = api_user.quota()["used_today"]
    assert delete(api_user, tree["Two"]) == 204
    assert [message["content"] for message in api_user.messages(conversation)] == ["One", "One", "Three", "Three"]
    assert delete(api_user, tree["Two"]) == 404
    assert delete(api_user, kept["message"]) == 204
    assert [message["content"] for message in api_user.messages(conversation)] == ["One", "One", "Three"]
    row = api_user.generation(kept["id"])
    assert (row["message"], row["content"], row["charge"]["amount"]) == (None, "", 1)
    assert delete(api_user, tree["One"]) == 204
    assert api_user.messages(conversation) == []
    assert api_user.quota()["used_today"] == used
    api_user.answer("Again", "echo", conversation=conversation)
    assert next(message["parent"] for message in api_user.messages(conversation)) is None


def test_a_running_completion_is_not_deleted(api_user: ApiUser) -> None:
    """What is being written has to be stopped first; then the whole branch can go."""
    running = api_user.ask("Wait", "hang")
    prompt = api_user.messages(running["conversation"])[0]["id"]
    refused = api_user.client.delete(f"/api/messages/{prompt}/")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    api_user.stop(running["id"])
    assert delete(api_user, prompt) == 204


@pytest.mark.contract("DELETE /api/conversations/")
def test_all_conversations(api_user: ApiUser) -> None:
    """A body with `confirm` deletes all conversations and stops what runs; without it nothing happens."""
    api_user.answer("One", "echo")
    archived = api_user.ended(api_user.ask("Two", "echo")["id"])["conversation"]
    api_user.client.patch(f"/api/conversations/{archived}/", json={"archived": True, "pinned": True})
    running = api_user.ask("Wait", "hang")
    for body in ({}, {"confirm": False}, {"confirm": "yes"}, {"confirm": 1}, {"confirm": True, "x": 1}):
        refused = api_user.client.request("DELETE", "/api/conversations/", json=body)
        assert refused.status_code == 400, body
    assert len(api_user.client.get("/api/conversations/").json()["results"]) >= 2
    assert api_user.client.request("DELETE", "/api/conversations/", json={"confirm": True}).status_code == 204
    for query in ("", "?archived=1"):
        assert api_user.client.get(f"/api/conversations/{query}").json()["results"] == []
    assert api_user.ended(running["id"])["finish_reason"] == "cancelled"
