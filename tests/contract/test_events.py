"""Event streams match the schema: every event that a stream can send is sent and checked."""

import json
import secrets
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import jsonschema
import pytest

from chatproject.openapi.pages import document
from tests.product import ApiUser, Product

pytestmark = pytest.mark.server
UNNAMED = "(unnamed)"


@cache
def event_schemas(method: str, path: str) -> dict[str, str]:
    """Return the events of an operation's stream with references to their schemas."""
    operation = document()["paths"][path][method]
    events = operation["responses"]["200"]["content"]["text/event-stream"]["x-events"]
    return {name: schema["$ref"] for name, schema in events.items()}


@cache
def _validator(reference: str) -> Any:
    components = json.loads(json.dumps(document()["components"]))
    return jsonschema.Draft202012Validator({"$ref": reference, "components": components})


def check(method: str, path: str, text: str) -> set[str]:
    """Check every event of a stream against its schema; return the names.

    On push channels, events with other names are allowed, because publishers choose the names.
    """
    known = event_schemas(method, path)
    names = set()
    for name, data in _events(text):
        if name not in known and path.startswith("/sse/"):
            continue
        assert name in known, (path, name)
        if data != "[DONE]":
            # A pushed text may have several lines, each a `data:` line of the stream.
            pushed = path.startswith("/sse/") and name == "message"
            _validator(known[name]).validate(data if pushed else json.loads(data))
        names.add(name)
    return names


def _events(text: str) -> Iterator[tuple[str, str]]:
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        data = [line.removeprefix("data:").removeprefix(" ") for line in lines if line.startswith("data:")]
        names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        if data:
            yield (names or [UNNAMED])[0], "\n".join(data)


def streamed(response: httpx.Response) -> str:
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8", response.text
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in response.headers
    return response.text


def stream_of(api_user: ApiUser, model: str) -> str:
    body = {"model": model, "prompt": "Hello"}
    return streamed(api_user.client.post("/api/chat/", json=body, headers={"Accept": "text/event-stream"}))


@pytest.mark.contract("event: notice", "all events are as described")
def test_events_of_a_generation_match_their_schemas(product: Product, api_user: ApiUser) -> None:
    """All events match: of a new generation, followed, resumed at an unknown id, and failing at once."""
    names = {
        name
        for model in ("reasoning", "cited", "pictured", "cut", "http-500")
        for name in check("post", "/api/chat/", stream_of(api_user, model))
    }
    generation = api_user.ask("Hello", "plain")["id"]
    path = f"/api/generations/{generation}/events/"
    lost = streamed(api_user.client.get(path, headers={"Last-Event-ID": f"{generation}:999"}))
    names |= check("get", "/api/generations/{generation_id}/events/", lost)
    assert names == set(event_schemas("post", "/api/chat/"))
    assert check("get", "/api/chat/", streamed(api_user.client.get("/api/chat/?model=plain"))) == {"error"}
    message = api_user.ended(generation)["message"]
    regenerated = api_user.client.post(f"/api/messages/{message}/regenerate/", headers={"Accept": "text/event-stream"})
    assert "done" in check("post", "/api/messages/{message_id}/regenerate/", streamed(regenerated))


def test_retry_after_is_the_same_in_event_and_header(product: Product) -> None:
    """`retry_after` of an event is the whole number of the header `Retry-After`."""
    api_user, admin = product.register(f"e{secrets.token_hex(5)}"), product.admin()
    name = f"e{secrets.token_hex(5)}"
    route = {"upstream": "openai", "upstream_model": "plain"}
    quota = admin.client.post("/api/admin/quotas/", json={"slug": name, "title": name, "daily_limit": 1})
    body = {"slug": name, "title": name, "quota": name, "routes": [route]}
    assert (quota.status_code, admin.client.post("/api/admin/models/", json=body).status_code) == (201, 201)
    api_user.answer("Hello", name)
    refused = api_user.client.get("/api/chat/", params={"model": name, "prompt": "Hello again"})
    assert check("get", "/api/chat/", streamed(refused)) == {"error"}
    ((_name, data),) = _events(refused.text)
    assert json.loads(data)["code"] == "quota_exhausted"
    assert json.loads(data)["retry_after"] == int(refused.headers["Retry-After"])


def test_openai_and_classic_chunks_match_their_schemas(api_user: ApiUser) -> None:
    """Chunks of /v1 and of the classic route match, and the classic refusal too."""
    body = {"model": "plain", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    chunks = api_user.client.post("/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}})
    assert check("post", "/v1/chat/completions", streamed(chunks)) == {UNNAMED}
    classic = api_user.client.get("/api/chatgpt/test", params={"message": "Hello", "model": "plain"})
    assert check("get", "/api/chatgpt/test", streamed(classic)) == {UNNAMED}
    refused = api_user.client.get("/api/chatgpt/test", params={"message": " "})
    assert check("get", "/api/chatgpt/test", streamed(refused)) == {"error"}


@pytest.mark.contract("all events are as described")
@pytest.mark.parametrize("slash", ["/", ""])
def test_push_events_match_their_schemas(product: Product, api_user: ApiUser, slash: str) -> None:
    """All events of a push channel match, with and without the final slash."""
    admin, names = product.admin(), set()
    for end, more in (("complete", {}), ("error", {"message": "No"})):
        key = f"k{secrets.token_hex(8)}"
        for action, body in (("messages", {"data": "one\ntwo"}), (end, more)):
            response = admin.client.post(f"/api/channels/{key}/{action}/", json={"user": api_user.name, **body})
            assert response.status_code in {200, 202}, response.text
        read = api_user.client.get(f"/sse/{key}{slash}", headers={"Last-Event-ID": "unknown"})
        names |= check("get", f"/sse/{{key}}{slash}", streamed(read))
    assert names == set(event_schemas("get", f"/sse/{{key}}{slash}"))
