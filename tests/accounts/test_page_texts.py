"""Texts of the operator, and the statement about the age at sign-up."""

from typing import Any

import pytest
from django.test import Client

from accounts.apps import accounts
from accounts.models import PageText, User
from tests.product import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    accounts().page_texts.forget()


def test_a_text_has_a_page_and_a_link(client: Client, carol: User) -> None:
    """A text that staff write is shown in the reader's language, escaped, and linked from the foot of pages."""
    assert client.get("/privacy/").status_code == 404
    client.force_login(carol)
    fields = {
        "kind": "privacy",
        "text_en": "We keep <little>.\n\nSee https://example.org/",
        "text_zh": "我们只保留必要的数据。",
    }
    assert client.post("/admin/accounts/pagetext/add/", fields).status_code == 302
    accounts().page_texts.current()  # as the timer does
    client.logout()
    english = client.get("/privacy/", headers={"Accept-Language": "en"}).content.decode()
    assert "We keep &lt;little&gt;." in english
    assert '<a href="https://example.org/"' in english
    assert "我们只保留必要的数据。" in client.get("/privacy/", headers={"Accept-Language": "zh"}).content.decode()
    assert 'href="/privacy/"' in client.get("/accounts/signup/").content.decode()
    assert client.get("/terms/").status_code == 404


def test_a_missing_language_gets_the_other_text(client: Client) -> None:
    """Readers of a language without a text see the other one."""
    PageText.objects.create(kind="terms", text_zh="请友善。")
    assert "请友善。" in client.get("/terms/", headers={"Accept-Language": "en"}).content.decode()


@pytest.mark.contract("setting: SIGNUP_MIN_AGE")
def test_signing_up_states_the_age(client: Client, settings: Any) -> None:
    """With SIGNUP_MIN_AGE form and API need the statement, and the account keeps it; without, nothing is asked."""
    assert "old_enough" not in client.get("/accounts/signup/").content.decode()
    settings.SIGNUP_MIN_AGE = 18
    form = {"username": "erin", "email": "erin@example.org", "password1": PASSWORD, "password2": PASSWORD}
    refused = client.post("/accounts/signup/", form)
    assert refused.context["form"].errors["old_enough"]
    assert client.post("/accounts/signup/", {**form, "old_enough": "on"}).status_code == 302
    body = {"username": "frank", "email": "frank@example.org", "password": PASSWORD}
    missing = Client().post("/api/auth/register/", body, content_type="application/json")
    assert (missing.status_code, [*missing.json()["error"]["details"]]) == (400, ["old_enough"])
    made = Client().post("/api/auth/register/", {**body, "old_enough": True}, content_type="application/json")
    assert made.status_code == 201
    assert list(User.objects.order_by("username").values_list("username", "stated_age")) == [
        ("erin", 18),
        ("frank", 18),
    ]
