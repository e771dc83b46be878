"""GET /api/me/."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.mark.contract("GET /api/me/")
def test_me_shows_account_invitation_and_remainder(alice: User, bearer: Any) -> None:
    """The response has the account, the invitation link and the quotas."""
    factories.quota("standard", models=[factories.chat_model("gpt")])
    body = bearer(alice).get("/api/me/").json()
    assert body["invite_url"] == f"http://testserver/accounts/signup/?invite={alice.invite_code}"
    assert [quota["slug"] for quota in body.pop("quotas")] == ["standard"]
    assert body == {
        "id": alice.pk,
        "username": "alice",
        "email": "alice@example.org",
        "invite_code": alice.invite_code,
        "invite_url": body["invite_url"],
    }


def test_session_and_token_are_accepted(client: Client, alice: User, api_token: Any) -> None:
    """A session and an API token both give access."""
    client.force_login(alice)
    assert client.get("/api/me/").status_code == 200
    assert Client(headers={"Authorization": f"Bearer {api_token(alice)}"}).get("/api/me/").status_code == 200


def test_anonymous_clients_are_refused(client: Client) -> None:
    """A client without credentials gets 401."""
    assert client.get("/api/me/").status_code == 401


def test_the_page_behind_the_invite_link_exists(client: Client, alice: User, bearer: Any) -> None:
    """The link leads to the sign-up page with the code filled in."""
    url = bearer(alice).get("/api/me/").json()["invite_url"]
    assert alice.invite_code in client.get(url.removeprefix("http://testserver")).content.decode()
