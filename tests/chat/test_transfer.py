"""Export and import of conversations: complete, atomic, and safe with hostile files."""

import copy
import json
import re
from typing import Any

import pytest

from tests.product import ApiUser, Product

STORY = "第一行\n\n```js\n<script>alert(1)</script>\n```\u2028 end"


@pytest.fixture
def full(product: Product, api_user: ApiUser) -> ApiUser:
    """A user with branches, versions, flags and a system prompt."""
    first = api_user.answer(STORY, "plain", system_prompt="Be brief.")
    conversation = first[0].data["conversation"]
    tree = api_user.messages(conversation)
    api_user.answer("Follow up", "cited", conversation=conversation)
    api_user.answer("Edited", "plain", conversation=conversation, parent=tree[-1]["id"])
    made = api_user.client.post(f"/api/messages/{tree[-1]['id']}/regenerate/", json={"model": "quick"})
    api_user.ended(made.json()["generation"]["id"])
    other = api_user.answer("另一个对话", "plain")[0].data["conversation"]
    api_user.client.patch(f"/api/conversations/{other}/", json={"pinned": True, "title": "置顶"})
    archived = api_user.answer("Old", "plain")[0].data["conversation"]
    api_user.client.patch(f"/api/conversations/{archived}/", json={"archived": True})
    return api_user


def everything(api_user: ApiUser) -> dict[str, Any]:
    answer = api_user.client.get("/api/export/")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment; ")
    return dict(answer.json())


def bring(api_user: ApiUser, file: object) -> Any:
    content = file if isinstance(file, bytes) else json.dumps(file).encode()
    return api_user.client.post("/api/import/", content=content, headers={"Content-Type": "application/json"})


def renamed(file: dict[str, Any]) -> dict[str, Any]:
    """Replace the ids of a file by their order of appearance, and remove the export's time."""
    file = copy.deepcopy(file)
    del file["exported_at"]
    ids: dict[Any, int] = {None: 0}
    for number, conversation in enumerate(file["conversations"]):
        conversation["id"] = number
        for message in conversation["messages"]:
            message["id"] = ids.setdefault(message["id"], len(ids))
            message["parent"] = ids[message["parent"]]
    return file


@pytest.mark.contract("GET /api/export/", "POST /api/import/")
def test_export_and_import_round_trip(product: Product, full: ApiUser) -> None:
    """An export imported into an empty account is exported identically, except for ids and time."""
    file = everything(full)
    assert [len(each["messages"]) for each in file["conversations"]] == [7, 2, 2]
    other = product.register("importer" + full.name)
    counts = bring(other, file)
    assert (counts.status_code, counts.json()) == (201, {"conversations": 3, "messages": 11})
    assert renamed(everything(other)) == renamed(file)
    first, *others = file["conversations"][0]["messages"]
    assert first["content"] == STORY
    assert sum(len(each.get("sources", [])) for each in others) == 2
    assert sum("reasoning_seconds" in each for each in others) == 1


def test_an_imported_conversation_goes_on(product: Product, full: ApiUser) -> None:
    """An imported branch is sent upstream like any other."""
    other = product.register("goes" + full.name)
    bring(other, everything(full))
    pinned = other.client.get("/api/conversations/").json()["results"][0]
    assert pinned["title"] == "置顶"
    events = other.answer("echo this", "echo", conversation=pinned["id"])
    assert events[-1].name == "done"
    assert len(other.messages(pinned["id"])) == 4


@pytest.mark.contract("GET /api/conversations/{conversation_id}/export/")
def test_one_conversation(full: ApiUser) -> None:
    """One conversation is exported as the same JSON, or as Markdown with versions."""
    file = everything(full)
    number = file["conversations"][0]["id"]
    one = full.client.get(f"/api/conversations/{number}/export/").json()
    assert one["conversations"] == file["conversations"][:1]
    assert full.client.get(f"/api/conversations/{number}/export/?as=json").json()["conversations"]
    answer = full.client.get(f"/api/conversations/{number}/export/?as=markdown")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# 第一行")
    assert "\n> Be brief.\n" in answer.text
    assert STORY in answer.text
    headings = re.findall(r"^## (.+)$", answer.text, re.MULTILINE)
    assert len(headings) == 7
    assert "plain (version 1 of 2)" in headings
    assert "quick (version 2 of 2)" in headings
    wrong = full.client.get(f"/api/conversations/{number}/export/?as=pdf")
    assert (wrong.status_code, list(wrong.json()["error"]["details"])) == (400, ["as"])


def test_other_users_conversations(product: Product, full: ApiUser) -> None:
    """Conversations of other users cannot be exported."""
    stranger = product.register("stranger" + full.name)
    number = everything(full)["conversations"][0]["id"]
    assert stranger.client.get(f"/api/conversations/{number}/export/").status_code == 404
    assert everything(stranger)["conversations"] == []
    assert product.client().get("/api/export/").status_code == 401


def message(id: Any, parent: Any = None, **values: Any) -> dict[str, Any]:  # noqa: A002
    return {
        "id": id,
        "parent": parent,
        "role": "user",
        "content": "x",
        "created_at": "2026-01-01T00:00:00+08:00",
        **values,
    }


def conversation(*messages: Any, **values: Any) -> dict[str, Any]:
    times = {"created_at": "2026-01-01T00:00:00+08:00", "updated_at": "2026-01-01T00:00:00+08:00"}
    return {"id": 1, "title": "t", **times, "messages": list(messages), **values}


def whole(*conversations: Any, **values: Any) -> dict[str, Any]:
    return {"format": "rivulet", "version": 1, "conversations": list(conversations), **values}


GOOD = conversation(message(1))
BROKEN: dict[str, object] = {
    "not JSON": b"{",
    "empty": b"",
    "an array": [],
    "another version": whole(version=2),
    "another format": whole(format="chatgpt"),
    "an unknown field": whole(owner="bob"),
    "no conversations": {"format": "rivulet", "version": 1},
    "a conversation that is none": whole(GOOD, 7),
    "a title that is too long": whole(GOOD, conversation(title="x" * 256)),
    "a title that is none": whole(GOOD, conversation(title=None)),
    "pinned by word": whole(GOOD, conversation(pinned="yes")),
    "a time that is none": whole(GOOD, conversation(created_at="yesterday")),
    "a time in seconds": whole(GOOD, conversation(created_at=0)),
    "a time without zone": whole(GOOD, conversation(created_at="2026-01-01T00:00:00")),
    "a time far away": whole(GOOD, conversation(created_at="9999-12-31T23:59:59+00:00")),
    "a cycle of two": whole(GOOD, conversation(message(1, 2), message(2, 1))),
    "its own parent": whole(GOOD, conversation(message(1, 1))),
    "an unknown parent": whole(GOOD, conversation(message(1), message(2, 9))),
    "a parent elsewhere": whole(GOOD, conversation(message(5, 1))),
    "an id twice": whole(GOOD, conversation(message(1), message(1))),
    "a boolean id": whole(GOOD, conversation(message(True))),
    "a system message": whole(GOOD, conversation(message(1, role="system"))),
    "content that is none": whole(GOOD, conversation(message(1, content={"a": 1}))),
    "a source without scheme": whole(GOOD, conversation(message(1, sources=[{"url": "example.org"}]))),
    "a source that is a script": whole(GOOD, conversation(message(1, sources=[{"url": "javascript:alert(1)"}]))),
    "a source with other fields": whole(GOOD, conversation(message(1, sources=[{"url": "http://a.example/", "x": 1}]))),
    "too many sources": whole(GOOD, conversation(message(1, sources=[{"url": "http://a.example/"}] * 101))),
    "a source's long title": whole(
        GOOD, conversation(message(1, sources=[{"url": "http://a.example/", "title": "x" * 301}]))
    ),
    "negative seconds": whole(GOOD, conversation(message(1, reasoning_seconds=-1))),
    "seconds by word": whole(GOOD, conversation(message(1, reasoning_seconds="1"))),
    "NUL": whole(GOOD, conversation(message(1, content="a\0b"))),
    "a lone surrogate": json.dumps(whole(GOOD, conversation(message(1)))).replace('"x"', '"\\ud800"').encode(),
    "not UTF-8": json.dumps(whole(GOOD)).encode().replace(b'"x"', b'"\xff"'),
    "65 levels": b"[" * 65 + b"]" * 65,
    "a million levels": b"[" * 1_000_000,
    "deep in a field": whole(GOOD, exported_at=json.loads("[" * 70 + "]" * 70)),
}


@pytest.mark.contract("POST /api/import/")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file(product: Product, importer: ApiUser, name: str) -> None:
    """An invalid file is refused with 400, and nothing of it is stored."""
    refused = bring(importer, BROKEN[name])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request"), refused.text[:500]
    assert everything(importer)["conversations"] == []


@pytest.fixture(scope="module")
def importer(product: Product) -> ApiUser:
    return product.register("importer-of-broken-files")


@pytest.mark.contract("POST /api/import/", "refusal: prompt_too_long")
def test_size(product: Product, api_user: ApiUser) -> None:
    """Ten megabytes are accepted; more than 32 MiB is refused as too large."""
    large = whole(conversation(*(message(n, content="字" * 1_000_000) for n in range(3))))
    assert bring(api_user, json.dumps(large, ensure_ascii=False).encode()).status_code == 201
    refused = bring(api_user, b" " * (32 * 2**20 + 1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "prompt_too_long")
    assert len(everything(api_user)["conversations"]) == 1


def test_script_is_text(product: Product, api_user: ApiUser) -> None:
    """A script in a file stays text, in titles too."""
    evil = "<script>alert(1)</script>"
    assert bring(api_user, whole(conversation(message(1, content=evil), title=evil))).status_code == 201
    assert everything(api_user)["conversations"][0]["title"] == evil
