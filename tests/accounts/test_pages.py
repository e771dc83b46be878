"""accounts/adapters.py and accounts/forms.py: allauth's pages."""

import smtplib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.db import IntegrityError
from django.test import Client
from pydantic import SecretStr

from accounts import auth
from accounts.adapters import AccountAdapter, SocialAccountAdapter
from accounts.models import User
from quotas.models import Quota
from tests import factories

pytestmark = pytest.mark.django_db
FORM = {
    "username": "erin",
    "email": "Erin@Example.org",
    "password1": "a long enough one",
    "password2": "a long enough one",
}


def sign_up(client: Client, **changes: str) -> Any:
    return client.post("/accounts/signup/", {**FORM, **changes})


def log_in(client: Client, next_url: str = "", name: str = "alice", password: str = factories.PASSWORD) -> Any:
    return client.post("/accounts/login/", {"login": name, "password": password, "next": next_url})


def test_signing_up_makes_an_account_and_logs_in(client: Client) -> None:
    """Signing up on the page creates an account and logs in."""
    assert sign_up(client).status_code == 302
    assert client.get("/api/me/").json()["email"] == "erin@example.org"


def test_login_opens_and_logout_ends_a_session(client: Client, alice: User) -> None:
    """A login starts a session, a logout ends it."""
    log_in(client)
    assert client.get("/api/me/").status_code == 200
    client.post("/accounts/logout/")
    assert client.get("/api/me/").status_code == 401


def test_a_disabled_user_gets_no_session(client: Client, alice: User) -> None:
    """A disabled user cannot log in on the page."""
    User.objects.update(is_active=False)
    log_in(client)
    assert client.get("/api/me/").status_code == 401


@pytest.mark.parametrize(
    "url",
    ["//evil.example", "https://evil.example/", "\\\\evil.example", "javascript:alert(1)", "http:///evil.example"],
)
def test_a_foreign_next_is_not_followed(url: str, client: Client, alice: User) -> None:
    """After the login, `next` is followed only to our own pages."""
    assert log_in(client, url)["Location"] == "/"
    client.logout()
    assert log_in(client, "/admin/")["Location"] == "/admin/"
    assert client.get("/accounts/login/", {"next": url})["Location"] == "/"


def test_credits_are_promised_where_there_are_some(client: Client, alice: User) -> None:
    """The page promises credits only for a known code, while a quota gives invited users some."""
    quota = factories.quota("standard", inviter_credits=10)

    def promised(code: str) -> bool:
        return b"your first credits are waiting" in client.get("/accounts/signup/", {"invite": code}).content

    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    assert not promised(alice.invite_code)
    Quota.objects.filter(pk=quota.pk).update(invitee_credits=5)
    assert promised(alice.invite_code)
    assert promised(f" {alice.invite_code.lower()} ")
    assert not promised("NOBODY2345")
    assert not promised("\0")


def test_the_invite_link_fills_in_the_code(client: Client, alice: User) -> None:
    """The code of the link is in the form and sets the inviter."""
    page = client.get("/accounts/signup/", {"invite": alice.invite_code})
    assert page.context["form"]["invite_code"].value() == alice.invite_code
    sign_up(client, invite_code=alice.invite_code)
    assert User.objects.get(username="erin").invited_by == alice


def test_the_code_is_kept_for_the_visit(client: Client, alice: User) -> None:
    """The code stays in the form when the visitor returns without the link."""
    client.get("/accounts/signup/", {"invite": alice.invite_code})
    client.get("/accounts/login/")
    assert client.get("/accounts/signup/").context["form"]["invite_code"].value() == alice.invite_code


def test_an_unknown_code_is_a_form_error(client: Client) -> None:
    """A wrong code is an error of its field."""
    response = sign_up(client, invite_code="NOBODY")
    assert list(response.context["form"].errors) == ["invite_code"]
    assert not User.objects.exists()


def test_invite_mode_needs_a_valid_code(settings: Any, client: Client, alice: User) -> None:
    """In mode `invite` the page needs a valid code."""
    settings.SIGNUP_MODE = "invite"
    assert list(sign_up(client).context["form"].errors) == ["invite_code"]
    assert sign_up(client, invite_code=alice.invite_code.lower()).status_code == 302


def test_closed_mode_creates_no_account(settings: Any, client: Client) -> None:
    """In mode `closed` the page creates no account."""
    settings.SIGNUP_MODE = "closed"
    sign_up(client)
    assert not User.objects.exists()


@pytest.mark.parametrize("changes", [{"username": "ALICE"}, {"email": "Alice@Example.org"}])
def test_a_taken_name_or_address_is_a_form_error(changes: dict[str, str], client: Client, alice: User) -> None:
    """A name or address that exists in any case is an error of its field."""
    assert list(sign_up(client, **changes).context["form"].errors) == list(changes)


def test_a_name_taken_meanwhile_leads_back_to_the_form(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name taken between check and save leads back to the form, not to an error page."""

    def lose(*_args: Any, **_kwargs: Any) -> None:
        raise IntegrityError

    monkeypatch.setattr(User, "save", lose)
    response = sign_up(client)
    assert (response.status_code, response["Location"]) == (302, "/accounts/signup/")
    assert "刚刚被人注册" in client.get("/accounts/signup/").content.decode()


def test_signing_up_is_limited(settings: Any, client: Client) -> None:
    """A flood of sign-ups from one IP address is refused."""
    settings.ACCOUNT_RATE_LIMITS = {"signup": "1/m/ip"}
    sign_up(client, password2="")
    assert sign_up(client).status_code == 429


def test_headers_do_not_change_the_clients_address(client: Client) -> None:
    """A forwarding header does not change the address; uvicorn evaluates trusted proxies."""
    request = client.get("/accounts/login/", headers={"X-Forwarded-For": "1.2.3.4"}).wsgi_request
    assert AccountAdapter(request).get_client_ip(request) == "127.0.0.1"
    request.META["REMOTE_ADDR"] = ""
    assert AccountAdapter(request).get_client_ip(request)


def test_a_mail_that_fails_is_no_error_page(client: Client, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing mail server does not cause an error page."""

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise smtplib.SMTPServerDisconnected

    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", fail)
    assert client.post("/accounts/password/reset/", {"email": alice.email}).status_code == 302


def test_a_forgotten_password_is_reset_by_mail(client: Client, alice: User) -> None:
    """The link in the mail sets a new password; an unknown address gets no mail."""
    client.post("/accounts/password/reset/", {"email": "nobody@example.org"})
    assert not mail.outbox
    client.post("/accounts/password/reset/", {"email": "ALICE@example.org"})
    link = next(word for word in str(mail.outbox[0].body).split() if "/password/reset/key/" in word)
    form = client.get(link.removeprefix("http://testserver"), follow=True).redirect_chain[-1][0]
    client.post(form, {"password1": "another fine password", "password2": "another fine password"})
    alice.refresh_from_db()
    assert alice.check_password("another fine password")


@pytest.fixture(params=["no mail server", "a mail server"])
def sends(request: pytest.FixtureRequest, settings: Any) -> bool:
    """Whether the site sends mail; the test runs both ways."""
    url = SecretStr("smtp://mail.example.org") if request.param == "a mail server" else None
    settings.ENV = settings.ENV.model_copy(update={"EMAIL_URL": url})
    return url is not None


def test_a_single_address_cannot_be_chosen_or_removed(client: Client, alice: User) -> None:
    """The page offers no button that could only refuse; with a second address it does."""
    log_in(client)
    buttons = ("action_primary", "action_remove")
    page = client.get("/accounts/email/").content.decode()
    assert not any(name in page for name in buttons)
    EmailAddress.objects.create(user=alice, email="other@example.org", verified=True)
    page = client.get("/accounts/email/").content.decode()
    assert all(name in page for name in buttons)


def test_no_mail_is_promised_without_a_mail_server(client: Client, alice: User, sends: bool) -> None:
    """Without a mail server no page promises mail; addresses can still be added and removed."""
    EmailAddress.objects.update(verified=False)
    log_in(client)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    page = client.get("/accounts/email/").content.decode()
    assert ("action_send" in page, "Unverified" in page, "sends no mail" in page) == (sends, sends, not sends)
    added = client.post("/accounts/email/", {"action_add": "", "email": "other@example.org"}, follow=True)
    assert ("Confirmation email sent to other@example.org." in added.content.decode()) == sends
    client.post("/accounts/email/", {"action_remove": "", "email": "other@example.org"})
    assert EmailAddress.objects.get(user=alice).email == alice.email
    client.logout()
    page = client.get("/accounts/password/reset/").content.decode()
    assert ('name="email"' in page, "sends no mail" in page) == (sends, not sends)


class FakeWeChat:
    """The two responses of WeChat: a token, then a profile without an address, as `text/plain`."""

    status_code = 200
    content = '{"openid":"wx-1","nickname":"小明"}'.encode()

    def __enter__(self) -> "FakeWeChat":
        return self

    def __exit__(self, *_error: object) -> None: ...

    def request(self, *_args: Any, **_kwargs: Any) -> "FakeWeChat":
        return self

    get = request

    def raise_for_status(self) -> None: ...

    def json(self) -> dict[str, str]:
        return {"access_token": "t", "openid": "wx-1"}


@pytest.fixture
def wechat(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """WeChat with configured keys; call it to return from its login page."""
    settings.SOCIALACCOUNT_PROVIDERS = {"weixin": {"APPS": [{"client_id": "id", "secret": "secret"}]}}
    monkeypatch.setattr(SocialAccountAdapter, "get_requests_session", lambda _self: FakeWeChat())

    def come_back(client: Client) -> Any:
        there = client.post("/accounts/weixin/login/")["Location"]
        state = parse_qs(urlsplit(there).query)["state"][0]
        return client.get("/accounts/weixin/login/callback/", {"code": "1", "state": state})

    return come_back


def test_wechat_needs_no_address(wechat: Any, client: Client) -> None:
    """A user from WeChat has an account at once, and may chat."""
    assert wechat(client)["Location"] == "/"
    user = User.objects.get()
    assert (user.username, user.email) == ("小明", "")
    assert auth._caller(user, "session").reachable
    wechat(Client())
    assert User.objects.count() == SocialAccount.objects.count() == 1


def test_wechat_gives_another_name_when_one_is_taken(wechat: Any, client: Client) -> None:
    """A nickname that is taken does not prevent the sign-up."""
    factories.user("小明")
    assert wechat(client)["Location"] == "/"
    assert User.objects.count() == 2


def test_wechat_brings_the_inviter(wechat: Any, client: Client, alice: User) -> None:
    """The invitation link counts for users who then choose a social login."""
    client.get("/accounts/signup/", {"invite": alice.invite_code})
    wechat(client)
    assert User.objects.get(username="小明").invited_by == alice


def test_returning_from_wechat_earns_nothing(wechat: Any, client: Client, alice: User) -> None:
    """A user who deletes the account and returns from WeChat earns the inviter nothing."""
    for status in ("pending", "nothing"):
        stranger = Client()
        stranger.get("/accounts/signup/", {"invite": alice.invite_code})
        wechat(stranger)
        invited = User.objects.get(username="小明")
        assert invited.invitation.status == status
        invited.delete()


def test_a_formerly_linked_login_earns_nothing(wechat: Any, client: Client, alice: User, bob: User) -> None:
    """A social login that was linked to an account before earns nothing."""
    client.force_login(bob)
    there = client.post("/accounts/weixin/login/?process=connect")["Location"]
    state = parse_qs(urlsplit(there).query)["state"][0]
    client.get("/accounts/weixin/login/callback/", {"code": "1", "state": state})
    account = SocialAccount.objects.get()
    assert account.user == bob
    account.delete()
    stranger = Client()
    stranger.get("/accounts/signup/", {"invite": alice.invite_code})
    wechat(stranger)
    assert User.objects.get(username="小明").invitation.status == "nothing"


def test_social_sign_up_follows_the_mode(settings: Any, wechat: Any, client: Client, alice: User) -> None:
    """In mode `invite` a social login needs a code; in mode `closed` it creates no account."""
    settings.SIGNUP_MODE = "invite"
    wechat(client)
    assert User.objects.count() == 1
    client.get("/accounts/signup/", {"invite": alice.invite_code})
    settings.SIGNUP_MODE = "closed"
    wechat(client)
    assert User.objects.count() == 1
    settings.SIGNUP_MODE = "invite"
    wechat(client)
    assert User.objects.count() == 2


def test_only_configured_logins_are_offered(wechat: Any, client: Client) -> None:
    """The page offers only services with configured keys."""
    page = client.get("/accounts/login/").content.decode()
    assert "/accounts/weixin/login/" in page
    assert "github" not in page


def test_a_service_without_keys_is_not_found(client: Client) -> None:
    """The addresses of a service that is not configured are those of no page."""
    for page in ("login/", "login/callback/"):
        assert [client.get(f"/accounts/{name}/{page}").status_code for name in ("weixin", "github", "google")] == [
            404
        ] * 3


def test_a_social_login_does_not_open_anothers_account(wechat: Any, client: Client, alice: User) -> None:
    """An unverified address of another service does not give access to an account."""
    EmailAddress.objects.filter(user=alice).update(verified=False)
    wechat(client)
    assert SocialAccount.objects.get().user != alice
