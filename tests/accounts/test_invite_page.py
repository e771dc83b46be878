"""The page /invite/: link, QR code and invited users."""

import re
from typing import Any

import pytest
import segno
from django.test import Client
from django.utils import translation

from accounts import pages
from accounts.models import User
from quotas import invitations
from quotas.models import Invitation, Quota
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quota(db: None) -> Quota:
    return factories.quota("standard", title="Standard", inviter_credits=10, invitee_credits=5)


@pytest.fixture
def visitor(client: Client, alice: User) -> Client:
    client.force_login(alice)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


def text(response: Any) -> str:
    """Return the visible text of a page."""
    assert response.status_code == 200
    page = re.sub(r"<(script|svg|title)\b.*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def joined(inviter: User, name: str, **changes: Any) -> None:
    user = factories.user(name, password=None)
    invitations.join(inviter.pk, user.pk, earns=True)
    Invitation.objects.filter(invited=user).update(**changes)


def test_the_page_shows_link_code_and_rewards(visitor: Client, alice: User, quota: Quota) -> None:
    """The page has the link, the code, both sides' credits, invited users and earnings."""
    joined(alice, "erin")
    joined(alice, "frank", status="nothing")
    page = visitor.get("/invite/")
    words = text(page)
    assert f'value="http://testserver/accounts/signup/?invite={alice.invite_code}"' in page.content.decode()
    assert alice.invite_code in words
    assert "Standard 10 for you, 5 for your friend" in words
    assert "Friends joined 2 Credits earned 0 Credits waiting 10" in words
    assert re.search(r"frank \S+ had an account before erin \S+ waiting for the first answer", words)


def test_older_invitations_are_on_further_pages(visitor: Client, alice: User) -> None:
    """Older invitations are on further pages, each user once; an odd cursor gives the first page."""
    names = [f"guest{number:03}" for number in range(pages.PAGE_SIZE + 2)]
    for name in names:
        joined(alice, name)
    newest = visitor.get("/invite/").content.decode()
    older = re.search(r'href="(\?before=\d+)#joined"', newest)
    assert older
    last = visitor.get(f"/invite/{older[1]}").content.decode()
    names_by_page = [re.findall(r"guest\d{3}", page) for page in (newest, last)]
    assert names_by_page == [names[:1:-1], names[1::-1]]
    assert 'href="?before=' not in last
    assert 'href="/invite/#joined"' in last
    for odd in ("x", "-1", "9" * 30, "\0"):
        assert visitor.get("/invite/", {"before": odd}).content.decode().count("guest") == pages.PAGE_SIZE


def test_a_user_without_invitations_gets_advice(visitor: Client) -> None:
    """A user who has invited no friend is advised to send the link."""
    assert "No friend has joined yet. Send your link to a friend." in text(visitor.get("/invite/"))


def test_the_qr_code_is_the_link(visitor: Client, alice: User) -> None:
    """The QR code contains the link, and has no inline style, which the policy forbids."""
    page = visitor.get("/invite/").content.decode()
    (drawn,) = re.findall(r'<svg[^>]*class="qr-code".*?</svg>', page, flags=re.DOTALL)
    link = f"http://testserver/accounts/signup/?invite={alice.invite_code}"
    expected = segno.make_qr(link, error="m").svg_inline(border=2, omitsize=True)
    path = re.compile(r'\bd="([^"]+)"')
    assert path.findall(drawn) == path.findall(expected)
    assert "style=" not in drawn


def test_the_first_page_needs_few_queries(visitor: Client, alice: User, django_assert_max_num_queries: Any) -> None:
    """The first page shows the newest fifty users, with at most seven queries."""
    for number in range(52):
        joined(alice, f"friend{number:02}")
    with django_assert_max_num_queries(7):
        words = text(visitor.get("/invite/"))
    assert "friend51" in words
    assert "friend01 " not in words


def test_closed_sign_up_is_announced(visitor: Client, settings: Any) -> None:
    """The page says when sign-up is closed."""
    assert "Signing up is closed" not in text(visitor.get("/invite/"))
    settings.SIGNUP_MODE = "closed"
    assert "Signing up is closed" in text(visitor.get("/invite/"))


def test_no_credits_are_promised_without_rewards(visitor: Client) -> None:
    """The page promises no credits when invitations bring none."""
    Quota.objects.update(inviter_credits=0, invitee_credits=0)
    words = text(visitor.get("/invite/"))
    assert "Invitations bring no credits at the moment." in words
    assert "starts with credits" not in words


def test_anonymous_visitors_log_in_first(client: Client) -> None:
    """A visitor without a login is redirected to the login page."""
    assert client.get("/invite/")["Location"] == "/accounts/login/?next=/invite/"


def test_the_page_uses_the_readers_language(visitor: Client) -> None:
    """The title is in the reader's language."""
    for language in ("en", "zh-hans"):
        with translation.override(language):
            title = translation.gettext("Invite friends")
        page = visitor.get("/invite/", headers={"Accept-Language": language}).content.decode()
        assert f"<h1>{title}</h1>" in page
