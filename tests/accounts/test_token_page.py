"""accounts/pages.py: making and deleting API tokens by hand."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiToken, User

pytestmark = pytest.mark.django_db
PAGE = "/accounts/tokens/"


@pytest.fixture
def visitor(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def secret_in(answer: Any) -> str:
    found = re.search(r"sk-[\w-]{40,}", answer.content.decode())
    assert found
    return found[0]


def test_a_token_made_on_the_page_opens_the_api(visitor: Client, alice: User) -> None:
    """A token that is made here is good for the API, shown once, and stored as a digest only."""
    answer = visitor.post(PAGE, {"name": "laptop"})
    secret = secret_in(answer)
    assert "no-store" in answer["Cache-Control"]
    assert Client().get("/api/me/", headers={"Authorization": f"Bearer {secret}"}).json()["username"] == "alice"
    again = visitor.get(PAGE).content.decode()
    assert "laptop" in again
    assert secret not in again
    assert secret not in str(ApiToken.objects.values())


def test_a_name_is_needed(visitor: Client) -> None:
    """Without a name, or with one that is too long, nothing is made and the form says why."""
    for name in ("", "  ", "x" * 101):
        assert "field-error" in visitor.post(PAGE, {"name": name}).content.decode()
    assert not ApiToken.objects.exists()


def test_deleting(visitor: Client, alice: User) -> None:
    """A deleted token is refused from then on; deleting it again changes nothing."""
    token, secret = ApiToken.issue(alice, "laptop")
    for _ in range(2):
        assert visitor.post(f"{PAGE}{token.pk}/delete/")["Location"] == PAGE
    assert Client().get("/api/me/", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_tokens_are_ones_own(visitor: Client, bob: User) -> None:
    """Nobody sees or deletes another person's tokens."""
    token, _secret = ApiToken.issue(bob, "of bob")
    assert "of bob" not in visitor.get(PAGE).content.decode()
    visitor.post(f"{PAGE}{token.pk}/delete/")
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_strangers_log_in_first(client: Client, alice: User) -> None:
    """Without a session one is sent to the login, and a link alone deletes nothing."""
    token, secret = ApiToken.issue(alice, "laptop")
    for answer in (client.get(PAGE), client.post(PAGE, {"name": "x"}), client.post(f"{PAGE}{token.pk}/delete/")):
        assert answer["Location"].startswith("/accounts/login/")
    bearer = {"Authorization": f"Bearer {secret}"}
    assert client.get(PAGE, headers=bearer).status_code == 302, "a program does not make more programs here"
    client.force_login(alice)
    assert client.get(f"{PAGE}{token.pk}/delete/").status_code == 405
    assert Client(enforce_csrf_checks=True).post(PAGE, {"name": "x"}).status_code == 403
    assert ApiToken.objects.count() == 1


def test_names_are_text(visitor: Client, alice: User) -> None:
    """A name is shown as it is, markup included."""
    answer = visitor.post(PAGE, {"name": "<script>alert(1)</script>"})
    assert "<script>alert" not in answer.content.decode()


def test_where_it_is_found(visitor: Client) -> None:
    """The page is linked from the chat page's menu and from the other account pages."""
    for page in ("/", "/accounts/email/", "/accounts/password/change/"):
        assert f'href="{PAGE}"' in visitor.get(page).content.decode()
