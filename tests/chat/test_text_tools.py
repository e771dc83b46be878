"""Text tools: an instruction before the prompt, in both languages; runs are charged and not kept."""

from typing import Any

import pytest

from chat import text_tools
from tests.product import ApiUser, Product, text_of
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI


def sent(upstream: FakeOpenAI) -> list[dict[str, Any]]:
    """Return the messages of the last request."""
    return list(upstream.requests[-1].body["messages"])


def test_a_run(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """The instruction precedes the prompt; the completion is charged, and no conversation is kept."""
    events = api_user.answer("bonjour", "plain", text_tool="translate", target_language="German")
    assert [message["role"] for message in sent(upstream)] == ["user"]
    content = sent(upstream)[0]["content"]
    assert content.startswith("Translate the following text into German.")
    assert content.endswith("\n\nbonjour")
    start, done = events[0].data, events[-1].data
    assert (start["conversation"], start["title"], done["message"], done["charge"]["amount"]) == (None, None, None, 1)
    row = api_user.generation(start["generation"])
    assert (row["conversation"], row["message"], row["content"]) == (None, None, text_of(events))
    assert api_user.client.get("/api/conversations/").json()["results"] == []
    assert api_user.quota()["used_today"] == 1


@pytest.mark.contract("GET /api/text-tools/")
def test_list(api_user: ApiUser) -> None:
    """Tools have titles in the caller's language, and tell if they need a target language."""
    found = api_user.client.get("/api/text-tools/", headers={"Accept-Language": "en"}).json()
    assert [set(tool) for tool in found] == [{"slug", "title", "needs_target_language"}] * len(found)
    assert [tool["slug"] for tool in found if tool["needs_target_language"]] == ["translate"]
    assert {"polish", "translate", "summarise", "explain", "write-code"} <= {tool["slug"] for tool in found}
    chinese = api_user.client.get("/api/text-tools/", headers={"Accept-Language": "zh-hans"}).json()
    assert [tool["title"] for tool in chinese][:2] == ["润色", "翻译"]


def test_languages(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """The default target language is English; the instruction is in the caller's language."""
    api_user.client.headers["Accept-Language"] = "zh-hans"
    api_user.answer("你好", "plain", text_tool="translate")
    assert sent(upstream)[0]["content"] == "请把下面的文字翻译成English，保持原格式，只输出译文。\n\n你好"


def test_by_event_source(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """The GET route supports text tools too."""
    query = {"model": "plain", "prompt": "x", "text_tool": "translate", "target_language": "Latin"}
    answer = api_user.client.get("/api/chat/", params=query)
    assert "event: done" in answer.text
    assert "into Latin" in sent(upstream)[0]["content"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text_tool": "nope"}, "text_tool"),
        ({"text_tool": "polish", "conversation": 1}, "conversation"),
        ({"text_tool": "polish", "system_prompt": "x"}, "system_prompt"),
        ({"target_language": "German"}, "target_language"),
    ],
)
def test_bad_requests(api_user: ApiUser, body: dict[str, Any], field: str) -> None:
    """Invalid requests are refused by name and are free."""
    refused = api_user.client.post("/api/chat/", json={"model": "plain", "prompt": "x", **body})
    assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, [field])
    assert api_user.quota()["used_today"] == 0


def test_one_key_one_run(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """The same key returns the same run; with another tool it is a conflict."""
    before = len(upstream.requests)
    first = api_user.ask("x", "plain", key="k", text_tool="polish")
    assert api_user.ask("x", "plain", key="k", text_tool="polish")["id"] == first["id"]
    other = api_user.client.post(
        "/api/chat/", json={"model": "plain", "prompt": "x", "text_tool": "explain"}, headers={"Idempotency-Key": "k"}
    )
    assert other.status_code == 409
    api_user.ended(first["id"])
    assert len(upstream.requests) == before + 1


@pytest.mark.contract("text tools are not kept")
def test_texts_expire(forgetful: Product) -> None:
    """The text of an unkept run, which can be read for a while, is deleted."""
    api_user = forgetful.register("polishing")
    events = api_user.answer("x", "plain", text_tool="polish")
    generation = events[0].data["generation"]
    assert api_user.generation(generation)["content"] in {text_of(events), ""}  # a slow reader comes too late
    wait_until(lambda: not api_user.generation(generation)["content"])
    assert api_user.generation(generation)["charge"]["amount"] == 1


def test_places() -> None:
    """The prompt replaces `{text}` in the instruction, or follows it, whatever it contains."""
    assert text_tools.applied("Do it.", "{text}") == "Do it.\n\n{text}"
    assert text_tools.applied("Do {text} now.", "a {text} b") == "Do a {text} b now."
