"""Temporary conversations: used by their owner, found nowhere, and deleted a day after their last message."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from chat import housekeeping
from chat.models import Conversation, Message, StorageUse
from tests.product import ApiUser


@pytest.mark.server
@pytest.mark.contract("temporary conversations")
def test_it_is_found_nowhere(api_user: ApiUser) -> None:
    """No list, search, page, export or share has it; its owner can read it and go on, with another completion too."""
    word = "Weißdornhecke"
    first = api_user.ended(api_user.ask(f"About {word}", "echo", temporary=True)["id"])
    conversation = first["conversation"]
    again = api_user.ended(api_user.ask(f"More {word}", "echo", conversation=conversation)["id"])
    assert again["conversation"] == conversation
    for query in ("", f"?search={word}", "?archived=1"):
        listed = api_user.client.get(f"/api/conversations/{query}").json()["results"]
        assert conversation not in [row["id"] for row in listed]
    assert word not in api_user.client.get("/api/export/").text
    assert api_user.client.get(f"/api/conversations/{conversation}/export/").status_code == 404
    shared = api_user.client.post(f"/api/conversations/{conversation}/share/", json={})
    assert (shared.status_code, shared.json()["error"]["code"]) == (404, "not_found")
    another = api_user.client.post(f"/api/messages/{again['message']}/regenerate/", json={})
    assert api_user.ended(another.json()["generation"]["id"])["conversation"] == conversation
    browser = api_user.product.browser(api_user.name)
    assert word not in browser.get("/").text
    assert api_user.client.get(f"/api/conversations/{conversation}/").json()["temporary"] is True
    assert len(api_user.messages(conversation)) == 5


@pytest.mark.server
def test_only_a_new_conversation_can_be_temporary(api_user: ApiUser) -> None:
    """The field is refused in a conversation and with a text tool."""
    conversation = api_user.ended(api_user.ask("One", "echo")["id"])["conversation"]
    for more in ({"conversation": conversation}, {"text_tool": "polish"}, {"temporary": "yes"}):
        body = {"model": "echo", "prompt": "x", "temporary": True, **more}
        refused = api_user.client.post("/api/chat/", json=body)
        assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["temporary"])


def test_it_is_deleted_a_day_after_its_last_message(alice: Any) -> None:
    """Old ones go, with their bytes; ones with a newer message and ordinary ones stay."""
    old = timezone.now() - timedelta(days=1, minutes=1)
    rows = [
        Conversation.objects.create(user=alice, title=title, temporary=temporary, updated_at=old)
        for title, temporary in (("old", True), ("in use", True), ("ordinary", False))
    ]
    for row in rows:
        Message.objects.create(conversation=row, role="user", content="text", created_at=old)
    Message.objects.create(conversation=rows[1], role="assistant", content="new")
    StorageUse.objects.create(user=alice)
    StorageUse.recount(alice.pk)
    housekeeping.expire_temporary()
    assert set(Conversation.objects.values_list("title", flat=True)) == {"in use", "ordinary"}
    counted = StorageUse.objects.get(user=alice).conversations
    StorageUse.recount(alice.pk)
    assert StorageUse.objects.get(user=alice).conversations == counted


def test_one_in_which_the_user_goes_on_stays(alice: Any) -> None:
    """A prompt that comes while the old ones are looked for keeps its conversation."""
    old = timezone.now() - timedelta(days=2)
    row = Conversation.objects.create(user=alice, title="in use", temporary=True, updated_at=old)
    selects = []

    def go_on(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if sql.startswith("SELECT") and not selects:
            selects.append(sql)
            Conversation.objects.filter(pk=row.pk).update(updated_at=timezone.now())
        return result

    with connection.execute_wrapper(go_on):
        housekeeping.expire_temporary()
    assert selects
    assert Conversation.objects.filter(pk=row.pk).exists()
