"""The site's own name and footer, where users see them."""

import pytest
from django.core import mail
from django.test import Client

from accounts.models import User
from tests import factories

NAME, FOOTER, CONTACT, NUMBER = "Campus <Chat>", "Run by the library", "help@example.org", "京ICP备12345678号-1"


@pytest.fixture
def named(settings: object) -> None:
    """A site with all that its operator can set."""
    for setting, value in (("NAME", NAME), ("FOOTER", FOOTER), ("CONTACT", CONTACT), ("LEGAL_NUMBER", NUMBER)):
        setattr(settings, f"SITE_{setting}", value)


@pytest.mark.contract(
    "setting: SITE_NAME", "setting: SITE_FOOTER", "setting: SITE_CONTACT", "setting: SITE_LEGAL_NUMBER"
)
@pytest.mark.django_db
def test_pages_have_the_sites_name_and_footer(client: Client, named: None) -> None:
    """Pages with and without login have the name, the footer, the contact and the legal number, escaped."""
    pages = [client.get("/accounts/login/").content.decode()]
    client.force_login(factories.user("alice"))
    pages += [client.get(path).content.decode() for path in ("/", "/usage/")]
    for page in pages:
        assert "Campus &lt;Chat&gt;" in page
        assert NAME not in page
        for text in (FOOTER, f'href="mailto:{CONTACT}"', 'href="https://beian.miit.gov.cn/"', NUMBER):
            assert text in page
    assert client.get("/manifest.webmanifest").json()["name"] == NAME
    client.force_login(factories.user("root", is_staff=True, is_superuser=True))
    assert "Campus &lt;Chat&gt;" in client.get("/admin/").content.decode()


@pytest.mark.django_db
def test_pages_without_settings_have_no_footer(client: Client) -> None:
    """Without settings the name is ours, and there is no footer."""
    page = client.get("/accounts/login/").content.decode()
    assert "· Rivulet</title>" in page
    assert "site-footer" not in page


@pytest.mark.django_db
def test_mails_have_the_sites_name(client: Client, named: None) -> None:
    """A mail ends with the name and the contact, as they are."""
    user = factories.user("bob")
    User.objects.filter(pk=user.pk).update(email="bob@example.org")
    client.post("/accounts/password/reset/", {"email": "bob@example.org"})
    (sent,) = mail.outbox
    assert f"\n{NAME} · " in sent.body
    assert CONTACT in sent.body
