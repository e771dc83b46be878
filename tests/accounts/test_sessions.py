"""Sessions: they are listed with device and address, end one by one, and with the password."""

from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client

from accounts import sessions
from accounts.apps import accounts
from accounts.models import ApiToken, RefreshFamily, User
from tests import factories

pytestmark = pytest.mark.django_db
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"


@pytest.fixture(autouse=True)
def _fresh_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts(), "session_activity", sessions.SessionActivity())


def browser(user_agent: str = FIREFOX) -> Client:
    client = Client(headers={"User-Agent": user_agent})
    done = client.post("/accounts/login/", {"login": "alice", "password": factories.PASSWORD})
    assert done.headers["Location"] == "/"
    return client


@pytest.mark.contract("GET /api/me/sessions/", "DELETE /api/me/sessions/{session_id}/")
def test_sessions_are_listed_and_ended(alice: User) -> None:
    """Each login is a row with device, address and times; its end logs that browser out."""
    here, there = browser(), browser(EDGE)
    rows = here.get("/api/me/sessions/").json()
    assert set(rows[0]) == {"id", "device", "address", "created_at", "last_seen_at", "current"}
    by_device = {row["device"]: row for row in rows}
    assert {device: row["current"] for device, row in by_device.items()} == {
        "Firefox · Windows": True,
        "Edge · macOS": False,
    }
    assert rows[0]["address"] == "127.0.0.1"
    page = here.get("/accounts/sessions/").content.decode()
    assert "Edge · macOS" in page
    assert there.get("/api/me/").status_code == 200
    assert here.delete(f"/api/me/sessions/{by_device['Edge · macOS']['id']}/").status_code == 204
    assert there.get("/api/me/").status_code == 401
    assert [row["current"] for row in here.get("/api/me/sessions/").json()] == [True]


def test_the_page_ends_one_and_all_others(alice: User) -> None:
    """The buttons end one session of the user, or all but this one."""
    here, there, third = browser(), browser(EDGE), browser()
    stranger = factories.user("mallory")
    edge = UserSession.objects.get(user_agent=EDGE)
    other = Client()
    other.force_login(stranger)
    other.post(f"/accounts/sessions/{edge.pk}/end/")
    assert there.get("/api/me/").status_code == 200
    here.post(f"/accounts/sessions/{edge.pk}/end/")
    assert (there.get("/api/me/").status_code, third.get("/api/me/").status_code) == (401, 200)
    here.post("/accounts/sessions/end-others/")
    assert (third.get("/api/me/").status_code, here.get("/api/me/").status_code) == (401, 200)


def test_a_password_change_ends_all_others(alice: User, bearer: Any, api_token: Any) -> None:
    """This session goes on; other sessions and JWTs end, API tokens stay."""
    here, there, app = browser(), browser(EDGE), bearer(alice)
    program = Client(headers={"Authorization": f"Bearer {api_token(alice)}"})
    new = "another long passphrase"
    here.post("/accounts/password/change/", {"oldpassword": factories.PASSWORD, "password1": new, "password2": new})
    assert [client.get("/api/me/").status_code for client in (here, there, app, program)] == [200, 401, 401, 200]
    assert UserSession.objects.count() == Session.objects.count() == 1
    assert not RefreshFamily.objects.exists()


def test_a_reset_revokes_api_tokens(alice: User, api_token: Any, settings: Any) -> None:
    """A reset by mail ends sessions, JWTs and API tokens."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    here = browser()
    program = Client(headers={"Authorization": f"Bearer {api_token(alice)}"})
    visitor = Client()
    visitor.post("/accounts/password/reset/", {"email": alice.email})
    link = next(word for word in mail.outbox[0].body.split() if "/password/reset/key/" in word)
    form = visitor.get(link.removeprefix("http://testserver"), follow=True)
    new = "another long passphrase"
    visitor.post(form.request["PATH_INFO"], {"password1": new, "password2": new})
    assert [client.get("/api/me/").status_code for client in (here, program)] == [401, 401]
    assert not ApiToken.objects.exists()


def test_activity_is_stored_once_a_minute(alice: User) -> None:
    """A request stores when the session was seen, but not each one; older sessions get their row."""
    now = [0.0]
    accounts().session_activity = sessions.SessionActivity(lambda: now[0])
    client = Client(headers={"User-Agent": EDGE})
    client.force_login(alice)
    client.get("/api/me/")
    row = UserSession.objects.get()
    UserSession.objects.update(ip="192.0.2.1")
    client.get("/usage/")
    assert UserSession.objects.get().ip == "192.0.2.1"
    now[0] += sessions.PRECISION_SECONDS
    client.get("/usage/")
    seen = UserSession.objects.get()
    assert (seen.ip, seen.last_seen_at > row.last_seen_at) == ("127.0.0.1", True)


def test_the_number_of_sessions_is_bounded(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login beyond the bound ends the session that was not seen for the longest time."""
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 2)
    first, second, third = browser(), browser(), browser()
    assert [client.get("/api/me/").status_code for client in (first, second, third)] == [401, 200, 200]
