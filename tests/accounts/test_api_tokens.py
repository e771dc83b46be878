"""GET and POST /api/tokens/, DELETE /api/tokens/<id>/."""

from typing import Any

import pytest
from django.core import serializers
from django.test import Client

from accounts.models import ApiToken, User

pytestmark = pytest.mark.django_db
LIMITS = {"expires_at", "models", "daily_limit", "requests_per_minute"}


def create(client: Client, **body: Any) -> Any:
    return client.post("/api/tokens/", body, "application/json")


@pytest.mark.contract("GET /api/tokens/", "POST /api/tokens/", "DELETE /api/tokens/{token_id}/")
def test_a_token_is_shown_once_and_can_be_deleted(alice: User, bearer: Any) -> None:
    """A new token is shown once, authenticates, is listed without its secret, and can be deleted."""
    client = bearer(alice)
    response = create(client, name="laptop")
    assert response.status_code == 201
    secret = response.json()["token"]
    by_token = Client(headers={"Authorization": f"Bearer {secret}"})
    assert by_token.get("/api/me/").json()["id"] == alice.pk
    (row,) = client.get("/api/tokens/").json()
    assert row == {
        **{name: value for name, value in response.json().items() if name != "token"},
        "last_used_at": row["last_used_at"],
        "used_today": 0,
    }
    assert {name for name, value in row.items() if value is None} == LIMITS
    assert row["last_used_at"]
    assert client.delete(f"/api/tokens/{row['id']}/").status_code == 204
    assert client.get("/api/tokens/").json() == []
    assert by_token.get("/api/me/").status_code == 401


def test_the_secret_is_not_stored(alice: User, bearer: Any) -> None:
    """The row contains a digest, and no part of the secret."""
    secret = create(bearer(alice), name="laptop").json()["token"]
    assert secret.startswith("sk-")
    assert len(secret) >= 43
    assert secret[3:] not in serializers.serialize("json", ApiToken.objects.all())


def test_other_users_tokens_are_hidden(alice: User, bob: User, bearer: Any, api_token: Any) -> None:
    """The token of another user is not listed, and deleting it is 404, for staff too."""
    api_token(alice)
    token = ApiToken.objects.get()
    User.objects.filter(pk=bob.pk).update(is_staff=True, is_superuser=True)
    client = bearer(bob)
    assert client.get("/api/tokens/").json() == []
    assert client.delete(f"/api/tokens/{token.pk}/").status_code == 404
    assert ApiToken.objects.exists()


@pytest.mark.parametrize("token_id", ["0", "99999999999999999999999999"])
def test_an_unknown_id_is_404(token_id: str, alice: User, bearer: Any) -> None:
    """An id that never existed gets the same response as another user's id."""
    response = bearer(alice).delete(f"/api/tokens/{token_id}/")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


WRONG = [
    {"name": "x", **limit}
    for limit in (
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "soon"},
        {"models": []},
        {"models": ["nothing"]},
        {"models": "demo"},
        {"daily_limit": 0},
        {"daily_limit": "3"},
        {"requests_per_minute": -1},
    )
]


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": " "}, {"name": "x" * 101}, {"name": "x", "token": "sk-1"}, *WRONG]
)
def test_wrong_bodies_are_refused(body: dict[str, Any], alice: User, bearer: Any) -> None:
    """A token needs a name, and accepts no other field."""
    assert create(bearer(alice), **body).json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(("method", "path"), [("get", ""), ("post", ""), ("delete", "1/")])
def test_anonymous_clients_are_refused(method: str, path: str, db: None) -> None:
    """A client without credentials gets 401."""
    assert getattr(Client(), method)(f"/api/tokens/{path}").status_code == 401
