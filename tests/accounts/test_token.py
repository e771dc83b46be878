"""POST /api/auth/token/, …/refresh/ and …/revoke/."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.db import connections
from django.test import Client
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from accounts import jwt
from accounts.models import User
from tests import factories

pytestmark = pytest.mark.django_db


def post(route: str, **body: Any) -> Any:
    return Client().post(f"/api/auth/token/{route}", body, "application/json")


def log_in(name: str = "alice", password: str = factories.PASSWORD) -> Any:
    return post("", username=name, password=password)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_name_and_password_give_tokens(alice: User) -> None:
    """Name and password give tokens that open the account."""
    answer = log_in()
    assert (answer.status_code, set(answer.json())) == (200, {"access", "refresh"})
    assert jwt.user_of(answer.json()["access"]) == alice
    alice.refresh_from_db()
    assert alice.last_login


@pytest.mark.contract("POST /api/auth/token/")
@pytest.mark.parametrize("name", ["ALICE", "alice@example.org", "Alice@Example.ORG"])
def test_name_or_address_in_any_case(name: str, alice: User) -> None:
    """An address does as well as a name; case does not matter."""
    assert log_in(name).status_code == 200


def test_all_failures_look_the_same(alice: User, bob: User) -> None:
    """Wrong password, unknown user and disabled user get the same 401."""
    User.objects.filter(pk=bob.pk).update(is_active=False)
    answers = [log_in(password="wrong"), log_in("nobody"), log_in("bob"), log_in("bob@example.org")]
    assert {refusal(answer) for answer in answers} == {(401, "not_authenticated")}
    assert len({answer.json()["error"]["message"] for answer in answers}) == 1


def test_all_failures_take_equal_time(alice: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """One password is hashed whoever is asked for, on the page too, so that the time tells nothing."""
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
def test_too_many_attempts(alice: User) -> None:
    """After ten failures even the right password has to wait, and is told how long."""
    for _attempt in range(10):
        assert log_in(password="wrong").status_code == 401
    answer = log_in()
    assert refusal(answer) == (429, "too_many_requests")
    assert 200 < int(answer["Retry-After"]) <= 300


def test_another_host_header_begins_no_new_count(alice: User) -> None:
    """The limit cannot be escaped by the port in the Host header."""
    for port in range(10):
        client = Client(headers={"Host": f"localhost:{port}"})
        client.post("/api/auth/token/", {"username": "alice", "password": "wrong"}, "application/json")
    assert log_in().status_code == 429


def test_guessing_at_one_name_locks_out_nobody_else(alice: User, bob: User) -> None:
    """Attempts beyond a name's limit do not use up what others behind the same address have."""
    for _attempt in range(40):
        log_in(password="wrong")
    assert log_in("bob").status_code == 200


def test_successes_are_not_counted(alice: User) -> None:
    """Programs may log in as often as they need."""
    assert {log_in().status_code for _time in range(15)} == {200}


def test_the_page_shares_the_limit(alice: User, client: Client) -> None:
    """What was tried on the login page counts here."""
    for _attempt in range(10):
        client.post("/accounts/login/", {"login": "alice", "password": "wrong"})
    assert log_in().status_code == 429


@pytest.mark.parametrize(
    "body", [{}, {"username": "alice"}, {"username": "alice", "password": "x", "otp": 1}, {"username": "\x00"}, []]
)
def test_wrong_bodies_are_refused(body: Any) -> None:
    """A body that is not a name and a password is invalid_request."""
    answer = Client().post("/api/auth/token/", body, "application/json")
    assert refusal(answer) == (400, "invalid_request")


def test_a_social_account_has_no_password(db: None) -> None:
    """An account made by WeChat cannot be opened by any password."""
    user = factories.user("wei", password=None, email="")
    SocialAccount.objects.create(user=user, provider="weixin", uid="1")
    assert log_in("wei", "").status_code == 400
    assert log_in("wei", "!").status_code == 401


@pytest.mark.contract("POST /api/auth/token/refresh/")
def test_refresh_rotates(alice: User) -> None:
    """A refresh token gives a new pair, and is used up by that."""
    first = log_in().json()["refresh"]
    answer = post("refresh/", refresh=first)
    assert (answer.status_code, set(answer.json())) == (200, {"access", "refresh"})
    assert refusal(post("refresh/", refresh=first)) == (401, "not_authenticated")
    assert jwt.user_of(answer.json()["access"]) == alice
    assert post("refresh/", refresh=answer.json()["refresh"]).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_refresh_many_hands(alice: User) -> None:
    """Of eight that use one refresh token at once, one gets a new pair."""
    refresh = log_in().json()["refresh"]

    def attempt(_hand: int) -> int:
        try:
            return int(post("refresh/", refresh=refresh).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as hands:
        assert sorted(hands.map(attempt, range(8))) == [200] + [401] * 7


@pytest.mark.contract("POST /api/auth/token/revoke/")
def test_revoke(alice: User) -> None:
    """A revoked token is over; revoking it again is 401."""
    refresh = log_in().json()["refresh"]
    answer = post("revoke/", refresh=refresh)
    assert (answer.status_code, answer.content) == (204, b"")
    assert refusal(post("revoke/", refresh=refresh)) == (401, "not_authenticated")
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")


@pytest.mark.parametrize("route", ["refresh/", "revoke/"])
def test_garbage_is_refused(route: str, alice: User) -> None:
    """What is no refresh token of ours is 401, an access token too."""
    for garbage in ("x", "a.b.c", log_in().json()["access"]):
        assert refusal(post(route, refresh=garbage)) == (401, "not_authenticated")
    assert refusal(post(route)) == (400, "invalid_request")


def test_the_disabled_cannot_refresh(alice: User) -> None:
    """A refresh token does not help a disabled user."""
    refresh = log_in().json()["refresh"]
    User.objects.update(is_active=False)
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")


def test_a_password_change_ends_refreshing(alice: User) -> None:
    """A refresh token dies with the password it was got by."""
    refresh = log_in().json()["refresh"]
    alice.set_password("another fine password")
    alice.save()
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")


def test_a_deleted_user_cannot_refresh_and_may_revoke(alice: User) -> None:
    """A token outlives its user without harm."""
    refresh = log_in().json()["refresh"]
    User.objects.all().delete()
    assert refusal(post("refresh/", refresh=refresh)) == (401, "not_authenticated")
    assert post("revoke/", refresh=refresh).status_code == 204


def test_no_token_is_stored(alice: User) -> None:
    """The database knows used tokens by their ids; expired ones are forgotten."""
    refresh = log_in().json()["refresh"]
    post("refresh/", refresh=refresh)
    rows = str(list(OutstandingToken.objects.values())) + str(list(BlacklistedToken.objects.values()))
    assert OutstandingToken.objects.count() == 1
    assert refresh not in rows
    assert refresh.rpartition(".")[2] not in rows
    jwt.delete_expired()
    assert OutstandingToken.objects.count() == 1
    OutstandingToken.objects.update(expires_at="2020-01-01T00:00:00Z")
    jwt.delete_expired()
    assert not BlacklistedToken.objects.exists()
