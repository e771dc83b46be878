"""Guests: a bounded trial without an account, which an account can keep."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import guests
from accounts.models import GuestUse, User
from chatproject.urls import urlpatterns
from tests import factories
from tests.product import PASSWORD, Product, connected
from tests.upstreams import FakeOpenAI
from web.refusals import Forbidden

# Routes that a guest may call; all others are closed, new ones too.
OPEN_ROUTES = {
    *(
        "",
        "c/<int:conversation_id>/",
        "favicon.ico",
        "manifest.webmanifest",
        "service-worker.js",
        "diagram/",
        "offline/",
    ),
    *("privacy/", "terms/", "s/<str:token>/", "accounts/terms/", "accounts/guest/", "accounts/keep/", "api/chat/"),
    *("api/generations/<str:generation_id>/", "api/generations/<str:generation_id>/events/"),
    *("api/generations/<str:generation_id>/stop/", "api/messages/<int:message_id>/regenerate/", "api/models/"),
    *("api/messages/<int:message_id>/continue/", "api/conversations/", "api/conversations/<int:conversation_id>/"),
    *("api/conversations/<int:conversation_id>/messages/", "api/quotas/", "api/me/terms/"),
    *("api/announcements/", "brand/logo/<slug:digest>/", "brand/icon/<slug:digest>/<int:size>.png"),
    "brand/colours/<slug:name>/<slug:digest>.css",
    *("accounts/login/", "accounts/logout/", "i18n/setlang/"),
}

# What the page shows to users and not to guests, who would be refused.
CLOSED = [
    *('id="share"', 'id="attach"', 'id="attach-files"', 'popovertarget="presets-menu"', 'data-section="presets"'),
    *('data-part="instructions-form"', "data-export=", 'href="/tools/"', 'href="/usage/"', 'href="/accounts/data/"'),
]


def routes(patterns: Any, prefix: str = "") -> Iterator[str]:
    """Yield all routes, those of included ones too."""
    for found in patterns:
        route = f"{prefix}{found.pattern}"
        if hasattr(found, "url_patterns"):
            yield from routes(found.url_patterns, route)
        else:
            yield route


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, upstream: FakeOpenAI) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("guests"), **connected(upstream), GUEST_DAILY_LIMIT="2") as made:
        yield made


def form_token(page: httpx.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found
    return found[1]


def begin(product: Product, address: str) -> httpx.Client:
    """Begin a trial on the login page; return the guest's browser."""
    client = product.client(follow_redirects=True)
    client.headers.update({"X-Forwarded-For": address, "Referer": product.url})
    token = form_token(client.get("/accounts/login/"))
    assert client.post("/accounts/guest/", data={"csrfmiddlewaretoken": token}).url.path == "/"
    client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
    return client


def ask(client: httpx.Client, key: str = "", **body: str) -> tuple[int, str]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = client.post("/api/chat/", json={"model": "echo", "prompt": "Hello", **body}, headers=headers)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


@pytest.mark.server
@pytest.mark.contract("setting: GUEST_DAILY_LIMIT")
def test_a_trial_is_bounded_and_becomes_an_account(trial: Product) -> None:
    """A guest asks so often a day, as does the address; signing up keeps the conversations and opens the rest."""
    guest = begin(trial, "192.0.2.1")
    first = guest.get("/").text
    assert "You are a guest: 2 questions a day." in first
    # A guest would be refused.
    for control in CLOSED:
        assert control not in first
    assert '"guest": {"limit": 2, "left": 2}' in first
    # What is refused, or begun before, does not count.
    assert ask(guest, model="unknown") == (400, "invalid_request")
    assert [ask(guest, "first"), ask(guest, "first"), ask(guest)] == [(202, "")] * 3
    assert [ask(guest), ask(guest, "first")] == [(429, "quota_exhausted"), (202, "")]
    assert '"guest": {"limit": 2, "left": 0}' in guest.get("/").text
    # Another cookie at the same address has nothing left, another address has.
    other = begin(trial, "192.0.2.1")
    assert '"guest": {"limit": 2, "left": 0}' in other.get("/").text
    assert ask(other) == (429, "quota_exhausted")
    assert ask(begin(trial, "192.0.2.2")) == (202, "")
    assert guest.post("/api/tokens/", json={"name": "x"}).status_code == 403
    assert guest.get("/accounts/tokens/").url.path == "/accounts/keep/"
    # With SHARE_MODE=members; otherwise a trial would open copies that are for users to every visitor.
    assert guest.get("/s/some-link/").url.path == "/accounts/keep/"
    page = guest.get("/accounts/keep/")
    form = {"username": "grace", "email": "grace@example.org", "password1": PASSWORD, "password2": PASSWORD}
    kept = guest.post("/accounts/keep/", data={**form, "csrfmiddlewaretoken": form_token(page)})
    assert kept.url.path == "/", kept.text
    assert "You are a guest" not in kept.text
    assert '"guest": null' in kept.text
    for control in CLOSED:
        assert control in kept.text
    assert len(guest.get("/api/conversations/").json()["results"]) == 2
    guest.headers["X-CSRFToken"] = guest.cookies["csrftoken"]
    assert ask(guest) == (202, "")
    assert guest.get("/api/tokens/").status_code == 200
    assert trial.log_in("grace").status_code == 200


def test_what_is_open_to_guests() -> None:
    """A guest may call what a trial needs, and nothing else of all routes."""
    guest, user = User(is_guest=True), User()

    def is_open(route: str) -> bool:
        guests.require_open(user, f"/{route}")
        try:
            guests.require_open(guest, "/" + re.sub(r"<\w+:\w+>", "1", route))
        except Forbidden:
            return False
        return True

    assert set(filter(is_open, routes(urlpatterns))) == OPEN_ROUTES


@pytest.mark.django_db
def test_without_the_setting_there_are_no_guests(client: Client, settings: Any) -> None:
    """The login page offers no trial, and the route is not found."""
    assert "/accounts/guest/" not in client.get("/accounts/login/").content.decode()
    assert client.post("/accounts/guest/").status_code == 404
    settings.GUEST_DAILY_LIMIT, settings.SIGNUP_MIN_AGE = 3, 18
    assert "old_enough" in client.get("/accounts/login/").content.decode()
    assert client.post("/accounts/guest/").headers["Location"] == "/accounts/login/"
    assert not User.objects.exists()
    assert client.post("/accounts/guest/", {"old_enough": "on"}).headers["Location"] == "/"
    assert User.objects.get().stated_age == 18


@pytest.mark.django_db(transaction=True)
def test_concurrent_prompts_never_pass_the_limit() -> None:
    """Of eight threads that count at once, three succeed."""
    counted: list[bool] = []

    def count() -> None:
        counted.append(GuestUse.objects.take("user", "1", timezone.localdate(), 3))
        connection.close()

    threads = [threading.Thread(target=count) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(counted), GuestUse.objects.get().used) == (3, 3)


@pytest.mark.django_db(transaction=True)
def test_old_guests_are_deleted(alice: User) -> None:
    """A guest who did not sign up is deleted after some days, with counts of past days; users stay."""
    long_ago = timezone.now() - timedelta(days=guests.DAYS, hours=1)
    old = factories.user("guest-old", email="", is_guest=True, date_joined=long_ago)
    new = factories.user("guest-new", email="", is_guest=True)
    User.objects.filter(pk=alice.pk).update(date_joined=long_ago)
    GuestUse.objects.take("user", "1", timezone.localdate(long_ago), 3)
    async_to_sync(guests.delete_old)()
    marked = User.objects.filter(deletion_requested_at__isnull=False)
    assert list(marked) == [old]
    assert User.objects.filter(pk__in=[new.pk, alice.pk], is_active=True).count() == 2
    assert not GuestUse.objects.exists()


@pytest.mark.django_db
def test_a_guest_who_has_just_signed_up_stays() -> None:
    """A guest who became an account after the list of old guests was read is not deleted."""
    guest = factories.user("guest-old", email="", is_guest=True)
    User.objects.filter(pk=guest.pk).update(is_guest=False)
    guests._delete(guest.pk)
    assert User.objects.get().deletion_requested_at is None
