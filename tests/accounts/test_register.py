"""POST /api/auth/register/."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import connections
from django.test import Client

from accounts.models import User
from quotas.models import LedgerEntry
from tests import factories

pytestmark = pytest.mark.django_db
URL = "/api/auth/register/"
BODY = {"username": "erin", "email": "Erin@Example.org", "password": "a long enough one"}


def register(**changes: Any) -> Any:
    return Client().post(URL, {**BODY, **changes}, "application/json")


def details(response: Any) -> dict[str, Any]:
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    errors: dict[str, Any] = response.json()["error"]["details"]
    return errors


@pytest.mark.contract("POST /api/auth/register/")
def test_registering_returns_the_account_and_its_tokens() -> None:
    """The response is 201 with the account and tokens that work."""
    response = register()
    body = response.json()
    assert response.status_code == 201
    user = User.objects.get(username="erin")
    assert body["user"] == {"id": user.pk, "username": "erin", "email": "erin@example.org"}
    assert set(body) == {"user", "access", "refresh"}
    me = Client(headers={"Authorization": f"Bearer {body['access']}"}).get("/api/me/")
    assert me.json()["username"] == "erin"


def test_no_cookie_is_set() -> None:
    """A program that registers gets tokens, not a session."""
    assert not register().cookies


def test_a_csrf_token_is_not_needed(alice: User) -> None:
    """A session of the same browser does not matter, nor does an invalid header."""
    client = Client(enforce_csrf_checks=True, headers={"Authorization": "Bearer bad"})
    client.force_login(alice)
    assert client.post(URL, BODY, "application/json").status_code == 201


@pytest.mark.parametrize("name", ["alice", "ALICE", "ａｌｉｃｅ"])
def test_a_taken_name_is_refused(name: str, alice: User) -> None:
    """Names are unique regardless of case and width."""
    assert list(details(register(username=name))) == ["username"]


def test_a_taken_address_is_refused(alice: User) -> None:
    """Addresses are unique regardless of case."""
    assert list(details(register(email="ALICE@example.ORG"))) == ["email"]


def test_every_wrong_field_is_named(alice: User) -> None:
    """One response names all wrong fields."""
    response = register(username="Alice", email="alice@example.org", password="12345", invite_code="NOBODY")
    assert set(details(response)) == {"username", "email", "password", "invite_code"}


def test_unknown_and_missing_fields_are_named() -> None:
    """Unknown fields are refused together with missing ones."""
    response = Client().post(URL, {"username": "erin", "admin": True, "is_staff": 1}, "application/json")
    assert set(details(response)) == {"email", "password", "admin", "is_staff"}


@pytest.mark.parametrize(
    "changes",
    [
        {"username": ""},
        {"username": "two words"},
        {"username": "x" * 151},
        {"username": "a\x00b"},
        {"username": ["erin"]},
        {"username": None},
        {"email": ""},
        {"email": "erin"},
        {"email": f"{'x' * 250}@example.org"},
        {"password": ""},
        {"password": "short"},
        {"password": "password"},
        {"password": "erin@example.org"},
        {"password": "x" * 5000},
        {"invite_code": "x" * 200},
        {"invite_code": {}},
    ],
)
def test_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    """An invalid value is named, and no account is created."""
    assert list(details(register(**changes))) == list(changes)
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"x"', "[1]", "1e999", '{"username": "\\ud800"}', '{"username": ' * 2000]
)
def test_anything_but_an_object_is_refused(body: str) -> None:
    """A body that is not a JSON object is invalid_request."""
    assert details(Client().post(URL, body, "application/json")) is not None


def test_an_invite_code_names_the_inviter(alice: User) -> None:
    """A valid code sets the inviter; case and surrounding spaces do not matter."""
    assert register(invite_code=f" {alice.invite_code.lower()} ").status_code == 201
    assert User.objects.get(username="erin").invited_by == alice


def test_the_invited_have_their_credits_at_once(alice: User) -> None:
    """Each quota gives invited users its credits at once, and others none."""
    promised = factories.quota("standard", invitee_credits=5, models=[factories.chat_model("gpt")])
    factories.quota("premium", models=[factories.chat_model("gpt-4")])
    register(invite_code=alice.invite_code)
    register(username="frank", email="frank@example.org")
    entry = LedgerEntry.objects.get()
    assert (entry.user.username, entry.quota, entry.amount) == ("erin", promised, 5)


def test_the_code_of_a_disabled_user_is_unknown(alice: User) -> None:
    """A disabled user cannot invite."""
    User.objects.update(is_active=False)
    assert list(details(register(invite_code=alice.invite_code))) == ["invite_code"]


@pytest.mark.contract("setting: SIGNUP_MODE")
def test_invite_mode_needs_a_valid_code(settings: Any, alice: User) -> None:
    """In mode `invite` a valid code is needed."""
    settings.SIGNUP_MODE = "invite"
    for code in ({}, {"invite_code": ""}, {"invite_code": "NOBODY"}):
        assert list(details(register(**code))) == ["invite_code"]
    assert register(invite_code=alice.invite_code).status_code == 201


@pytest.mark.contract("setting: SIGNUP_MODE")
def test_closed_mode_refuses_registration(settings: Any, alice: User) -> None:
    """In mode `closed` registration is refused, with a code too."""
    settings.SIGNUP_MODE = "closed"
    response = register(invite_code=alice.invite_code)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("changes", [{}, {"email": "{n}@example.org"}, {"username": "erin{n}"}])
def test_of_concurrent_registrations_one_succeeds(changes: dict[str, str]) -> None:
    """Of eight concurrent registrations of one name or address one succeeds, the others get 400."""

    def attempt(n: int) -> Any:
        try:
            return register(**{field: value.format(n=n) for field, value in changes.items()})
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as hands:
        responses = list(hands.map(attempt, range(8)))
    assert sorted(response.status_code for response in responses) == [201] + [400] * 7
    assert User.objects.count() == EmailAddress.objects.count() == 1
    shared = {"username", "email"} - set(changes)
    assert all(set(details(response)) <= shared for response in responses if response.status_code == 400)


def test_the_address_is_not_verified_by_claiming_it(settings: Any) -> None:
    """A registered address is unverified, and without a mail server nothing is sent."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "none"
    register()
    address = EmailAddress.objects.get()
    assert (address.email, address.verified, address.primary) == ("erin@example.org", False, True)
    assert not mail.outbox


@pytest.mark.contract("setting: EMAIL_URL")
def test_with_mail_the_address_is_confirmed(settings: Any, client: Client) -> None:
    """With a mail server the new address gets a link that verifies it."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"
    register()
    (message,) = mail.outbox
    assert message.to == ["erin@example.org"]
    link = next(word for word in str(message.body).split() if "/accounts/confirm-email/" in word)
    client.post(link.removeprefix("http://testserver"))
    assert EmailAddress.objects.get().verified


def test_a_failing_mail_server_does_not_prevent_registration(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is created although the mail could not be sent."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", fail)
    assert register().status_code == 201


def test_registration_is_rate_limited(settings: Any) -> None:
    """Attempts beyond the limit of an IP address are refused, with the time to wait."""
    settings.ACCOUNT_RATE_LIMITS = {"signup": "2/m/ip"}
    register(username="")
    assert register(password="short").status_code == 400
    assert register(password="short").status_code == 400
    response = register()
    assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_requests")
    assert 1 <= int(response["Retry-After"]) <= 60


def test_the_password_is_not_stored_in_clear() -> None:
    """Only the hash of the password is stored."""
    register()
    assert BODY["password"] not in str(User.objects.values().get())
    assert User.objects.get().check_password(BODY["password"])


def test_names_may_be_of_any_script() -> None:
    """Names need not be Latin."""
    assert register(username="张三").status_code == 201
    assert factories.user("李四").username == "李四"
