"""POST /api/auth/token/, …/refresh/ and …/revoke/."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.db import connections
from django.test import Client
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts import jwt
from accounts.models import RefreshFamily, User
from tests import factories

pytestmark = pytest.mark.django_db


def post(route: str, **body: Any) -> Any:
    return Client().post(f"/api/auth/token/{route}", body, "application/json")


def log_in(name: str = "alice", password: str = factories.PASSWORD) -> Any:
    return post("", username=name, password=password)


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_name_and_password_give_tokens(alice: User) -> None:
    """Name and password give tokens that work."""
    response = log_in()
    assert (response.status_code, set(response.json())) == (200, {"access", "refresh"})
    assert jwt.login_of(response.json()["access"]).user == alice
    alice.refresh_from_db()
    assert alice.last_login


@pytest.mark.contract("POST /api/auth/token/")
@pytest.mark.parametrize("name", ["ALICE", "alice@example.org", "Alice@Example.ORG"])
def test_name_or_address_in_any_case(name: str, alice: User) -> None:
    """An e-mail address works like a name; case does not matter."""
    assert log_in(name).status_code == 200


def test_all_failures_look_the_same(alice: User, bob: User) -> None:
    """Wrong password, unknown user and disabled user get the same 401."""
    User.objects.filter(pk=bob.pk).update(is_active=False)
    responses = [log_in(password="wrong"), log_in("nobody"), log_in("bob"), log_in("bob@example.org")]
    assert {refusal(response) for response in responses} == {(401, "not_authenticated")}
    assert len({response.json()["error"]["message"] for response in responses}) == 1


def test_all_failures_take_equal_time(alice: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt hashes one password, so that the time reveals nothing; also on the page."""
    User.objects.filter(pk=bob.pk).update(is_active=False)
    factories.user("wei", password=None)
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    for name in ("alice", "alice@example.org", "nobody", "nobody@example.org", "bob", "bob@example.org", "wei"):
        cache.clear()
        hashed.clear()
        assert log_in(name, "wrong").status_code == 401
        Client().post("/accounts/login/", {"login": name, "password": "wrong"})
        assert len(hashed) == 2, name


@pytest.mark.contract("refusal: too_many_requests")
def test_five_failures_make_the_client_wait(alice: User) -> None:
    """After five failures the right password is refused too, with the time to wait."""
    for _attempt in range(5):
        assert log_in(password="wrong").status_code == 401
    response = log_in()
    assert refusal(response) == (429, "too_many_requests")
    assert 30 < int(response["Retry-After"]) <= 60


def test_another_host_header_begins_no_new_count(alice: User) -> None:
    """Another port in the Host header does not start a new count."""
    for port in range(10):
        client = Client(headers={"Host": f"localhost:{port}"})
        client.post("/api/auth/token/", {"username": "alice", "password": "wrong"}, "application/json")
    assert log_in().status_code == 429


def test_failures_for_one_name_do_not_lock_others(alice: User, bob: User) -> None:
    """Failures for one name do not use up the limit of others behind the same IP address."""
    for _attempt in range(40):
        log_in(password="wrong")
    assert log_in("bob").status_code == 200


def test_successes_are_not_counted(alice: User) -> None:
    """Programs may log in as often as they need."""
    assert {log_in().status_code for _time in range(15)} == {200}


def test_the_page_shares_the_limit(alice: User, client: Client) -> None:
    """Attempts on the login page count for the API too."""
    for _attempt in range(10):
        client.post("/accounts/login/", {"login": "alice", "password": "wrong"})
    assert log_in().status_code == 429


@pytest.mark.parametrize(
    "body", [{}, {"username": "alice"}, {"username": "alice", "password": "x", "otp": 1}, {"username": "\x00"}, []]
)
def test_wrong_bodies_are_refused(body: Any) -> None:
    """A body without a name and a password is invalid_request."""
    response = Client().post("/api/auth/token/", body, "application/json")
    assert refusal(response) == (400, "invalid_request")


def test_a_social_account_has_no_password(db: None) -> None:
    """An account created by WeChat accepts no password."""
    user = factories.user("wei", password=None, email="")
    SocialAccount.objects.create(user=user, provider="weixin", uid="1")
    assert log_in("wei", "").status_code == 400
    assert log_in("wei", "!").status_code == 401


@pytest.mark.contract("POST /api/auth/token/refresh/")
def test_a_refresh_token_is_exchanged_once(alice: User) -> None:
    """A refresh token gives a new pair and is used up."""
    first = log_in().json()["refresh"]
    response = post("refresh/", refresh=first)
    assert (response.status_code, set(response.json())) == (200, {"access", "refresh"})
    assert jwt.login_of(response.json()["access"]).user == alice
    assert post("refresh/", refresh=response.json()["refresh"]).status_code == 200
    assert refusal(post("refresh/", refresh=first)) == (401, "not_authenticated")


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_refreshes_one_succeeds(alice: User) -> None:
    """Of eight concurrent uses of one refresh token one succeeds."""
    refresh = log_in().json()["refresh"]

    def attempt(_hand: int) -> int:
        try:
            return int(post("refresh/", refresh=refresh).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as hands:
        assert sorted(hands.map(attempt, range(8))) == [200] + [401] * 7


@pytest.mark.contract("POST /api/auth/token/revoke/")
def test_a_revoked_token_is_refused(alice: User) -> None:
    """A revoked token is refused; revoking it again is 401."""
    refresh = log_in().json()["refresh"]
    response = post("revoke/", refresh=refresh)
    assert (response.status_code, response.content) == (204, b"")
    assert refusal(post("revoke/", refresh=refresh)) == (401, "not_authenticated")
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")


@pytest.mark.parametrize("route", ["refresh/", "revoke/"])
def test_other_tokens_are_refused(route: str, alice: User) -> None:
    """A text that is not a refresh token is 401, an access token too."""
    for garbage in ("x", "a.b.c", log_in().json()["access"]):
        assert refusal(post(route, refresh=garbage)) == (401, "not_authenticated")
    assert refusal(post(route)) == (400, "invalid_request")


def test_a_disabled_user_cannot_refresh(alice: User) -> None:
    """The refresh token of a disabled user is refused."""
    refresh = log_in().json()["refresh"]
    User.objects.update(is_active=False)
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")


def test_a_password_change_ends_refreshing(alice: User) -> None:
    """A refresh token becomes invalid when the password changes."""
    refresh = log_in().json()["refresh"]
    alice.set_password("another fine password")
    alice.save()
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")


def test_a_deleted_user_cannot_refresh_and_may_revoke(alice: User) -> None:
    """The token of a deleted user can only be revoked."""
    refresh = log_in().json()["refresh"]
    User.objects.all().delete()
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")
    assert post("revoke/", refresh=refresh).status_code == 204


def test_no_token_is_stored(alice: User) -> None:
    """The database contains only the id of a login's newest token, and expired ones are deleted."""
    refresh = log_in().json()["refresh"]
    newest = post("refresh/", refresh=refresh).json()["refresh"]
    rows = str(list(RefreshFamily.objects.values()))
    assert RefreshFamily.objects.count() == 1
    assert not OutstandingToken.objects.exists()
    assert not any(part in rows for token in (refresh, newest) for part in (token, token.rpartition(".")[2]))
    jwt.delete_expired()
    assert RefreshFamily.objects.count() == 1
    RefreshFamily.objects.update(expires_at="2020-01-01T00:00:00Z")
    jwt.delete_expired()
    assert not RefreshFamily.objects.exists()


def test_a_token_of_the_previous_release_works_once(alice: User) -> None:
    """A refresh token without a family is exchanged once, and its successor has a family."""
    token = jwt._RefreshToken.for_user(alice)
    response = post("refresh/", refresh=str(token))
    assert response.status_code == 200
    assert refusal(post("refresh/", refresh=str(token))) == (401, "not_authenticated")
    assert post("refresh/", refresh=response.json()["refresh"]).status_code == 200
