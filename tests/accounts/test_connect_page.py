"""accounts/connect_page.py: settings to copy into programs."""

import pytest
from django.test import Client

from accounts.connect_page import PROGRAMS
from accounts.models import User
from tests import factories

pytestmark = pytest.mark.django_db
PAGE = "/accounts/connect/"


@pytest.fixture
def page(client: Client, alice: User, settings: object) -> Client:
    """The page of a user who may use two models."""
    upstream = factories.upstream("demo", kind="scripted")
    for slug in ("demo", "gpt-4"):
        factories.route(factories.chat_model(slug), upstream)
    client.force_login(alice)
    return client


def test_settings_have_the_address_and_a_model(page: Client, settings: object) -> None:
    """Each program's settings name our public address and the chosen model."""
    settings.PUBLIC_URL = "https://chat.example.org"  # type: ignore[attr-defined]
    text = page.get(PAGE).content.decode()
    for program in PROGRAMS:
        shown = text.partition(f'id="{program.slug}-settings"')[2].partition("</pre>")[0]
        assert "https://chat.example.org" in shown
        assert "gpt-4" in shown
        assert "@" not in shown
    assert "demo" in page.get(PAGE, {"model": "demo"}).content.decode().partition("curl-settings")[2]
    assert "<script>x" not in page.get(PAGE, {"model": "<script>x"}).content.decode()


def test_the_page_is_linked_and_private(page: Client) -> None:
    """Menu and token page lead to it; visitors log in first."""
    for other in ("/", "/accounts/tokens/"):
        assert f'href="{PAGE}"' in page.get(other).content.decode()
    assert Client().get(PAGE)["Location"].startswith("/accounts/login/")
