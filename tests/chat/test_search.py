"""Search results over HTTP: which message matches, and the excerpt around the text."""

import secrets
from typing import Any

import pytest

from tests.product import Product

TIME = "2026-11-01T12:00:00+08:00"


def turn(number: int, content: str) -> dict[str, Any]:
    role = "user" if number % 2 else "assistant"
    blank = {"reasoning": "", "model": ""}
    return {"id": number, "parent": number - 1 or None, "role": role, "content": content, "created_at": TIME, **blank}


@pytest.mark.contract("GET /api/conversations/")
def test_a_result_has_the_newest_message_and_an_excerpt(on_each: Product) -> None:
    """`match` is the newest message with the text, cut around it, and null when only the title has it."""
    api_user = on_each.register(f"p{secrets.token_hex(5)}")
    long = "前面的话 " * 100 + "then\n a  ZEBRA 100%_sure " + "后面的话 " * 100
    texts = ["zebra first", long, "no such animal", "<b>ЗЕБРА</b> *end* "]
    blank = {"pinned": False, "archived": False, "system_prompt": "", "created_at": TIME, "updated_at": TIME}
    rows = [
        {"id": 1, "title": "animals", **blank, "messages": [turn(i + 1, text) for i, text in enumerate(texts)]},
        {"id": 2, "title": "a zebra title", **blank, "messages": [turn(1, "nothing")]},
    ]
    file = {"format": "rivulet", "version": 1, "conversations": rows}
    assert api_user.client.post("/api/import/", json=file).status_code == 201

    def search(text: str) -> dict[str, Any]:
        response = api_user.client.get("/api/conversations/", params={"search": text})
        assert response.status_code == 200, response.text
        return {row["title"]: row["match"] for row in response.json()["results"]}

    found = search("zebra")
    assert found["a zebra title"] is None
    (listed,) = (
        row for row in api_user.client.get("/api/conversations/").json()["results"] if row["title"] == "animals"
    )
    assert "match" not in listed
    messages = [message["id"] for message in api_user.messages(listed["id"])]
    excerpt = found["animals"]["excerpt"]
    assert found["animals"]["message"] == messages[1]
    assert excerpt.startswith("…")
    assert excerpt.endswith("…")
    assert "then a ZEBRA 100%_sure 后面" in excerpt
    before, after = excerpt.split("ZEBRA")
    assert abs(len(before) - len(after)) < 30
    assert len(excerpt) < 140
    assert search("100%_SURE")["animals"]["message"] == messages[1]
    assert search("zebra f")["animals"] == {"message": messages[0], "excerpt": "zebra first"}
    assert search("ЗЕБРА")["animals"] == {"message": messages[3], "excerpt": "<b>ЗЕБРА</b> *end*"}
    assert search("100%x") == {}
