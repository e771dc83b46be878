"""The terms of use: only prompts wait for their acceptance."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests.product import PASSWORD, Product, connected
from tests.upstreams import FakeOpenAI

VERSION, URL = "2026-11", "https://example.org/terms"


@pytest.fixture
def terms(settings: Any) -> None:
    settings.TERMS_VERSION, settings.TERMS_URL = VERSION, URL


@pytest.fixture(scope="module")
def own_product(tmp_path_factory: pytest.TempPathFactory, upstream: FakeOpenAI) -> Iterator[Product]:
    variables = {**connected(upstream), "TERMS_VERSION": VERSION, "TERMS_URL": URL}
    with Product(tmp_path_factory.mktemp("terms"), **variables) as made:
        yield made


@pytest.mark.server
@pytest.mark.contract(
    "refusal: terms_required",
    "GET /api/me/terms/",
    "POST /api/me/terms/",
    "setting: TERMS_VERSION",
    "setting: TERMS_URL",
)
def test_prompts_wait_for_the_acceptance(own_product: Product) -> None:
    """Each way to ask is refused until the user accepts; export, tokens and acceptance are not."""
    user = own_product.register("alice")
    refused = user.client.post("/api/chat/", json={"model": "echo", "prompt": "Hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "terms_required")
    assert refused.json()["error"]["details"] == {"version": VERSION, "url": URL}
    stream = user.client.get("/api/chat/?model=echo&prompt=Hello", headers={"Accept": "text/event-stream"})
    assert '"terms_required"' in stream.text
    token = user.client.post("/api/tokens/", json={"name": "one"}).json()["token"]
    program = own_product.client(token)
    call = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}
    answer = program.post("/v1/chat/completions", json=call)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "terms_required")
    assert user.client.get("/api/export/").status_code == 200
    assert user.client.get("/api/me/terms/").json() == {"version": VERSION, "url": URL, "accepted": False}
    assert user.client.post("/api/me/terms/", json={"version": "2025"}).status_code == 400
    accepted = user.client.post("/api/me/terms/", json={"version": VERSION})
    assert accepted.json() == {"version": VERSION, "url": URL, "accepted": True}
    assert user.ended(user.ask("Hello", "echo")["id"])["status"] == "completed"
    assert program.post("/v1/chat/completions", json=call).status_code == 200


@pytest.mark.django_db
@pytest.mark.usefixtures("terms")
def test_the_page_comes_before_the_chat(client: Client, alice: User) -> None:
    """The chat leads to the terms and back; another version that was shown is not accepted."""
    client.force_login(alice)
    assert client.get("/?x=1").headers["Location"] == "/accounts/terms/?next=%2F%3Fx%3D1"
    assert URL in client.get("/accounts/terms/").content.decode()
    assert client.get("/accounts/data/").status_code == client.get("/accounts/delete/").status_code == 200
    old = client.post("/accounts/terms/", {"version": "2025", "next": "/"})
    assert old.status_code == 200
    assert client.get("/").status_code == 302
    done = client.post("/accounts/terms/", {"version": VERSION, "next": "https://evil.example/"})
    assert done.headers["Location"] == "/"
    assert client.get("/").status_code == 200
    assert client.get("/accounts/terms/?next=/usage/").headers["Location"] == "/usage/"


@pytest.mark.django_db
@pytest.mark.usefixtures("terms")
def test_signing_up_accepts_at_once(client: Client) -> None:
    """The form needs the checkbox; the API takes the current version."""
    form = {"username": "erin", "email": "erin@example.org", "password1": PASSWORD, "password2": PASSWORD}
    refused = client.post("/accounts/signup/", form)
    assert list(refused.context["form"].errors) == ["terms"]
    assert client.post("/accounts/signup/", {**form, "terms": "on"}).status_code == 302
    erin = User.objects.get(username="erin")
    assert (erin.accepted_terms, erin.terms_accepted_at is None) == (VERSION, False)
    body = {"username": "frank", "email": "frank@example.org", "password": PASSWORD, "terms_version": "2025"}
    wrong = client.post("/api/auth/register/", body, content_type="application/json")
    assert list(wrong.json()["error"]["details"]) == ["terms_version"]
    right = client.post("/api/auth/register/", {**body, "terms_version": VERSION}, content_type="application/json")
    assert right.status_code == 201
    assert User.objects.get(username="frank").accepted_terms == VERSION


@pytest.mark.django_db
def test_without_terms_nothing_is_asked(client: Client, alice: User, bearer: Any) -> None:
    """Without TERMS_VERSION the chat opens at once, and there is nothing to accept."""
    client.force_login(alice)
    assert client.get("/").status_code == 200
    assert client.get("/accounts/terms/").headers["Location"] == "/"
    assert bearer(alice).get("/api/me/terms/").json() == {"version": None, "url": None, "accepted": True}
