"""Single statements of the contract, tested over HTTP: fields of lists, idempotency keys, and formats."""

import secrets
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.product import ApiUser, Product

pytestmark = pytest.mark.server
QUOTA = {"slug", "title", "models", "daily_limit", "used_today", "credits", "remaining", "resets_at"}


@pytest.fixture(scope="module")
def admin(product: Product) -> ApiUser:
    return product.admin()


def create(admin: ApiUser, rows: str, **body: Any) -> dict[str, Any]:
    response = admin.client.post(f"/api/admin/{rows}/", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


def quota_of(api_user: ApiUser, slug: str) -> dict[str, Any]:
    return next(dict(row) for row in api_user.client.get("/api/quotas/").json() if row["slug"] == slug)


@pytest.mark.contract("GET /api/models/")
def test_models_have_exactly_their_fields(api_user: ApiUser) -> None:
    """`GET /api/models/` is a bare array with exactly its fields, `demo` last, and existing quotas."""
    models = api_user.client.get("/api/models/").json()
    fields = {"slug", "title", "description", "quota", "available", "takes", "context_tokens"}
    assert {frozenset(model) for model in models} == {frozenset(fields)}
    assert models[-1]["slug"] == "demo"
    assert next(model for model in models if model["slug"] == "plain")["available"]
    quotas = {quota["slug"]: quota for quota in api_user.client.get("/api/quotas/").json()}
    assert all(model["slug"] in quotas[model["quota"]]["models"] for model in models)
    assert {model["slug"]: model["quota"] for model in models}["gpt-4-echo"] == "premium"


@pytest.mark.contract("GET /api/text-tools/")
def test_text_tools_have_exactly_their_fields(api_user: ApiUser) -> None:
    """`GET /api/text-tools/` is a bare array with exactly its fields; `translate` needs a language."""
    tools = {tool["slug"]: tool for tool in api_user.client.get("/api/text-tools/").json()}
    assert all(set(tool) == {"slug", "title", "needs_target_language"} for tool in tools.values())
    assert tools["translate"]["needs_target_language"]
    assert {"polish", "translate", "summarise", "explain", "write-code"} <= set(tools)


@pytest.mark.contract("GET /api/me/")
def test_me_has_exactly_its_fields(api_user: ApiUser) -> None:
    """`GET /api/me/` has exactly its fields, with quotas as in `GET /api/quotas/`."""
    me = api_user.client.get("/api/me/").json()
    assert set(me) == {"id", "username", "email", "invite_code", "invite_url", "quotas"}
    assert me["invite_url"].endswith(f"/accounts/signup/?invite={me['invite_code']}")
    assert me["quotas"] == api_user.client.get("/api/quotas/").json()


@pytest.mark.contract("GET /api/quotas/")
@pytest.mark.parametrize(
    ("limit", "given", "remaining"), [(2, 0, 2), (2, 3, 5), (None, 0, None), (None, 3, None), (0, 0, 0), (0, 3, 3)]
)
def test_remaining_adds_limit_and_credits(
    admin: ApiUser, api_user: ApiUser, limit: int | None, given: int, remaining: int | None
) -> None:
    """A limit of null means no limit, 0 means credits only; `remaining` is the sum."""
    slug = f"q{secrets.token_hex(5)}"
    create(admin, "quotas", slug=slug, title="Own", models=[], daily_limit=limit)
    create(admin, "models", slug=slug, title="Own", quota=slug, routes=[])
    if given:
        create(admin, "credits", user=api_user.name, quota=slug, amount=given, reason="gift")
    quota = quota_of(api_user, slug)
    assert set(quota) == QUOTA
    assert (quota["daily_limit"], quota["credits"], quota["remaining"]) == (limit, given, remaining)
    assert (quota["used_today"], quota["models"]) == (0, [slug])
    assert datetime.fromisoformat(quota["resets_at"]).utcoffset() is not None


@pytest.mark.contract("GET /api/conversations/")
def test_conversations_are_paged(api_user: ApiUser) -> None:
    """Pinned conversations come first, then the newest; `next` leads to the next page."""
    document = {
        "format": "rivulet",
        "version": 1,
        "conversations": [
            {
                "id": number,
                "title": f"No. {number}",
                "pinned": number == 3,
                "archived": False,
                "system_prompt": "",
                "created_at": f"2026-01-01T00:{number:02}:00+00:00",
                "updated_at": f"2026-01-01T00:{number:02}:00+00:00",
                "messages": [],
            }
            for number in range(59)
        ],
    }
    imported = api_user.client.post("/api/import/", json=document)
    assert (imported.status_code, imported.json()) == (201, {"conversations": 59, "messages": 0})
    found, url = [], "/api/conversations/"
    while url:
        page = api_user.client.get(url).json()
        assert set(page) == {"results", "next"}
        found, url = [*found, *page["results"]], page["next"]
    assert [row["title"] for row in found] == ["No. 3", *(f"No. {n}" for n in reversed(range(59)) if n != 3)]
    fields = {"id", "title", "pinned", "archived", "system_prompt", "created_at", "updated_at"}
    assert {frozenset(row) for row in found} == {frozenset(fields)}


@pytest.mark.contract("Accept")
def test_accept_decides_about_the_stream(api_user: ApiUser) -> None:
    """An Accept header with the stream's type, in any case, gets it; others get 202."""
    body = {"model": "plain", "prompt": "Hello"}
    for accept, status in (
        ("Text/Event-Stream", 200),
        ("*/*", 202),
        ("application/json, text/event-stream;q=0.1", 200),
    ):
        response = api_user.client.post("/api/chat/", json=body, headers={"Accept": accept})
        assert response.status_code == status, accept
    begun = api_user.client.post("/api/chat/", json=body).json()
    assert begun["events"] == f"/api/generations/{begun['generation']['id']}/events/"


@pytest.mark.contract("refusal: conflict")
def test_a_get_takes_the_idempotency_key_from_its_header(api_user: ApiUser) -> None:
    """`GET /api/chat/` takes the key from the header too; the key in the query wins."""
    key = secrets.token_hex(8)
    first = api_user.ask("Hello", "plain", key=key)["id"]
    query = {"model": "plain", "prompt": "Hello"}
    again = api_user.client.get("/api/chat/", params=query, headers={"Idempotency-Key": key})
    assert f"id: {first}:1" in again.text
    other = api_user.client.get("/api/chat/", params={**query, "prompt": "Another"}, headers={"Idempotency-Key": key})
    assert '"code":"conflict"' in other.text
    own = api_user.client.get(
        "/api/chat/", params={**query, "idempotency_key": secrets.token_hex(8)}, headers={"Idempotency-Key": key}
    )
    assert f"id: {first}:1" not in own.text


@pytest.mark.contract("a key lives for a day")
def test_an_idempotency_key_lives_for_a_day(product: Product, api_user: ApiUser) -> None:
    """For 24 hours a key returns its generation and no other request may use it."""
    key = secrets.token_hex(8)
    first = api_user.ended(api_user.ask("Hello", "plain", key=key)["id"])["id"]
    for hours, same in ((23, True), (25, False)):
        begun = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S")
        with closing(sqlite3.connect(product.var_dir / "rivulet.sqlite3", timeout=30)) as database, database:
            database.execute("UPDATE chat_generation SET created_at = ? WHERE id = ?", (begun, first))
        assert (api_user.ask("Hello", "plain", key=key)["id"] == first) is same


def test_null_is_no_invite_code(product: Product) -> None:
    """A program may send null for a missing invite code."""
    name = f"n{secrets.token_hex(5)}"
    body = {"username": name, "email": f"{name}@example.org", "password": "correct horse", "invite_code": None}
    assert product.client().post("/api/auth/register/", json=body).status_code == 201


@pytest.mark.contract("staff: keys")
@pytest.mark.parametrize(("secret", "last4"), [("sk-12345678", "5678"), ("12345678", "5678"), ("1234567", "")])
def test_only_the_last_four_characters_of_a_key_are_shown(admin: ApiUser, secret: str, last4: str) -> None:
    """A key's last four characters are shown, unless they are more than half of it."""
    upstream = create(
        admin, "upstreams", slug=f"u{secrets.token_hex(5)}", kind="openai", base_url="https://x.example/v1"
    )
    key = create(admin, "keys", upstream=upstream["slug"], secret=secret)
    assert (key["last4"], "secret" in key) == (last4, False)


@pytest.mark.contract("GET /healthz", "GET /readyz", "GET /metrics")
@pytest.mark.parametrize(
    ("path", "body"), [("/healthz", {"status": "ok"}), ("/readyz", {"status": "ok"}), ("/metrics", None)]
)
def test_operators_routes_need_no_login(product: Product, path: str, body: dict[str, str] | None) -> None:
    """Health checks and metrics need no login on this machine."""
    response: httpx.Response = product.client().get(path)
    assert response.status_code == 200
    assert response.headers["X-Request-ID"]
    assert body is None or response.json() == body
    assert body is not None or "# TYPE rivulet_" in response.text


def test_an_import_error_names_its_place(api_user: ApiUser) -> None:
    """An error in an import is named by its place, or by `body` for the whole."""
    row = {"id": {}, "parent": None, "role": "user", "content": "x", "created_at": "2026-01-01T00:00:00Z"}
    found = api_user.client.post(
        "/api/import/", json={"format": "rivulet", "version": 1, "conversations": [{"messages": [row]}]}
    )
    details = found.json()["error"]["details"]
    assert "conversations.0.messages.0.id" in details
    assert not [place for place in details if place.endswith(("int", "str"))]
    assert list(api_user.client.post("/api/import/", json=[]).json()["error"]["details"]) == ["body"]
