"""accounts/token_page.py: creating and deleting API tokens on a page."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken, User
from tests import factories

pytestmark = pytest.mark.django_db
PAGE = "/accounts/tokens/"


@pytest.fixture
def visitor(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def secret_in(response: Any) -> str:
    match = re.search(r"sk-[\w-]{40,}", response.content.decode())
    assert match
    return match[0]


def test_a_token_made_on_the_page_opens_the_api(visitor: Client, alice: User) -> None:
    """A token created here works for the API, is shown once, and is stored as a digest."""
    response = visitor.post(PAGE, {"name": "laptop"})
    secret = secret_in(response)
    assert 'data-copy="#new-token"' in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert Client().get("/api/me/", headers={"Authorization": f"Bearer {secret}"}).json()["username"] == "alice"
    again = visitor.get(PAGE).content.decode()
    assert "laptop" in again
    assert secret not in again
    assert secret not in str(ApiToken.objects.values())


def test_limits_of_a_new_token(visitor: Client, alice: User) -> None:
    """The page sets limits, shows them, and refuses impossible ones."""
    factories.route(factories.chat_model("gpt-4"), factories.upstream("demo", kind="scripted"))
    given = {"name": "ci", "expires": "30", "daily_limit": "5", "requests_per_minute": "7", "models": ["gpt-4"]}
    visitor.post(PAGE, given)
    token = ApiToken.objects.get()
    assert (token.daily_limit, token.requests_per_minute, token.allowed_models) == (5, 7, ["gpt-4"])
    assert token.expires_at
    assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)
    text = visitor.get(PAGE, headers={"Accept-Language": "en"}).content.decode()
    for shown in ("0 of 5 answers today", "at most 7 requests a minute", "only gpt-4"):
        assert shown in text
    for wrong in ({"daily_limit": "0"}, {"models": ["nothing"]}, {"expires": "3"}):
        assert "field-error" in visitor.post(PAGE, {"name": "x", **wrong}).content.decode()
    assert ApiToken.objects.count() == 1


def test_a_name_is_needed(visitor: Client) -> None:
    """A missing or too long name is a form error, and no token is created."""
    for name in ("", "  ", "x" * 101):
        assert "field-error" in visitor.post(PAGE, {"name": name}).content.decode()
    assert not ApiToken.objects.exists()


def test_a_deleted_token_is_refused(visitor: Client, alice: User) -> None:
    """A deleted token is refused; deleting it again changes nothing."""
    token, secret = ApiToken.issue(alice, "laptop")
    for _ in range(2):
        assert visitor.post(f"{PAGE}{token.pk}/delete/")["Location"] == PAGE
    assert Client().get("/api/me/", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_other_users_tokens_are_hidden(visitor: Client, bob: User) -> None:
    """A user cannot see or delete another user's tokens."""
    token, _secret = ApiToken.issue(bob, "of bob")
    assert "of bob" not in visitor.get(PAGE).content.decode()
    visitor.post(f"{PAGE}{token.pk}/delete/")
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_anonymous_visitors_log_in_first(client: Client, alice: User) -> None:
    """A visitor without a session is redirected to the login, and a GET deletes nothing."""
    token, secret = ApiToken.issue(alice, "laptop")
    for response in (client.get(PAGE), client.post(PAGE, {"name": "x"}), client.post(f"{PAGE}{token.pk}/delete/")):
        assert response["Location"].startswith("/accounts/login/")
    bearer = {"Authorization": f"Bearer {secret}"}
    assert client.get(PAGE, headers=bearer).status_code == 302, "a token cannot create further tokens on the page"
    client.force_login(alice)
    assert client.get(f"{PAGE}{token.pk}/delete/").status_code == 405
    assert Client(enforce_csrf_checks=True).post(PAGE, {"name": "x"}).status_code == 403
    assert ApiToken.objects.count() == 1


def test_names_are_escaped(visitor: Client, alice: User) -> None:
    """A name with markup is shown as text."""
    response = visitor.post(PAGE, {"name": "<script>alert(1)</script>"})
    assert "<script>alert" not in response.content.decode()


def test_the_page_is_linked(visitor: Client) -> None:
    """The chat page's menu and the other account pages link to the page."""
    for page in ("/", "/accounts/email/", "/accounts/password/change/"):
        assert f'href="{PAGE}"' in visitor.get(page).content.decode()
