"""The access matrix of all routes with an id or a key.

Callers are the owner, another user, an anonymous client, staff and a disabled user.
"""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from chatproject.openapi.pages import document
from chatproject.urls import urlpatterns
from tests.contract.test_schema import methods, routes
from tests.product import ApiUser, Product
from web.openapi import METHODS

pytestmark = pytest.mark.server
WHO = ("owner", "other", "anonymous", "staff", "disabled")

Json = dict[str, Any]

# Statuses for owner, other, anonymous, staff and disabled. Staff see the data of other users only in the admin.
HIDDEN = (200, 404, 401, 404, 401)
REMOVED = (204, 404, 401, 404, 401)
CREATED = (201, 404, 401, 404, 401)
# Its completion did not end early.
WHOLE = (409, 404, 401, 404, 401)
# A new generation is accepted.
ACCEPTED = (202, 404, 401, 404, 401)
# Rows of staff: other users cannot find out whether they exist.
STAFF_ONLY = (403, 403, 401, 200, 401)
DELETED = (403, 403, 401, 204, 401)
STAFF_PUBLISH = (403, 403, 401, 202, 401)
STAFF_END = (403, 403, 401, 200, 401)
# Each user has their own channel for a key, so every user can read it.
OWN_CHANNEL = (200, 200, 401, 200, 401)
DEMO_STARTED = (202, 202, 401, 202, 401)
# Models belong to no user.
SHARED = (200, 200, 401, 200, 401)
ROWS = (
    *("upstreams", "keys", "models", "quotas", "redeem-codes", "users", "sensitive-words", "allowed-phrases"),
    *("announcements", "sensitive-patterns", "refusal-texts"),
)

MATRIX: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/api/generations/{generation_id}/"): HIDDEN,
    ("GET", "/api/generations/{generation_id}/events/"): HIDDEN,
    ("POST", "/api/generations/{generation_id}/stop/"): HIDDEN,
    ("POST", "/api/messages/{message_id}/regenerate/"): ACCEPTED,
    ("POST", "/api/messages/{message_id}/continue/"): WHOLE,
    ("DELETE", "/api/messages/{message_id}/"): REMOVED,
    ("POST", "/api/conversations/{conversation_id}/share/"): CREATED,
    ("DELETE", "/api/shares/{share_id}/"): REMOVED,
    ("GET", "/api/conversations/{conversation_id}/"): HIDDEN,
    ("PATCH", "/api/conversations/{conversation_id}/"): HIDDEN,
    ("DELETE", "/api/conversations/{conversation_id}/"): REMOVED,
    ("GET", "/api/conversations/{conversation_id}/messages/"): HIDDEN,
    ("GET", "/api/conversations/{conversation_id}/export/"): HIDDEN,
    ("DELETE", "/api/tokens/{token_id}/"): REMOVED,
    ("DELETE", "/api/me/sessions/{session_id}/"): REMOVED,
    ("GET", "/api/attachments/{attachment_id}/"): HIDDEN,
    ("GET", "/api/attachments/{attachment_id}/content/"): HIDDEN,
    ("DELETE", "/api/attachments/{attachment_id}/"): REMOVED,
    ("PATCH", "/api/presets/{preset_id}/"): HIDDEN,
    ("DELETE", "/api/presets/{preset_id}/"): REMOVED,
    ("GET", "/v1/models/{model_id}"): SHARED,
    ("GET", "/sse/{key}/"): OWN_CHANNEL,
    ("GET", "/sse/{key}"): OWN_CHANNEL,
    ("GET", "/sse/message/{key}/"): DEMO_STARTED,
    ("POST", "/api/channels/{key}/messages/"): STAFF_PUBLISH,
    ("POST", "/api/channels/{key}/complete/"): STAFF_END,
    ("POST", "/api/channels/{key}/error/"): STAFF_END,
    ("GET", "/api/admin/credits/{id}/"): STAFF_ONLY,
    **{("GET", f"/api/admin/{name}/{{id}}/"): STAFF_ONLY for name in ROWS},
    **{("PATCH", f"/api/admin/{name}/{{id}}/"): STAFF_ONLY for name in ROWS},
    **{("DELETE", f"/api/admin/{name}/{{id}}/"): DELETED for name in ROWS},
}
BODIES: dict[str, Callable[[str], Json]] = {
    "/api/channels/{key}/messages/": lambda user: {"user": user, "data": "x"},
    "/api/channels/{key}/complete/": lambda user: {"user": user},
    "/api/channels/{key}/error/": lambda user: {"user": user, "message": "x"},
}


@pytest.fixture(scope="module")
def disabled(product: Product) -> ApiUser:
    """A user whose account was disabled after the tokens were issued."""
    api_user = product.register(f"d{secrets.token_hex(5)}")
    admin = product.admin()
    number = api_user.client.get("/api/me/").json()["id"]
    assert admin.client.patch(f"/api/admin/users/{number}/", json={"is_active": False}).status_code == 200
    return api_user


@pytest.fixture(scope="module")
def callers(product: Product, disabled: ApiUser) -> dict[str, httpx.Client]:
    other = product.register(f"o{secrets.token_hex(5)}")
    return {
        "other": other.client,
        "anonymous": product.client(),
        "staff": product.admin().client,
        "disabled": disabled.client,
    }


def owned_ids(api_user: ApiUser) -> Json:
    """Create what a user can own; return the ids."""
    made = api_user.ended(api_user.ask("Hello", "plain")["id"])
    preset = api_user.client.post("/api/presets/", json={"title": "one"}).json()["id"]
    token = api_user.client.post("/api/tokens/", json={"name": "one"}).json()["id"]
    attachment = api_user.client.post("/api/attachments/", files={"file": ("a.txt", b"x")}).json()["id"]
    api_user.product.browser(api_user.name)
    return {
        "session_id": api_user.client.get("/api/me/sessions/").json()[0]["id"],
        "attachment_id": attachment,
        "generation_id": made["id"],
        "message_id": made["message"],
        "conversation_id": made["conversation"],
        "token_id": token,
        "preset_id": preset,
        "share_id": api_user.client.post(f"/api/conversations/{made['conversation']}/share/").json()["id"],
        "model_id": "demo",
    }


def create_staff_row(admin: httpx.Client, path: str) -> int:
    """Create a row that only staff can access; return its id."""
    name = f"r{secrets.token_hex(5)}"
    rows: Json = {
        "upstreams": {"slug": name, "kind": "scripted"},
        "models": {"slug": name, "title": name, "routes": []},
        "quotas": {"slug": name, "title": name, "daily_limit": 1},
        "users": {"username": name, "email": f"{name}@example.org"},
        "credits": {"user": "admin", "quota": "standard", "amount": 1, "reason": "gift"},
        "keys": {"upstream": "openai", "secret": f"sk-{name}"},
        "redeem-codes": {"quota": "standard", "credits": 1, "count": 1},
        "sensitive-words": {"word": name},
        "allowed-phrases": {"phrase": name},
        "sensitive-patterns": {"title": name, "kind": "expression", "expression": name},
        "refusal-texts": {"category": name, "text_en": name},
        "announcements": {"text_en": name, "ends_at": "2001-01-01T00:00:00Z", "starts_at": "2000-01-01T00:00:00Z"},
    }
    kind = path.split("/")[3]
    response = admin.post(f"/api/admin/{kind}/", json=rows[kind])
    assert response.status_code == 201, response.text
    return (
        int(response.json()["id"])
        if kind != "redeem-codes"
        else int(admin.get("/api/admin/redeem-codes/").json()[-1]["id"])
    )


def status(client: httpx.Client, method: str, url: str, body: Json) -> int:
    """Return the status without reading the body, because streams of channels stay open."""
    sent = {"json": body} if method in {"POST", "PATCH"} else {}
    with client.stream(method, url, **sent) as response:
        if response.status_code >= 400:
            error = response.read() and response.json()["error"]
            assert error["message"]
        return response.status_code


def with_ids() -> Iterator[tuple[str, str]]:
    for path, pattern in routes(urlpatterns):
        if "{" in path:
            for name in methods(pattern.callback):
                yield name, path


def test_every_route_is_in_the_matrix() -> None:
    """The matrix has exactly the routes that take an id or a key, with all methods."""
    assert set(MATRIX) == set(with_ids())
    assert all(path in document()["paths"] for _method, path in MATRIX)
    assert {method.lower() for method, _path in MATRIX} <= set(METHODS)


@pytest.mark.contract(
    "GET /api/conversations/{conversation_id}/",
    "PATCH /api/conversations/{conversation_id}/",
    "DELETE /api/conversations/{conversation_id}/",
    "refusal: forbidden",
    "refusal: not_found",
)
@pytest.mark.parametrize(("method", "path"), MATRIX, ids=lambda part: part)
def test_each_caller_gets_the_status_of_the_matrix(
    method: str, path: str, product: Product, callers: dict[str, httpx.Client], owner: ApiUser
) -> None:
    """Each caller gets the status of the matrix; a refused request changes nothing for the owner."""
    ids: Json = owned_ids(owner) if "_id}" in path else {}
    expected = dict(zip(WHO, MATRIX[method, path], strict=True))
    for caller in ("anonymous", "disabled", "other", "owner", "staff") if "admin" in path else reversed(WHO):
        client = owner.client if caller == "owner" else callers[caller]
        if "{id}" in path and "id" not in ids:
            ids["id"] = create_staff_row(callers["staff"], path)
        if "{key}" in path:
            ids["key"] = f"k{secrets.token_hex(8)}"
        body = BODIES[path](owner.name) if path in BODIES else {}
        assert status(client, method, path.format(**ids), body) == expected[caller], caller


@pytest.fixture(scope="module")
def owner(product: Product) -> ApiUser:
    return product.register(f"w{secrets.token_hex(5)}")
