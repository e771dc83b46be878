"""Texts of models are marked as AI-generated: for readers, and for programs."""

from typing import Any

import orjson
import pytest
from django.test import Client

from chat.conversations import transfer
from chat.models import Conversation, Message
from chat.sharing import api

pytestmark = pytest.mark.django_db


@pytest.fixture
def row(alice: Any) -> Conversation:
    made = Conversation.objects.create(user=alice, title="Tides")
    prompt = Message.objects.create(conversation=made, role="user", content="Why?")
    Message.objects.create(conversation=made, parent=prompt, role="assistant", content="Because.", model="glm-4")
    return made


@pytest.mark.parametrize(("language", "words"), [("en", "AI-generated"), ("zh-hans", "AI 生成")])
def test_pages_mark_completions(client: Client, alice: Any, row: Conversation, language: str, words: str) -> None:
    """A completion bears the mark on the chat page and on a shared page, and an attribute; a prompt does not."""
    client.force_login(alice)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
    shown = client.get(f"/c/{row.pk}/").content.decode()
    # One is the template for new completions, which is in the page too.
    assert shown.count('data-ai-generated="true"') == shown.count(f">{words}</span>") == 2
    share = api.make(alice.pk, row.pk, None, None)
    copy = client.get(f"/s/{share.token}/").content.decode()
    assert copy.count('data-ai-generated="true"') == copy.count(f">{words}</span>") == 1
    assert '<meta name="ai-generated" content="true">' in copy
    assert "TrainedAlgorithmicMediaDigitalSource" in copy


def test_exports_mark_completions(row: Conversation, bob: Any) -> None:
    """JSON has `ai_generated`, Markdown a line and a comment; an import takes the field, and older files without it."""
    exported = orjson.loads(transfer.exported(row))
    assert [message.get("ai_generated") for message in exported["messages"]] == [None, True]
    text = transfer.markdown(row)
    assert text.count("<!-- ai-generated: true -->") == 1
    assert text.index("Why?") < text.index("ai-generated") < text.index("Because.")
    file = {"format": "rivulet", "version": 1, "conversations": [exported]}
    for name in ("temporary", "match"):
        exported.pop(name, None)
    assert transfer.store(bob.pk, transfer.read(file)) == (1, 2)
    del exported["messages"][1]["ai_generated"]
    assert transfer.store(bob.pk, transfer.read(file)) == (1, 2)
