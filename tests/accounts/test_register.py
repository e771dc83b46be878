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


def details(answer: Any) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    found: dict[str, Any] = answer.json()["error"]["details"]
    return found


@pytest.mark.contract("POST /api/auth/register/")
def test_registering_returns_the_account_and_its_tokens() -> None:
    """201 with the account and tokens that open it."""
    answer = register()
    body = answer.json()
    assert answer.status_code == 201
    user = User.objects.get(username="erin")
    assert body["user"] == {"id": user.pk, "username": "erin", "email": "erin@example.org"}
    assert set(body) == {"user", "access", "refresh"}
    me = Client(headers={"Authorization": f"Bearer {body['access']}"}).get("/api/me/")
    assert me.json()["username"] == "erin"


def test_no_cookie_is_set() -> None:
    """A program that registers is given tokens, not a session."""
    assert not register().cookies


def test_a_csrf_token_is_not_needed(alice: User) -> None:
    """Somebody logged in in the same browser does not stand in the way, nor does a bad header."""
    client = Client(enforce_csrf_checks=True, headers={"Authorization": "Bearer bad"})
    client.force_login(alice)
    assert client.post(URL, BODY, "application/json").status_code == 201


@pytest.mark.parametrize("name", ["alice", "ALICE", "ａｌｉｃｅ"])
def test_a_taken_name_is_refused(name: str, alice: User) -> None:
    """Names are unique whatever their case and width."""
    assert list(details(register(username=name))) == ["username"]


def test_a_taken_address_is_refused(alice: User) -> None:
    """Addresses are unique whatever their case."""
    assert list(details(register(email="ALICE@example.ORG"))) == ["email"]


def test_every_wrong_field_is_named(alice: User) -> None:
    """One answer says all that is wrong."""
    answer = register(username="Alice", email="alice@example.org", password="12345", invite_code="NOBODY")
    assert set(details(answer)) == {"username", "email", "password", "invite_code"}


def test_unknown_and_missing_fields_are_named() -> None:
    """Unknown fields are refused beside missing ones."""
    answer = Client().post(URL, {"username": "erin", "admin": True, "is_staff": 1}, "application/json")
    assert set(details(answer)) == {"email", "password", "admin", "is_staff"}


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
    """A value that cannot be taken is named, and no account is left behind."""
    assert list(details(register(**changes))) == list(changes)
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"x"', "[1]", "1e999", '{"username": "\\ud800"}', '{"username": ' * 2000]
)
def test_anything_but_an_object_is_refused(body: str) -> None:
    """A body that is no JSON object is invalid_request."""
    assert details(Client().post(URL, body, "application/json")) is not None


def test_an_invite_code_names_the_inviter(alice: User) -> None:
    """A valid code, in any case and with spaces around, is remembered."""
    assert register(invite_code=f" {alice.invite_code.lower()} ").status_code == 201
    assert User.objects.get(username="erin").invited_by == alice


def test_the_invited_have_their_credits_at_once(alice: User) -> None:
    """Each quota gives the invited what it promises, the uninvited nothing."""
    promised = factories.quota("standard", invitee_credits=5, models=[factories.chat_model("gpt")])
    factories.quota("premium", models=[factories.chat_model("gpt-4")])
    register(invite_code=alice.invite_code)
    register(username="frank", email="frank@example.org")
    entry = LedgerEntry.objects.get()
    assert (entry.user.username, entry.quota, entry.amount) == ("erin", promised, 5)


def test_a_disabled_persons_code_is_unknown(alice: User) -> None:
    """Those who may not use the service may not invite either."""
    User.objects.update(is_active=False)
    assert list(details(register(invite_code=alice.invite_code))) == ["invite_code"]


@pytest.mark.contract("setting: SIGNUP_MODE")
def test_by_invitation_only(settings: Any, alice: User) -> None:
    """In mode `invite` a valid code is needed."""
    settings.SIGNUP_MODE = "invite"
    for code in ({}, {"invite_code": ""}, {"invite_code": "NOBODY"}):
        assert list(details(register(**code))) == ["invite_code"]
    assert register(invite_code=alice.invite_code).status_code == 201


@pytest.mark.contract("setting: SIGNUP_MODE")
def test_closed(settings: Any, alice: User) -> None:
    """In mode `closed` nobody registers, code or not."""
    settings.SIGNUP_MODE = "closed"
    answer = register(invite_code=alice.invite_code)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("changes", [{}, {"email": "{n}@example.org"}, {"username": "erin{n}"}])
def test_one_name_many_hands(changes: dict[str, str]) -> None:
    """Of eight that register the same name or address at once one gets it, the others the same 400 as later ones."""

    def attempt(n: int) -> Any:
        try:
            return register(**{field: value.format(n=n) for field, value in changes.items()})
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as hands:
        answers = list(hands.map(attempt, range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 7
    assert User.objects.count() == EmailAddress.objects.count() == 1
    shared = {"username", "email"} - set(changes)
    assert all(set(details(answer)) <= shared for answer in answers if answer.status_code == 400)


def test_the_address_is_not_verified_by_claiming_it(settings: Any) -> None:
    """A registered address is unverified, and without mail nothing is sent."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "none"
    register()
    address = EmailAddress.objects.get()
    assert (address.email, address.verified, address.primary) == ("erin@example.org", False, True)
    assert not mail.outbox


@pytest.mark.contract("setting: EMAIL_URL")
def test_with_mail_the_address_is_confirmed(settings: Any, client: Client) -> None:
    """Where a mail server is set, the new address gets a link that verifies it."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"
    register()
    (message,) = mail.outbox
    assert message.to == ["erin@example.org"]
    link = next(word for word in str(message.body).split() if "/accounts/confirm-email/" in word)
    client.post(link.removeprefix("http://testserver"))
    assert EmailAddress.objects.get().verified


def test_a_dead_mail_server_does_not_undo_it(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is made although the mail could not be sent; it can be asked for again."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", fail)
    assert register().status_code == 201


def test_floods_are_stopped(settings: Any) -> None:
    """More attempts than the limit from one address are too_many_requests, with the time to wait."""
    settings.ACCOUNT_RATE_LIMITS = {"signup": "2/m/ip"}
    register(username="")
    assert register(password="short").status_code == 400
    assert register(password="short").status_code == 400
    answer = register()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_requests")
    assert 1 <= int(answer["Retry-After"]) <= 60


def test_the_password_is_not_stored_in_clear() -> None:
    """What is kept of a password is its hash."""
    register()
    assert BODY["password"] not in str(User.objects.values().get())
    assert User.objects.get().check_password(BODY["password"])


def test_a_name_of_another_script_is_welcome() -> None:
    """Names need not be Latin."""
    assert register(username="张三").status_code == 201
    assert factories.user("李四").username == "李四"
