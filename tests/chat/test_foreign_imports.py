"""Exports of other products, made by hand in their formats: imported, exported again, equal in text and tree."""

import json
from typing import Any

import pytest

from tests.product import ApiUser

pytestmark = pytest.mark.server

T = 1_700_000_000.0
ROOT = "00000000-0000-0000-0000-000000000000"


def node(parent: str | None, role: str = "", text: Any = "", **more: Any) -> dict[str, Any]:
    """Return a node of ChatGPT's mapping; without a role it has no message."""
    if not role:
        return {"parent": parent, "message": None, "children": []}
    content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
    fields = {"recipient": "all", "create_time": T, "metadata": {}, **more}
    return {
        "parent": parent,
        "children": [],
        "message": {"author": {"role": role, "name": None}, "content": content, **fields},
    }


CHATGPT = [
    {
        "title": "Trip",
        "create_time": T,
        "update_time": T + 60,
        "is_archived": True,
        "current_node": "a3",
        "mapping": {
            "root": node(None),
            "sys": node("root", "system", ""),
            "own": node(
                "sys",
                "user",
                {
                    "content_type": "user_editable_context",
                    "user_profile": "I am Ann.",
                    "user_instructions": "Be brief.",
                },
                metadata={"is_visually_hidden_from_conversation": True},
            ),
            "u1": node("own", "user", "Where to?"),
            "a1": node(
                "u1", "assistant", "To \ue200cite\ue202turn0search0\ue201Rome.", metadata={"model_slug": "gpt-4o"}
            ),
            "a2": node("u1", "assistant", "To Oslo."),
            "u2": node(
                "a2",
                "user",
                {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}, "And this?"]},
            ),
            "t": node(
                "u2", "assistant", {"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "A fjord."}]}
            ),
            "r": node("t", "assistant", {"content_type": "reasoning_recap", "content": "Thought for 5s"}),
            "x": node("r", "assistant", "I look.", metadata={"model_slug": "o3"}),
            "c": node("x", "assistant", {"content_type": "code", "text": "search()"}, recipient="browser"),
            "o": node("c", "tool", {"content_type": "execution_output", "text": "found"}),
            "a3": node("o", "assistant", "It is a fjord."),
        },
    },
    {"title": None, "create_time": T, "mapping": {"root": node(None)}},
]
OPEN_WEBUI = [
    {
        "id": "x",
        "title": "Numbers",
        "archived": False,
        "pinned": True,
        "created_at": int(T),
        "updated_at": int(T) + 5,
        "chat": {
            "models": ["llama3"],
            "params": {"system": "Count."},
            "history": {
                "currentId": "d",
                "messages": {
                    "a": {
                        "id": "a",
                        "parentId": None,
                        "childrenIds": ["b", "c"],
                        "role": "user",
                        "content": "One?",
                        "timestamp": int(T),
                    },
                    "b": {
                        "id": "b",
                        "parentId": "a",
                        "role": "assistant",
                        "model": "llama3",
                        "timestamp": int(T),
                        "content": '<details type="reasoning" done="true" duration="2">\n<summary>Thought</summary>\n'
                        "> 1 &lt; 2\n> so\n</details>\nTwo.",
                    },
                    "c": {
                        "id": "c",
                        "parentId": "a",
                        "role": "assistant",
                        "model": "qwen",
                        "content": "Three.",
                        "timestamp": int(T),
                    },
                    "d": {
                        "id": "d",
                        "parentId": "c",
                        "role": "user",
                        "content": "See",
                        "files": [{"type": "image", "url": "data:"}, {"type": "file", "name": "a.pdf"}],
                        "timestamp": int(T),
                    },
                },
            },
        },
    }
]


def libre(id_: str, parent: str, *, user: bool, text: str, **more: Any) -> dict[str, Any]:
    return {
        "messageId": id_,
        "parentMessageId": parent,
        "isCreatedByUser": user,
        "text": text,
        "createdAt": "2023-11-14T22:13:20.000Z",
        "model": None if user else "gpt-4",
        **more,
    }


LIBRECHAT = {
    "conversationId": "c",
    "endpoint": "openAI",
    "title": "Greeting",
    "exportAt": "10:00:00 GMT+0100",
    "branches": True,
    "recursive": False,
    "options": {"promptPrefix": "Be kind."},
    "messages": [
        libre("1", ROOT, user=True, text="Hello"),
        libre(
            "2",
            "1",
            user=False,
            text="",
            content=[{"type": "think", "think": "Hm"}, {"type": "text", "text": {"value": "Hi"}}],
        ),
        libre("3", "1", user=False, text="Hey"),
        libre("4", "2", user=True, text="Look", files=[{"filename": "b.png"}]),
        libre("5", "4", user=False, text="It broke", error=True),
    ],
}


def imported(user: ApiUser, file: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Import a file; return the response, and what an export has then, in order of creation."""
    response = user.client.post("/api/import/", json=file)
    assert response.status_code == 201, response.text
    return response.json(), user.client.get("/api/export/").json()["conversations"]


def tree(conversation: dict[str, Any]) -> list[tuple[int | None, str, str, str, str]]:
    """Return each message with the place of its parent."""
    places = {message["id"]: place for place, message in enumerate(conversation["messages"])}
    return [
        (places.get(each["parent"]), each["role"], each["content"], each["reasoning"], each["model"])
        for each in conversation["messages"]
    ]


def left_out(response: dict[str, Any]) -> dict[str, int]:
    return {each["what"]: each["count"] for each in response["left_out"]}


def test_chatgpt(api_user: ApiUser) -> None:
    """Branches, reasoning, instructions and answers in several pieces come in; tools and images are named."""
    response, (trip,) = imported(api_user, CHATGPT)
    assert (response["conversations"], response["messages"]) == (1, 5)
    assert (trip["title"], trip["archived"], trip["system_prompt"]) == ("Trip", True, "I am Ann.\n\nBe brief.")
    assert tree(trip) == [
        (None, "user", "Where to?", "", ""),
        (0, "assistant", "To Rome.", "", "gpt-4o"),
        (0, "assistant", "To Oslo.", "", ""),
        (2, "user", "[image]\n\nAnd this?", "", ""),
        (3, "assistant", "I look.\n\nIt is a fjord.", "A fjord.", "o3"),
    ]
    assert left_out(response) == {
        "image": 1,
        "call of a tool: browser": 1,
        "result of a tool: None": 1,
        "conversation without messages": 1,
    }
    again = api_user.client.get("/api/export/").json()
    assert tree(imported(api_user, again)[1][-1]) == tree(trip)


def test_open_webui(api_user: ApiUser) -> None:
    """Reasoning leaves the text, branches stay, and files are named."""
    response, (numbers,) = imported(api_user, OPEN_WEBUI)
    assert (numbers["title"], numbers["pinned"], numbers["system_prompt"]) == ("Numbers", True, "Count.")
    assert tree(numbers) == [
        (None, "user", "One?", "", ""),
        (0, "assistant", "Two.", "1 < 2\nso", "llama3"),
        (0, "assistant", "Three.", "", "qwen"),
        (2, "user", "See\n\n[image]\n\n[a.pdf]", "", ""),
    ]
    assert left_out(response) == {"image": 1, "file: a.pdf": 1}
    old = [
        {
            "title": "Old",
            "chat": {
                "title": "Old",
                "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
            },
        }
    ]
    assert [each[2] for each in tree(imported(api_user, old)[1][-1])] == ["Hi", "Ho"]


def test_librechat(api_user: ApiUser) -> None:
    """The flat and the nested form give the same conversation, however long a chain is."""
    response, (greeting,) = imported(api_user, LIBRECHAT)
    assert (greeting["title"], greeting["system_prompt"]) == ("Greeting", "Be kind.")
    assert tree(greeting) == [
        (None, "user", "Hello", "", ""),
        (0, "assistant", "Hi", "Hm", "gpt-4"),
        (1, "user", "Look\n\n[b.png]", "", ""),
        (0, "assistant", "Hey", "", "gpt-4"),
    ]
    assert left_out(response) == {"file: b.png": 1, "error message": 1}

    rows = {row["messageId"]: {**row, "children": []} for row in LIBRECHAT["messages"]}  # type: ignore[attr-defined]
    for row in rows.values():
        if row["parentMessageId"] in rows:
            rows[row["parentMessageId"]]["children"].append(row)
    nested = {**LIBRECHAT, "recursive": True, "messagesTree": [rows["1"]]}
    del nested["messages"]
    assert tree(imported(api_user, nested)[1][-1]) == tree(greeting)

    chain: list[Any] = []
    for number in range(150, 0, -1):
        chain = [
            libre(
                str(number),
                str(number - 1) if number > 1 else ROOT,
                user=number % 2 == 1,
                text=f"n{number}",
                children=chain,
            )
        ]
    long = imported(api_user, {"conversationId": "l", "title": "Long", "recursive": True, "messagesTree": chain})[1][-1]
    assert len(long["messages"]) == 150


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ([*CHATGPT, {"title": "x"}], "2"),
        ([{"title": "x", "mapping": {"a": node("gone", "user", "Hi")}}], "0.mapping.a.parent"),
        (
            [{"title": "x", "mapping": {"a": node("b", "user", "Hi"), "b": node("a", "user", "Hi")}}],
            "0.mapping.a.parent",
        ),
        ([{"title": 3, "mapping": {}}], "0.title"),
        ([{"title": "x", "create_time": "soon", "mapping": {}}], "0.create_time"),
        ([*OPEN_WEBUI, {"chat": {"title": "x"}}], "1.chat.history.messages"),
        ({**LIBRECHAT, "messages": [{"text": "x"}]}, "body.messages.0.messageId"),
    ],
)
def test_a_broken_file_is_refused_as_a_whole(api_user: ApiUser, file: Any, place: str) -> None:
    """A mistake anywhere is named, and nothing comes in."""
    response = api_user.client.post(
        "/api/import/", content=json.dumps(file), headers={"Content-Type": "application/json"}
    )
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_request")
    assert [name.replace(".b.", ".a.") for name in error["details"]] == [place]
    assert api_user.client.get("/api/export/").json()["conversations"] == []
