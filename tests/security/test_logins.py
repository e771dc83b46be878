"""Logins: the password again for sensitive steps, reused refresh tokens, guesses at a password."""

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import jwt as pyjwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.conf import settings as django_settings
from django.core import mail
from django.core.cache import cache
from django.test import Client

from accounts import jwt
from accounts.models import ApiToken, User
from tests import factories
from tests.product import PASSWORD, Product

pytestmark = pytest.mark.django_db
TOKENS, PAGE = "/api/tokens/", "/accounts/tokens/"
# Seconds after which a login is too old for steps that give access.
TEN_MINUTES = 600


@pytest.fixture(autouse=True)
def _fresh_rate_limits() -> None:
    cache.clear()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that stops the clock, some seconds after the test began."""
    began = time.time()

    def move(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: began + seconds)

    return move


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(path, body, "application/json")


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def bearer(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def log_in(client: Client, name: str = "alice", password: str = factories.PASSWORD) -> Any:
    return client.post("/accounts/login/", {"login": name, "password": password})


# --- the password again ----------------------------------------------------------------------------------------------


@pytest.mark.contract("refusal: reauthentication_required")
def test_an_old_session_makes_no_api_token(alice: User, client: Client, later: Callable[[float], None]) -> None:
    """The API refuses with 403; after the password was entered again, it accepts."""
    log_in(client)
    later(TEN_MINUTES - 5)
    assert post(client, TOKENS, name="in time").status_code == 201
    later(TEN_MINUTES + 5)
    assert refusal(post(client, TOKENS, name="late")) == (403, "reauthentication_required")
    assert client.post("/accounts/reauthenticate/", {"password": "wrong"}).status_code == 200
    assert refusal(post(client, TOKENS, name="late")) == (403, "reauthentication_required")
    assert client.post("/accounts/reauthenticate/", {"password": factories.PASSWORD}).status_code == 302
    assert post(client, TOKENS, name="confirmed").status_code == 201
    assert set(ApiToken.objects.values_list("name", flat=True)) == {"in time", "confirmed"}


def test_the_page_asks_for_the_password_and_goes_on(
    alice: User, client: Client, later: Callable[[float], None]
) -> None:
    """The page of tokens leads to the password, and then makes the token that was asked for."""
    log_in(client)
    later(TEN_MINUTES + 5)
    assert client.get(PAGE).status_code == 200
    asked = client.post(PAGE, {"name": "laptop"})
    assert asked["Location"] == f"/accounts/reauthenticate/?next={PAGE.replace('/', '%2F')}"
    assert not ApiToken.objects.exists()
    form = client.get(asked["Location"])
    assert 'name="password"' in form.content.decode()
    made = client.post(asked["Location"], {"password": factories.PASSWORD})
    assert re.search(r"sk-[\w-]{40,}", made.content.decode())
    assert ApiToken.objects.get().name == "laptop"


@pytest.mark.parametrize("action", ["action_add", "action_primary", "action_remove"])
def test_an_old_session_changes_no_address(
    action: str, alice: User, client: Client, later: Callable[[float], None]
) -> None:
    """Adding, promoting and removing an address need the password again."""
    EmailAddress.objects.create(user=alice, email="old@example.org", verified=True)
    log_in(client)
    later(TEN_MINUTES + 5)
    before = list(EmailAddress.objects.values_list("email", "primary").order_by("pk"))
    email = "new@example.org" if action == "action_add" else "old@example.org"
    asked = client.post("/accounts/email/", {action: "", "email": email})
    assert asked["Location"].startswith("/accounts/reauthenticate/")
    assert list(EmailAddress.objects.values_list("email", "primary").order_by("pk")) == before
    client.post(asked["Location"], {"password": factories.PASSWORD})
    assert list(EmailAddress.objects.values_list("email", "primary").order_by("pk")) != before


def test_a_refreshed_jwt_is_as_old_as_its_login(alice: User, later: Callable[[float], None]) -> None:
    """A refresh keeps the time of the login, so a JWT makes no token ten minutes after it."""
    pair = jwt.issue(alice)
    assert post(bearer(pair["access"]), TOKENS, name="in time").status_code == 201
    later(TEN_MINUTES + 5)
    fresh = jwt.rotate(pair["refresh"])
    for access in (pair["access"], fresh["access"], jwt.rotate(fresh["refresh"])["access"]):
        assert refusal(post(bearer(access), TOKENS, name="late")) == (403, "reauthentication_required")
        assert bearer(access).get(TOKENS).status_code == 200
    assert ApiToken.objects.count() == 1


def test_a_jwt_of_the_previous_release_counts_as_old(alice: User) -> None:
    """A token without the time of its login makes no API token, and can be refreshed."""
    refresh = pyjwt.decode(jwt.issue(alice)["refresh"], options={"verify_signature": False})
    old = {name: value for name, value in refresh.items() if name not in {"auth_time", "family"}}
    pair = jwt.rotate(pyjwt.encode(old, django_settings.SECRET_KEY, algorithm="HS256"))
    assert refusal(post(bearer(pair["access"]), TOKENS, name="x")) == (403, "reauthentication_required")


def test_an_api_token_makes_no_other(alice: User) -> None:
    """A stolen API token cannot make one that outlives it."""
    _row, secret = ApiToken.issue(alice, "laptop")
    assert refusal(post(bearer(secret), TOKENS, name="x")) == (403, "reauthentication_required")


def test_an_account_without_a_password_is_not_asked(client: Client, later: Callable[[float], None]) -> None:
    """A social login has no password to ask for."""
    user = factories.user("wei", password=None, email="")
    SocialAccount.objects.create(user=user, provider="weixin", uid="1")
    client.force_login(user)
    later(TEN_MINUTES + 5)
    assert post(client, TOKENS, name="laptop").status_code == 201


# --- families of refresh tokens --------------------------------------------------------------------------------------


def test_a_reused_refresh_token_ends_its_family(alice: User) -> None:
    """The second use of a refresh token ends it and all its descendants, the attacker's and the owner's."""
    other = jwt.issue(alice)["refresh"]
    copied = jwt.issue(alice)["refresh"]
    owners = post(Client(), "/api/auth/token/refresh/", refresh=copied).json()
    newest = post(Client(), "/api/auth/token/refresh/", refresh=owners["refresh"]).json()
    assert refusal(post(Client(), "/api/auth/token/refresh/", refresh=copied)) == (401, "not_authenticated")
    for dead in (owners["refresh"], newest["refresh"], copied):
        assert refusal(post(Client(), "/api/auth/token/refresh/", refresh=dead)) == (401, "not_authenticated")
        assert refusal(post(Client(), "/api/auth/token/revoke/", refresh=dead)) == (401, "not_authenticated")
    assert post(Client(), "/api/auth/token/refresh/", refresh=other).status_code == 200, "another login goes on"


def test_access_tokens_of_an_ended_family_make_no_api_token(alice: User) -> None:
    """An access token lives for an hour at most, but after its family's end it gives no lasting access."""
    pair = jwt.issue(alice)
    jwt.rotate(pair["refresh"])
    post(Client(), "/api/auth/token/refresh/", refresh=pair["refresh"])
    assert refusal(post(bearer(pair["access"]), TOKENS, name="x")) == (403, "reauthentication_required")


@pytest.mark.server
def test_a_family_ends_on_every_database(on_each: Product) -> None:
    """Over HTTP, with SQLite and with PostgreSQL, the descendants of a reused token are refused."""
    user = on_each.register(f"f{secrets.token_hex(5)}")
    client = on_each.client()

    def refresh(token: str) -> Any:
        return client.post("/api/auth/token/refresh/", json={"refresh": token})

    second = refresh(user.refresh).json()["refresh"]
    assert refresh(user.refresh).status_code == 401
    assert refresh(second).status_code == 401


# --- guesses at a password -------------------------------------------------------------------------------------------


def attempt(address: str, name: str = "alice", password: str = "wrong") -> Any:
    client = Client(REMOTE_ADDR=address)
    return client.post("/api/auth/token/", {"username": name, "password": password}, "application/json")


def test_a_stranger_does_not_lock_the_owner_out(alice: User) -> None:
    """Guesses at a name from other addresses do not stop its owner, by API and page."""
    for address in ("192.0.2.1", "192.0.2.2"):
        assert [attempt(address).status_code for _ in range(7)] == [401] * 5 + [429] * 2
    assert attempt("198.51.100.7", password=factories.PASSWORD).status_code == 200
    page = Client(REMOTE_ADDR="198.51.100.7")
    assert log_in(page).status_code == 302
    assert page.get("/api/me/").status_code == 200


def test_the_wait_grows_and_refused_attempts_do_not_lengthen_it(alice: User, later: Callable[[float], None]) -> None:
    """Five failures cost up to a minute, ten up to ten minutes, twenty up to an hour."""
    waits, moment = [], 0.0
    later(moment)
    for _round in range(5):
        while (response := attempt("192.0.2.1")).status_code == 401:
            pass
        assert attempt("192.0.2.1", password=factories.PASSWORD).status_code == 429
        waits.append(int(response["Retry-After"]))
        moment += waits[-1] + 1
        later(moment)
    assert waits[0] <= 60 < waits[1] <= 600
    assert max(waits) > 1200
    assert attempt("192.0.2.1", password=factories.PASSWORD).status_code == 200


def test_one_address_tries_few_names(alice: User) -> None:
    """The failures of one address are bounded over all names."""
    statuses = [attempt("192.0.2.1", f"name{number}").status_code for number in range(62)]
    assert statuses == [401] * 60 + [429] * 2
    assert attempt("192.0.2.2", "name1").status_code == 401


def test_addresses_of_one_ipv6_network_count_together(alice: User) -> None:
    """A client has a whole /64, and IPv4 clients on a socket for both protocols do not share one."""
    for host in range(5):
        assert attempt(f"2001:db8:1:2::{host:x}").status_code == 401
    assert attempt("2001:db8:1:2:ffff::1").status_code == 429
    assert attempt("2001:db8:1:3::1").status_code == 401
    for _guess in range(6):
        attempt("::ffff:192.0.2.1")
    assert attempt("::ffff:192.0.2.1").status_code == attempt("192.0.2.1").status_code == 429
    assert attempt("::ffff:192.0.2.2").status_code == 401


def test_a_reset_by_mail_ends_the_wait(alice: User) -> None:
    """A new password set by mail deletes the counts of name and address; the count of the client address stays."""
    client = Client(REMOTE_ADDR="192.0.2.1")
    for name in ("alice", "alice@example.org"):
        while attempt("192.0.2.1", name).status_code == 401:
            pass
    client.post("/accounts/password/reset/", {"email": alice.email})
    link = next(word for word in str(mail.outbox[0].body).split() if "/password/reset/key/" in word)
    form = client.get(link.removeprefix("http://testserver"), follow=True).redirect_chain[-1][0]
    client.post(form, {"password1": "another fine password", "password2": "another fine password"})
    for name in ("alice", "alice@example.org"):
        assert attempt("192.0.2.1", name, "another fine password").status_code == 200


def test_the_admin_has_no_login_of_its_own(carol: User) -> None:
    """The admin's login is the login page, so the same limit holds."""
    client = Client(REMOTE_ADDR="192.0.2.1")
    for _guess in range(5):
        client.post("/admin/login/", {"username": "carol", "password": "wrong"}, follow=True)
        log_in(client, "carol", "wrong")
    log_in(client, "carol")
    assert client.get("/admin/").status_code == 302
    assert log_in(Client(REMOTE_ADDR="192.0.2.2"), "carol").status_code == 302


@pytest.mark.server
def test_limits_hold_over_sockets_on_every_database(on_each: Product) -> None:
    """Behind a trusted proxy the client's address counts, on the real server."""
    user = on_each.register(f"g{secrets.token_hex(5)}")
    attacker, owner = (f"203.0.113.{secrets.randbelow(120) + offset}" for offset in (0, 120))

    def login(address: str, password: str) -> int:
        body = {"username": user.name, "password": password}
        response = on_each.client().post("/api/auth/token/", json=body, headers={"X-Forwarded-For": address})
        return response.status_code

    assert [login(attacker, "wrong") for _ in range(6)] == [401] * 5 + [429]
    assert login(attacker, PASSWORD) == 429
    assert login(owner, PASSWORD) == 200
