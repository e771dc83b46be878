"""The callers that a process identified a moment ago: who is kept, and what makes it forget."""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.test import Client, RequestFactory

from accounts import identities
from accounts.apps import accounts
from accounts.auth import Caller, aauthenticate, aauthenticate_bearer
from accounts.identities import Identities
from accounts.models import ApiToken, User
from runtime import database
from web.refusals import Forbidden, NotAuthenticated

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def identified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that ran in a database thread to identify a caller."""
    names: list[str] = []
    run = database.run
    monkeypatch.setattr(accounts().identities, "_clock", stopped)

    async def counted(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        names.append(function.__name__)
        return await run(function, *args, **kwargs)

    monkeypatch.setattr("accounts.auth.database.run", counted)
    return names


def stopped() -> float:
    """A clock that stands still, so that nothing is forgotten because this process stands still."""
    return 100.0


def bearer(secret: str) -> HttpRequest:
    return RequestFactory().get("/v1/models", headers={"Authorization": f"Bearer {secret}"})


def by_bearer(secret: str) -> Caller:
    return async_to_sync(aauthenticate_bearer)(bearer(secret))


def in_session(client: Client, method: str = "GET") -> HttpRequest:
    request = RequestFactory(enforce_csrf_checks=True).generic(method, "/api/chat/")
    request.COOKIES.update({name: morsel.value for name, morsel in client.cookies.items()})
    return request


def test_a_token_is_looked_up_once(alice: User, identified: list[str]) -> None:
    _row, secret = ApiToken.issue(alice, "editor")
    assert by_bearer(secret).user == by_bearer(secret).user == alice
    assert len(identified) == 1


def test_a_session_is_looked_up_once_and_csrf_checked_each_time(alice: User, identified: list[str]) -> None:
    client = Client()
    client.force_login(alice)
    assert async_to_sync(aauthenticate)(in_session(client)).user == alice
    assert async_to_sync(aauthenticate)(in_session(client)).user == alice
    assert len(identified) == 1
    with pytest.raises(Forbidden):
        async_to_sync(aauthenticate)(in_session(client, "POST"))


def test_a_header_is_never_taken_for_a_session(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    async_to_sync(aauthenticate)(in_session(client))
    for mark in ("", "\0", "session "):
        request = RequestFactory().get("/", headers={"Authorization": mark + client.cookies["sessionid"].value})
        with pytest.raises(NotAuthenticated):
            async_to_sync(aauthenticate_bearer)(request)


def disable(user: User, _token: ApiToken) -> None:
    user.is_active = False
    user.save()


CHANGES: dict[str, Callable[[User, ApiToken], Any]] = {
    "user disabled": disable,
    "token deleted": lambda _user, token: token.delete(),
    "group joined": lambda user, _token: user.groups.add(Group.objects.create(name="a group")),
    "address added": lambda user, _token: EmailAddress.objects.create(user=user, email="other@example.org"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_once(alice: User, identified: list[str], change: str) -> None:
    token, secret = ApiToken.issue(alice, "editor")
    by_bearer(secret)
    CHANGES[change](alice, token)
    if change in ("user disabled", "token deleted"):
        with pytest.raises(NotAuthenticated):
            by_bearer(secret)
    else:
        assert by_bearer(secret).user == alice
    assert len(identified) == 2


def test_a_logout_is_seen_at_once(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    async_to_sync(aauthenticate)(in_session(client))
    request = in_session(client)
    client.logout()
    with pytest.raises(NotAuthenticated):
        async_to_sync(aauthenticate)(request)


def test_a_change_of_another_process_counts_after_two_seconds(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(accounts(), "identities", Identities(lambda: now))
    _row, secret = ApiToken.issue(alice, "editor")
    by_bearer(secret)
    User.objects.filter(pk=alice.pk).update(is_active=False)  # sends no signal, as another process sends none here
    assert by_bearer(secret).user == alice
    now += 2
    with pytest.raises(NotAuthenticated):
        by_bearer(secret)


def test_a_read_that_began_before_a_change_is_not_kept(alice: User) -> None:
    kept, caller = Identities(stopped), Caller(alice, "token", reachable=True)
    version = kept.version
    kept.forget()
    kept.put("Bearer sk-a", caller, version)
    assert kept.get("Bearer sk-a") is None
    kept.put("Bearer sk-a", caller, kept.version)
    assert kept.get("Bearer sk-a") is caller


def test_an_account_that_may_not_chat_is_not_kept(alice: User) -> None:
    kept = Identities()
    kept.put("Bearer sk-a", Caller(alice, "token", reachable=False), kept.version)
    assert kept.get("Bearer sk-a") is None


def test_the_number_kept_is_bounded(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MAX_CALLERS", 3)
    kept = Identities()
    for number in range(7):
        kept.put(f"Bearer sk-{number}", Caller(alice, "token", reachable=True), kept.version)
    assert sum(kept.get(f"Bearer sk-{number}") is not None for number in range(7)) <= 3
