"""The security log of an account, and mails about logins from new devices and networks."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts import deletion, security_events
from accounts.models import SecurityEvent, User
from tests import factories
from tests.staff import calling, send

pytestmark = pytest.mark.django_db
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"


@pytest.fixture
def mails(settings: Any) -> list[Any]:
    settings.ACCOUNT_EMAIL_NOTIFICATIONS = True
    mail.outbox = []
    return mail.outbox


def log_in(agent: str = FIREFOX, address: str = "192.0.2.1", password: str = factories.PASSWORD) -> Client:
    client = Client(headers={"User-Agent": agent, "Accept-Language": "en"}, REMOTE_ADDR=address)
    client.post("/accounts/login/", {"login": "alice", "password": password})
    return client


def kinds(user: User) -> list[str]:
    return [row.kind for row in reversed(security_events.of(user.pk))]


@pytest.mark.contract("GET /api/me/security/")
def test_logins_and_changes_are_listed(alice: User, bob: User) -> None:
    """The user sees what happened, with address, device and detail; events of other users are not there."""
    log_in(password="wrong")
    client = log_in(EDGE, "198.51.100.7")
    made = client.post("/api/tokens/", {"name": "laptop"}, content_type="application/json").json()
    client.delete(f"/api/tokens/{made['id']}/")
    new = "another long passphrase"
    client.post("/accounts/password/change/", {"oldpassword": factories.PASSWORD, "password1": new, "password2": new})
    client.post("/accounts/sessions/end-others/")
    rows = client.get("/api/me/security/").json()
    assert [row["kind"] for row in reversed(rows)] == [
        *("login_failed", "login", "token_created", "token_deleted", "password_changed", "session_ended")
    ]
    assert set(rows[0]) == {"id", "kind", "at", "address", "device", "detail", "times"}
    created = rows[-3]
    assert (created["address"], created["device"], created["detail"]) == ("198.51.100.7", "Edge · macOS", "laptop")
    page = client.get("/accounts/security/").content.decode()
    assert "Failed login" in page
    assert "Edge · macOS" in page
    assert calling(bob).get("/api/me/security/").json() == []


def test_a_login_of_a_program_and_changes_by_staff_are_there(alice: User, carol: User) -> None:
    """`POST /api/auth/token/` is a login too; the user learns what staff changed, but not from where."""
    body = {"username": "alice", "password": factories.PASSWORD}
    assert Client().post("/api/auth/token/", body, content_type="application/json").status_code == 200
    send(calling(carol), "PATCH", f"/api/admin/users/{alice.pk}/", {"email": "new@example.org"})
    login, changed = reversed(security_events.of(alice.pk))
    assert (login.kind, login.address) == ("login", "127.0.0.1")
    assert (changed.kind, changed.address, changed.detail) == ("changed_by_staff", "", "email")


def test_repeated_events_are_counted_and_the_log_is_bounded(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed logins fill their own part of the log only, so that strangers cannot push a login out."""
    monkeypatch.setattr(security_events, "MOST_FAILURES", 2)
    monkeypatch.setattr(security_events, "MOST_OTHERS", 3)
    client = log_in()
    for number in (1, 2, 3, 3):
        log_in(address=f"203.0.113.{number}", password="wrong")
    for name in ("one", "two"):
        client.post("/api/tokens/", {"name": name}, content_type="application/json")
    assert kinds(alice) == ["login", "login_failed", "login_failed", "token_created", "token_created"]
    failed = [row for row in security_events.of(alice.pk) if row.kind == "login_failed"]
    assert [(row.address, row.times) for row in failed] == [("203.0.113.3", 2), ("203.0.113.2", 1)]


def test_an_unknown_name_costs_the_same_work(alice: User, django_assert_num_queries: Any) -> None:
    """A failed login writes a row whether or not the account exists, so that its time reveals nothing."""
    client = Client()
    client.post("/accounts/login/", {"login": "unknown", "password": "wrong"})
    assert list(SecurityEvent.objects.values_list("user_id", flat=True)) == [0]
    assert kinds(alice) == []


def test_the_log_goes_with_the_account(alice: User) -> None:
    """A deletion takes the rows along."""
    log_in()
    deletion._delete_account(alice.pk)
    assert not SecurityEvent.objects.exists()


@pytest.mark.contract("setting: LOGIN_ALERTS")
@pytest.mark.parametrize(
    ("agent", "address", "sends"),
    [(FIREFOX, "192.0.2.99", 0), (EDGE, "192.0.2.1", 1), (FIREFOX, "198.51.100.7", 1), (EDGE, "2001:db8::1", 1)],
)
def test_a_new_device_or_network_sends_a_mail(
    alice: User, mails: list[Any], settings: Any, agent: str, address: str, sends: int
) -> None:
    """The first login sends nothing; a later one does when device or network is new, and once only."""
    log_in()
    assert mails == []
    for _again in range(2):
        log_in(agent, address)
    assert len(mails) == sends
    for sent in mails:
        assert sent.to == ["alice@example.org"]
        assert "New login" in sent.subject
        assert address in sent.body
        assert "http://testserver/accounts/sessions/" in sent.body
    settings.LOGIN_ALERTS = False
    log_in("curl/8", "100.64.0.1")
    assert len(mails) == sends


def test_a_stranger_mailbox_gets_nothing(alice: User, mails: list[Any]) -> None:
    """An address without a confirmation gets no mail, because it may belong to another user."""
    EmailAddress.objects.update(verified=False)
    log_in()
    log_in(EDGE)
    log_in(password="wrong", agent=EDGE, address="100.64.0.1")
    assert mails == []
