"""A visitor who has posted no form stores no session and no other row."""

import os
from typing import Any

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLResolver, get_resolver

from accounts.models import User
from tests import factories

pytestmark = pytest.mark.django_db

GETS = 1_000
# Values for the parameters of routes.
VALUES = {"int": 1, "str": "x", "path": "x", "key": "x", "slug": "x", "uuid": "0" * 32}


def routes(patterns: list[Any], prefix: str = "/") -> list[str]:
    """Return one path for each route; parts that are regular expressions get a plain text."""
    found = []
    for pattern in patterns:
        text = str(pattern.pattern).lstrip("^").rstrip("$").replace("\\Z", "")
        for name, converter in pattern.pattern.converters.items():
            for kind, value in VALUES.items():
                text = text.replace(f"<{kind}:{name}>", str(value)).replace(f"<{name}>", str(value))
            assert f":{name}>" not in text, (text, converter)
        path = prefix + text
        found += routes(pattern.url_patterns, path) if isinstance(pattern, URLResolver) else [path]
    return [path for path in found if isinstance(path, str)]


def pages() -> list[str]:
    """Return the paths of all pages, with the queries that could make a page remember something."""
    paths = {
        path.replace("(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)", "1-x") for path in routes(get_resolver().url_patterns)
    }
    paths = {path.replace("(?P<key>[-:\\w]+)", "x") for path in paths if not path.startswith(("/v1", "/sse/"))}
    paths.add("/accounts/signup/?invite=NOBODY")
    return sorted(paths)


def rows() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in apps.get_models()}


@pytest.mark.soak
def test_a_thousand_gets_store_nothing(alice: User) -> None:
    """1,000 GETs of all pages, each by a new visitor in one of two languages, make 0 rows."""
    paths = [*pages(), f"/accounts/signup/?invite={alice.invite_code}"]
    assert {"/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/", "/admin/"} <= set(paths)
    before = rows()
    client = Client(raise_request_exception=False)
    for number in range(GETS if os.environ.get("SOAK") else len(paths)):
        client.cookies.clear()  # a new visitor
        language = ("en", "zh-hans")[number % 2]
        client.get(paths[number % len(paths)], headers={"Accept-Language": language})
    assert rows() == before
    assert not Session.objects.exists()


def test_the_invite_code_is_kept_without_a_session(client: Client, alice: User) -> None:
    """The code of a link is in the form later too, until the visitor has signed up."""
    client.get("/accounts/signup/", {"invite": alice.invite_code})
    assert client.get("/accounts/signup/").context["form"]["invite_code"].value() == alice.invite_code
    assert not Session.objects.exists()
    fields = {"username": "erin", "email": "erin@example.org", "invite_code": alice.invite_code}
    passwords = dict.fromkeys(("password1", "password2"), factories.PASSWORD)
    assert client.post("/accounts/signup/", {**fields, **passwords}).status_code == 302
    assert User.objects.get(username="erin").invited_by == alice
    assert not client.cookies["invite_code"].value
