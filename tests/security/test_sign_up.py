"""Sign-up: taken addresses, names that look alike, links in mails, weak passwords."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client
from pydantic import SecretStr
from structlog.testing import capture_logs

from accounts import first_admin
from accounts.models import User
from tests import factories
from tests.product import Product
from tests.staff import calling, send

pytestmark = pytest.mark.django_db
REGISTER = "/api/auth/register/"
LONG = "a long enough one"


@pytest.fixture(autouse=True)
def _fresh_rate_limits() -> None:
    cache.clear()


@pytest.fixture
def with_mail(settings: Any) -> None:
    """The settings that EMAIL_URL makes."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"
    settings.ACCOUNT_PREVENT_ENUMERATION = "strict"
    settings.REQUIRE_VERIFIED_EMAIL = True


def register(name: str, email: str = "", password: str = LONG, **headers: str) -> Any:
    body = {"username": name, "email": email or f"{secrets.token_hex(6)}@example.org", "password": password}
    return Client(**headers).post(REGISTER, body, "application/json")  # type: ignore[arg-type]


def sign_up(client: Client, name: str, email: str) -> Any:
    form = {"username": name, "email": email, "password1": LONG, "password2": LONG}
    return client.post("/accounts/signup/", form)


def details(response: Any) -> list[str]:
    assert response.status_code == 400, response.content
    return list(response.json()["error"]["details"])


# --- taken addresses -------------------------------------------------------------------------------------------------


def seen_by(response: Any, name: str) -> dict[str, Any]:
    """Return what a registered program can see of its account, without what differs for every account."""
    client = Client(headers={"Authorization": f"Bearer {response.json()['access']}"})
    me = client.get("/api/me/").json()
    asked = client.post("/api/chat/", {"model": "demo", "prompt": "x"}, "application/json")
    by_email = {"username": me["email"], "password": LONG}
    return {
        "status": response.status_code,
        "fields": sorted(response.json()),
        "account": {**response.json()["user"], "id": 0, "username": ""},
        "me": {**me, "id": 0, "username": "", "invite_code": "", "invite_url": ""},
        "chat": (asked.status_code, asked.json()["error"]["code"]),
        "login": Client()
        .post("/api/auth/token/", {"username": name, "password": LONG}, "application/json")
        .status_code,
        "login by address": Client().post("/api/auth/token/", by_email, "application/json").status_code,
    }


@pytest.mark.parametrize("verified", [True, False])
def test_registering_a_taken_address_looks_like_any_other(verified: bool, with_mail: None, alice: User) -> None:
    """The API shows the same for a free and for a taken address, and the mailbox gets a mail each time."""
    EmailAddress.objects.filter(user=alice).update(verified=verified)
    taken = seen_by(register("mallory", alice.email), "mallory")
    free = seen_by(register("trent", "free@example.org"), "trent")
    for shown in (taken, free):
        shown["account"].pop("email")
        shown["me"].pop("email")
    assert taken == free
    assert free["status"] == 201
    assert [message.to for message in mail.outbox] == [[alice.email], ["free@example.org"]]
    already = "account using this email address already exists" in str(mail.outbox[0].body) or (
        "已" in str(mail.outbox[0].body) and "/accounts/confirm-email/" not in str(mail.outbox[0].body)
    )
    assert already == verified
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"


def test_signing_up_with_a_taken_address_looks_like_any_other(with_mail: None, alice: User) -> None:
    """The page logs in and shows the same for both."""
    pages = []
    for name, email in (("mallory", alice.email), ("trent", "other@example.org")):
        client = Client()
        done = sign_up(client, name, email)
        shown = client.get("/accounts/email/").content.decode()
        pages.append((done.status_code, done["Location"], shown.count(email), shown.count("action_send")))
    assert pages[0] == pages[1]
    assert [message.to for message in mail.outbox] == [[alice.email], ["other@example.org"]]


def test_a_claim_gives_no_access_to_the_mailbox_or_the_account(with_mail: None, alice: User) -> None:
    """The account that claims an address cannot chat, and the owner's password and account stay as they are."""
    register("mallory", alice.email)
    mallory = User.objects.get(username="mallory")
    assert mallory.email == ""
    login = {"username": alice.email, "password": factories.PASSWORD}
    access = Client().post("/api/auth/token/", login, "application/json").json()["access"]
    assert Client(headers={"Authorization": f"Bearer {access}"}).get("/api/me/").json()["id"] == alice.pk
    register("mallory2", alice.email)
    assert EmailAddress.objects.filter(email=alice.email, verified=False).count() == 1


def test_the_owner_of_the_mailbox_gets_a_squatted_address(with_mail: None) -> None:
    """An account that confirms an address has it; one that never confirmed it loses it."""
    register("squatter", "erin@example.org")
    register("erin", "erin@example.org")
    link = next(word for word in str(mail.outbox[1].body).split() if "/accounts/confirm-email/" in word)
    Client().post(link.removeprefix("http://testserver"))
    squatter, erin = User.objects.get(username="squatter"), User.objects.get(username="erin")
    assert (squatter.email, erin.email) == ("", "erin@example.org")
    assert list(EmailAddress.objects.values_list("user", "verified")) == [(erin.pk, True)]


def test_sign_ups_do_not_fill_a_mailbox(with_mail: None, alice: User) -> None:
    """A mailbox gets five mails of sign-ups an hour."""
    assert {register(f"mallory{letter}", alice.email).status_code for letter in "abcdefg"} == {201}
    assert len(mail.outbox) == 5


def test_a_login_by_address_always_hashes_two_passwords(
    with_mail: None, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a login by address does not reveal whether it is taken."""
    register("mallory", alice.email)
    register("trent", "free@example.org")
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    for address in (alice.email, "free@example.org", "nobody@example.org"):
        for password in ("wrong", LONG):
            hashed.clear()
            Client().post("/api/auth/token/", {"username": address, "password": password}, "application/json")
            assert len(hashed) == 2, (address, password)


def test_without_mail_a_taken_address_is_named(alice: User) -> None:
    """Without a mail server there is no other way to say it."""
    assert details(register("mallory", alice.email)) == ["email"]


# --- names that look alike -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "alice@example.org",
        "ａlice＠example.org",
        "аlice",  # a Cyrillic letter
        "аlісе",  # all that look Latin are Cyrillic, the l is not
        "paypaΙ",  # a Greek letter
        "山田たろう",
        "张三и",
        "a b",
        "a+b",
        "...",
        "zero\u200bwidth",
        "\u3164",
        "a\u0301\u0301\u0301\u0301",
        "١٢٣",
        "x\u202eevil",
    ],
)
def test_names_of_other_characters_are_refused(name: str, client: Client) -> None:
    """API, page and staff routes refuse addresses, mixed scripts, and characters that are no letters."""
    assert details(register(name)) == ["username"]
    assert list(sign_up(client, name, "x@example.org").context["form"].errors) == ["username"]
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "name", ["erin", "Erin-2.b_c", "张三", "张三abc", "иван", "Ελένη", "עברית", "नमस्ते", "한국어", "José"]
)
def test_names_of_one_script_are_accepted(name: str) -> None:
    """Letters of one script, digits, and three signs are accepted; Chinese may be mixed with Latin."""
    assert register(name).status_code == 201


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ("alice", "AIice"),
        ("paypa", "раура"),
        ("modern", "rnodern"),
        ("user1", "userl"),
        ("x0", "xO"),
        ("土木", "士木"),
    ],
)
def test_a_name_that_looks_like_another_is_refused(taken: str, name: str, carol: User, client: Client) -> None:
    """API, page, staff routes and admin refuse a name that looks like another user's."""
    other = factories.user(taken, email="other@example.org")
    assert details(register(name)) == ["username"]
    assert list(sign_up(client, name, "x@example.org").context["form"].errors) == ["username"]
    created = send(calling(carol), "POST", "/api/admin/users/", {"username": name, "email": "x@example.org"})
    assert details(created) == ["username"]
    renamed = send(calling(carol), "PATCH", f"/api/admin/users/{carol.pk}/", {"username": name})
    assert details(renamed) == ["username"]
    client.force_login(carol)
    form = {"username": name, "email": "", "usable_password": "true", "password1": LONG, "password2": LONG}
    page = client.post("/admin/accounts/user/add/", form)
    assert list(page.context["adminform"].form.errors) == ["username"]
    kept = send(calling(carol), "PATCH", f"/api/admin/users/{other.pk}/", {"username": taken.upper()})
    assert kept.status_code == 200, "another spelling of the own name"


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_sign_ups_with_look_alikes_one_succeeds() -> None:
    """The unique column decides when several requests have passed the check."""
    names = ["paypal", "paypaI", "paypa1", "PaypaI"]

    def attempt(name: str) -> int:
        try:
            return int(register(name).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as hands:
        assert sorted(hands.map(attempt, names)) == [201, 400, 400, 400]


@pytest.mark.server
def test_look_alikes_over_sockets_on_every_database(on_each: Product) -> None:
    """On SQLite and PostgreSQL one of eight concurrent registrations of look-alikes succeeds."""
    stem = secrets.token_hex(5)
    names = [f"{stem}{first}{second}{third}" for first in "l1" for second in "0O" for third in "l1"]
    client = on_each.client()

    def attempt(name: str) -> int:
        body = {"username": name, "email": f"{secrets.token_hex(6)}@example.org", "password": LONG}
        return client.post(REGISTER, json=body).status_code

    with ThreadPoolExecutor(8) as hands:
        assert sorted(hands.map(attempt, names)) == [201] + [400] * 7


def test_existing_accounts_keep_their_names(client: Client, carol: User) -> None:
    """Of accounts that look alike the oldest has the skeleton; the others stay as they are, and can be saved."""
    names = ["bob@home", "two words", "Alice", "AIice"]
    users = [User.objects.create(username=name, email=f"{number}@example.org") for number, name in enumerate(names[:3])]
    User.objects.bulk_create([User(username=names[3], email="4@example.org", invite_code="X")])
    User.objects.update(username_skeleton=None)
    import_module("accounts.migrations.0007_fill_username_skeletons").fill(apps, None)
    stored = {user.username: user.username_skeleton for user in User.objects.all()}
    assert stored == {
        "bob@home": "bob@horne",
        "two words": "two words",
        "Alice": "alice",
        "AIice": None,
        "carol": "carol",
    }
    users.append(User.objects.get(username=names[3]))
    for user in users:
        user.set_password(factories.PASSWORD)
        user.save()
        assert (
            send(calling(carol), "PATCH", f"/api/admin/users/{user.pk}/", {"username": user.username}).status_code
            == 200
        )
        login = {"username": user.username, "password": factories.PASSWORD}
        assert client.post("/api/auth/token/", login, "application/json").status_code == 200


# --- links in mails and invitations ----------------------------------------------------------------------------------


def reset_link(client: Client, email: str, **environment: str) -> str:
    mail.outbox.clear()
    done = client.post("/accounts/password/reset/", {"email": email}, **environment)  # type: ignore[arg-type]
    assert done.status_code == 302
    return next(word for word in str(mail.outbox[0].body).split() if "/password/reset/key/" in word)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"),
        ("localhost:8000", "http://localhost:8000"),
        ("localhost:6666", "http://localhost:8000"),
        ("[::1]:6666", "http://[::1]:8000"),
        ("localhost:8443", "http://localhost:8443"),
    ],
)
def test_links_follow_an_allowed_host_and_port_only(host: str, origin: str, settings: Any, alice: User) -> None:
    """A port that a client invents is in no mail and no invitation; the listening port and trusted origins are."""
    settings.CSRF_TRUSTED_ORIGINS = ["http://localhost:8443"]
    client = Client(headers={"Host": host})
    assert reset_link(client, alice.email, SERVER_PORT="8000").startswith(f"{origin}/accounts/")
    client.force_login(alice)
    shown = client.get("/api/me/", SERVER_PORT="8000").json()
    assert shown["invite_url"].startswith(f"{origin}/accounts/signup/")


def test_a_foreign_host_gets_no_mail(alice: User) -> None:
    """A host that is not allowed is refused before a mail is made."""
    response = Client(headers={"Host": "evil.example"}).post("/accounts/password/reset/", {"email": alice.email})
    assert response.status_code == 400
    assert not mail.outbox


@pytest.mark.contract("setting: PUBLIC_URL")
def test_links_come_from_the_public_url(settings: Any, with_mail: None, alice: User, client: Client) -> None:
    """With PUBLIC_URL all links in mails, invitations and on the page of tokens begin with it."""
    settings.PUBLIC_URL = "https://chat.example.org"
    assert reset_link(client, alice.email).startswith("https://chat.example.org/accounts/password/reset/key/")
    mail.outbox.clear()
    register("mallory", alice.email)
    register("erin", "erin@example.org")
    assert all("https://chat.example.org/accounts/" in str(message.body) for message in mail.outbox)
    assert not any("testserver/" in str(message.body) for message in mail.outbox)
    client.force_login(alice)
    assert client.get("/api/invitations/").json()["url"].startswith("https://chat.example.org/accounts/signup/?invite=")
    assert "https://chat.example.org/v1" in client.get("/accounts/tokens/").content.decode()


# --- weak passwords --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password", ["ninechars", "1234567890", "qwertyuiop", "alice12345", "alicealice1", "alice@example"]
)
def test_weak_passwords_are_refused(password: str, client: Client) -> None:
    """A new password has ten characters, is not common, and is not made of name or address."""
    assert details(register("alice", "alice@example.org", password)) == ["password"]
    form = {"username": "alice", "email": "alice@example.org", "password1": password, "password2": password}
    assert list(client.post("/accounts/signup/", form).context["form"].errors) == ["password1"]


def test_existing_weak_passwords_stay_valid(client: Client) -> None:
    """A password of an earlier release still logs in."""
    factories.user("alice", password="short")
    login = {"username": "alice", "password": "short"}
    assert client.post("/api/auth/token/", login, "application/json").status_code == 200


def test_a_weak_admin_password_is_taken_with_a_warning(settings: Any) -> None:
    """ADMIN_PASSWORD is the operator's choice: a weak one is logged, without its text."""
    environment = settings.ENV.model_copy(update={"ADMIN_PASSWORD": SecretStr("admin")})
    settings.ENV = environment
    with capture_logs() as logs:
        assert first_admin.ensure_admin() is None
    assert User.objects.get(is_superuser=True).check_password("admin")
    (warning,) = [line for line in logs if "ADMIN_PASSWORD" in line["event"]]
    assert warning["problems"] == ["password_too_similar", "password_too_short", "password_too_common"]
