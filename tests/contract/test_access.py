"""The access matrix: every route with an id or a key, called by its owner, others, nobody, staff and the disabled."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from chatproject.openapi.document import document
from chatproject.urls import urlpatterns
from tests.contract.test_schema import methods, routes
from tests.product import Person, Product
from web.openapi import METHODS

pytestmark = pytest.mark.server
WHO = ("owner", "other", "anonymous", "staff", "disabled")

Things = dict[str, Any]

# What each gets: owner, other, anonymous, staff, disabled. Staff see other people's things in the admin only.
HIDDEN = (200, 404, 401, 404, 401)
GONE = (204, 404, 401, 404, 401)
# Asking again is accepted.
ACCEPTED = (202, 404, 401, 404, 401)
# Rows that staff keep: nobody else gets as far as to learn whether they exist.
KEPT = (403, 403, 401, 200, 401)
DELETED = (403, 403, 401, 204, 401)
PUBLISHED = (403, 403, 401, 202, 401)
ENDED = (403, 403, 401, 200, 401)
# A key is everybody's own: the same key of somebody else is another channel.
OWN_CHANNEL = (200, 200, 401, 200, 401)
PLAYED = (202, 202, 401, 202, 401)
# Models are nobody's own.
OFFERED = (200, 200, 401, 200, 401)
ROWS = ("upstreams", "keys", "models", "quotas", "redeem-codes", "users", "sensitive-words", "allowed-phrases")

MATRIX: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/api/generations/{generation_id}/"): HIDDEN,
    ("GET", "/api/generations/{generation_id}/events/"): HIDDEN,
    ("POST", "/api/generations/{generation_id}/stop/"): HIDDEN,
    ("POST", "/api/messages/{message_id}/regenerate/"): ACCEPTED,
    ("GET", "/api/conversations/{conversation_id}/"): HIDDEN,
    ("PATCH", "/api/conversations/{conversation_id}/"): HIDDEN,
    ("DELETE", "/api/conversations/{conversation_id}/"): GONE,
    ("GET", "/api/conversations/{conversation_id}/messages/"): HIDDEN,
    ("GET", "/api/conversations/{conversation_id}/export/"): HIDDEN,
    ("DELETE", "/api/tokens/{token_id}/"): GONE,
    ("GET", "/v1/models/{model_id}"): OFFERED,
    ("GET", "/sse/{key}/"): OWN_CHANNEL,
    ("GET", "/sse/{key}"): OWN_CHANNEL,
    ("GET", "/sse/message/{key}/"): PLAYED,
    ("POST", "/api/channels/{key}/messages/"): PUBLISHED,
    ("POST", "/api/channels/{key}/complete/"): ENDED,
    ("POST", "/api/channels/{key}/error/"): ENDED,
    ("GET", "/api/admin/credits/{id}/"): KEPT,
    **{("GET", f"/api/admin/{name}/{{id}}/"): KEPT for name in ROWS},
    **{("PATCH", f"/api/admin/{name}/{{id}}/"): KEPT for name in ROWS},
    **{("DELETE", f"/api/admin/{name}/{{id}}/"): DELETED for name in ROWS},
}
BODIES: dict[str, Callable[[str], Things]] = {
    "/api/channels/{key}/messages/": lambda user: {"user": user, "data": "x"},
    "/api/channels/{key}/complete/": lambda user: {"user": user},
    "/api/channels/{key}/error/": lambda user: {"user": user, "message": "x"},
}


@pytest.fixture(scope="module")
def disabled(product: Product) -> Person:
    """Somebody whose account was disabled after the tokens were given."""
    person = product.register(f"d{secrets.token_hex(5)}")
    admin = product.admin()
    number = person.client.get("/api/me/").json()["id"]
    assert admin.client.patch(f"/api/admin/users/{number}/", json={"is_active": False}).status_code == 200
    return person


@pytest.fixture(scope="module")
def callers(product: Product, disabled: Person) -> dict[str, httpx.Client]:
    other = product.register(f"o{secrets.token_hex(5)}")
    return {
        "other": other.client,
        "anonymous": product.client(),
        "staff": product.admin().client,
        "disabled": disabled.client,
    }


def belongings(person: Person) -> Things:
    """Make what a person can own; a new key each time, as a channel ends for good."""
    made = person.ended(person.ask("Hello", "plain")["id"])
    token = person.client.post("/api/tokens/", json={"name": "one"}).json()["id"]
    return {
        "generation_id": made["id"],
        "message_id": made["message"],
        "conversation_id": made["conversation"],
        "token_id": token,
        "model_id": "demo",
    }


def row(admin: httpx.Client, path: str) -> int:
    """Make a row that staff keep; return its id."""
    name = f"r{secrets.token_hex(5)}"
    rows: Things = {
        "upstreams": {"slug": name, "kind": "scripted"},
        "models": {"slug": name, "title": name, "routes": []},
        "quotas": {"slug": name, "title": name, "daily_limit": 1},
        "users": {"username": name, "email": f"{name}@example.org"},
        "credits": {"user": "admin", "quota": "standard", "amount": 1, "reason": "gift"},
        "keys": {"upstream": "openai", "secret": f"sk-{name}"},
        "redeem-codes": {"quota": "standard", "credits": 1, "count": 1},
        "sensitive-words": {"word": name},
        "allowed-phrases": {"phrase": name},
    }
    kind = path.split("/")[3]
    answer = admin.post(f"/api/admin/{kind}/", json=rows[kind])
    assert answer.status_code == 201, answer.text
    return (
        int(answer.json()["id"])
        if kind != "redeem-codes"
        else int(admin.get("/api/admin/redeem-codes/").json()[-1]["id"])
    )


def status(client: httpx.Client, method: str, url: str, body: Things) -> int:
    """Return the status only: streams of channels stay open."""
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
    """Each route that takes an id or a key is in the matrix with each of its methods, and none that is gone."""
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
def test_matrix(method: str, path: str, product: Product, callers: dict[str, httpx.Client], owner: Person) -> None:
    """Whoever calls gets exactly the status of the matrix; what was refused has changed nothing for the owner."""
    things: Things = belongings(owner) if "_id}" in path else {}
    expected = dict(zip(WHO, MATRIX[method, path], strict=True))
    for who in ("anonymous", "disabled", "other", "owner", "staff") if "admin" in path else reversed(WHO):
        client = owner.client if who == "owner" else callers[who]
        if "{id}" in path and "id" not in things:
            things["id"] = row(callers["staff"], path)
        if "{key}" in path:
            things["key"] = f"k{secrets.token_hex(8)}"
        body = BODIES[path](owner.name) if path in BODIES else {}
        assert status(client, method, path.format(**things), body) == expected[who], who


@pytest.fixture(scope="module")
def owner(product: Product) -> Person:
    return product.register(f"w{secrets.token_hex(5)}")
