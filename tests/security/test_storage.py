"""A user whose storage is full is refused clearly; nothing is stored or charged."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

NOW = datetime.now(UTC).isoformat()


@pytest.fixture(scope="module")
def small(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that keeps one MiB for each user."""
    variables = {**connected(upstream, large="large:20:10000"), "STORAGE_MIB_PER_USER": "1"}
    with Product(tmp_path_factory.mktemp("small"), **variables) as running:
        yield running


@pytest.fixture
def owner(small: Product, request: pytest.FixtureRequest) -> ApiUser:
    return small.register(f"o{abs(hash(request.node.name)) % 10**9}")


def bring_in(api_user: ApiUser, size: int, **more: Any) -> httpx.Response:
    message = {"id": 1, "parent": None, "role": "user", "content": "x" * size, "created_at": NOW, **more}
    row = {"id": 1, "title": "One", "created_at": NOW, "updated_at": NOW, "messages": [message]}
    return api_user.client.post("/api/import/", json={"format": "rivulet", "version": 1, "conversations": [row]})


def require_full(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (413, "storage_full"), response.text
    assert response.json()["error"]["details"] == {"max_mib": 1}


def titles(api_user: ApiUser) -> list[str]:
    return [row["title"] for row in api_user.client.get("/api/conversations/").json()["results"]]


def ask(api_user: ApiUser, **body: Any) -> httpx.Response:
    return api_user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello", **body})


@pytest.mark.contract("refusal: storage_full", "setting: STORAGE_MIB_PER_USER")
def test_a_full_storage_refuses_what_would_be_kept(owner: ApiUser) -> None:
    """Prompts, imports and longer system prompts are 413 `storage_full`: nothing is stored or charged."""
    first = owner.ended(ask(owner).json()["generation"]["id"])
    assert bring_in(owner, 2**20 - 20_000).status_code == 201
    used = owner.quota()["used_today"]
    require_full(bring_in(owner, 30_000))
    require_full(ask(owner, prompt="x" * 30_000))
    require_full(ask(owner, conversation=first["conversation"], system_prompt="字" * 10_000))
    conversation = f"/api/conversations/{first['conversation']}/"
    require_full(owner.client.patch(conversation, json={"system_prompt": "x" * 30_000}))
    assert sorted(titles(owner)) == ["Hello", "One"]
    assert owner.client.get(conversation).json()["system_prompt"] == ""
    assert len(owner.messages(first["conversation"])) == 2
    assert owner.quota()["used_today"] == used


def test_imported_attachments_count(owner: ApiUser) -> None:
    """An import whose attachments do not fit is refused as a whole."""
    notes = {"name": "notes.txt", "kind": "text", "media_type": "text/plain", "content": "x" * 400_000}
    assert bring_in(owner, 1, attachments=[notes, notes]).status_code == 201
    require_full(bring_in(owner, 1, attachments=[notes]))
    assert titles(owner) == ["One"]
    assert bring_in(owner, 1, attachments=[{**notes, "content": "x"}]).status_code == 201


def test_a_refused_prompt_keeps_its_key(owner: ApiUser) -> None:
    """The same Idempotency-Key works once there is room; renaming and the text tools work all the time."""
    assert bring_in(owner, 2**20 - 1_000).status_code == 201
    headers, body = {"Idempotency-Key": "k"}, {"model": "plain", "prompt": "x" * 2_000}
    require_full(owner.client.post("/api/chat/", json=body, headers=headers))
    assert ask(owner, text_tool="polish").status_code == 202
    (row,) = owner.client.get("/api/conversations/").json()["results"]
    assert owner.client.patch(f"/api/conversations/{row['id']}/", json={"title": "O"}).status_code == 200
    assert owner.client.delete(f"/api/conversations/{row['id']}/").status_code == 204
    assert owner.client.post("/api/chat/", json=body, headers=headers).status_code == 202


def test_a_completion_may_exceed_the_limit(owner: ApiUser) -> None:
    """A completion that runs over the limit is kept whole and charged; the next prompt is refused."""
    assert bring_in(owner, 2**20 - 100_000).status_code == 201
    made = owner.ended(ask(owner, model="large").json()["generation"]["id"])
    assert (made["status"], len(made["content"])) == ("completed", 200_000)
    assert made["charge"]["amount"] == 1
    require_full(ask(owner))
    assert owner.client.delete(f"/api/conversations/{made['conversation']}/").status_code == 204
    assert ask(owner).status_code == 202


def test_the_page_shows_what_is_used(owner: ApiUser, small: Product) -> None:
    """The page of the user's own data shows MiB used, the limit, and each kind, in both languages."""
    bring_in(owner, 2**19)
    browser = small.browser(owner.name)
    page = browser.get("/accounts/data/", headers={"Accept-Language": "en"}).text
    assert "0.5 of 1 MiB used" in page
    assert "Conversations with their messages, and presets: 0.5 MiB" in page
    assert "已使用 0.5 MiB" in browser.get("/accounts/data/", headers={"Accept-Language": "zh-hans"}).text
