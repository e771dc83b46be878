"""WeChat's two ways to log in: each in its browser, and both to one account."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user
from django.test import Client

from accounts.models import User
from accounts.wechat.views import WeChatAdapter
from chatproject import social_logins
from chatproject.environment import Environment
from tests.wechat import OFFICIAL, QR, FakeWeChat

pytestmark = pytest.mark.django_db

WECHAT = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/116 Mobile Safari/537.36 MicroMessenger/8.0.49"
WECOM = f"{WECHAT} wxwork/4.1.20"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
KEYS = {
    "WECHAT_APP_ID": QR,
    "WECHAT_APP_SECRET": "secret-of-qr",
    "WECHAT_OFFICIAL_APP_ID": OFFICIAL,
    "WECHAT_OFFICIAL_APP_SECRET": "secret-of-official",
}


@pytest.fixture
def wechat(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeChat]:
    """WeChat, for which both applications are configured."""
    with FakeWeChat.in_thread() as server:
        settings.SOCIALACCOUNT_PROVIDERS = social_logins.providers(Environment.model_validate(KEYS))
        monkeypatch.setattr(WeChatAdapter, "access_token_url", f"{server.origin}/sns/oauth2/access_token")
        monkeypatch.setattr(WeChatAdapter, "profile_url", f"{server.origin}/sns/userinfo")
        yield server
        assert server.wrong == []


@pytest.fixture
def come_by(wechat: FakeWeChat) -> Callable[..., Any]:
    """Return a function that logs in from a browser and returns its client."""

    def log_in(agent: str, client: Client | None = None, process: str = "") -> Any:
        client = client or Client()
        client.defaults["HTTP_USER_AGENT"] = agent
        there = client.post(f"/accounts/weixin/login/{process}")["Location"]
        code, state = wechat.authorize(there)
        client.last = client.get("/accounts/weixin/login/callback/", {"code": code, "state": state})  # type: ignore[attr-defined]
        return client

    return log_in


def uids() -> list[str]:
    return list(SocialAccount.objects.order_by("pk").values_list("uid", flat=True))


def test_each_browser_has_its_way(come_by: Callable[..., Any], wechat: FakeWeChat) -> None:
    """WeChat's own browser gets the official account's page, others the QR code; nicknames are read as UTF-8."""
    wechat.union_id = None
    assert get_user(come_by(WECHAT)).get_username() == "小明"
    come_by(FIREFOX)
    come_by(WECOM)
    assert uids() == [f"openid-of-{OFFICIAL}", f"openid-of-{QR}"]
    assert User.objects.count() == 2, "without a unionid they are two people"


@pytest.mark.parametrize("first", [WECHAT, FIREFOX])
def test_both_ways_lead_to_one_account(come_by: Callable[..., Any], first: str) -> None:
    """The same unionid is the same user, whichever way came first; the second time, too."""
    second = FIREFOX if first == WECHAT else WECHAT
    user = get_user(come_by(first))
    assert get_user(come_by(second)) == user
    assert get_user(come_by(second)) == user
    assert (User.objects.count(), SocialAccount.objects.filter(user=user).count()) == (1, 2)


def test_another_unionid_is_another_user(come_by: Callable[..., Any], wechat: FakeWeChat) -> None:
    """Users with other unionids, or with none, are not joined."""
    come_by(FIREFOX)
    wechat.union_id = "union-2"
    come_by(WECHAT)
    assert User.objects.count() == 2


def test_linking_follows_who_is_logged_in(come_by: Callable[..., Any], alice: User) -> None:
    """A user who links WeChat keeps the account, although the unionid is known from another one."""
    other = get_user(come_by(FIREFOX))
    client = Client()
    client.force_login(alice)
    come_by(WECHAT, client, "?process=connect")
    assert get_user(client) == alice
    assert SocialAccount.objects.get(uid=f"openid-of-{OFFICIAL}").user == alice
    assert other != alice


def test_a_disabled_user_stays_out(come_by: Callable[..., Any]) -> None:
    """A disabled user does not come in by the other way."""
    come_by(FIREFOX)
    User.objects.update(is_active=False)
    assert not get_user(come_by(WECHAT)).is_authenticated
    assert User.objects.count() == 1


@pytest.mark.parametrize("profile", [{"errcode": 40003, "errmsg": "invalid openid"}, {"openid": 5}, ["empty"]])
def test_a_reply_without_a_user(come_by: Callable[..., Any], wechat: FakeWeChat, profile: Any) -> None:
    """A reply that names no user is an error page, and no user is logged in."""
    wechat.profile = profile
    client = come_by(WECHAT)
    assert client.last.status_code == 401
    assert not get_user(client).is_authenticated
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("left_out", "agent", "is_offered"),
    [
        ("WECHAT_APP_ID", FIREFOX, False),
        ("WECHAT_APP_ID", WECOM, False),
        ("WECHAT_APP_ID", WECHAT, True),
        ("WECHAT_OFFICIAL_APP_ID", WECHAT, True),
        ("WECHAT_OFFICIAL_APP_ID", FIREFOX, True),
        ("", WECHAT, True),
    ],
)
def test_what_is_offered(settings: Any, client: Client, left_out: str, agent: str, is_offered: bool) -> None:
    """A browser that cannot use the official account is not offered it; the QR code is offered to all."""
    keys = {name: value for name, value in KEYS.items() if name != left_out}
    settings.SOCIALACCOUNT_PROVIDERS = social_logins.providers(Environment.model_validate(keys))
    client.defaults["HTTP_USER_AGENT"] = agent
    assert ("/accounts/weixin/login/" in client.get("/accounts/login/").content.decode()) == is_offered


def test_a_linked_account_is_shown_in_every_browser(settings: Any, come_by: Callable[..., Any]) -> None:
    """A user who came by the official account sees it, and can go on, where it is not offered."""
    keys = {name: value for name, value in KEYS.items() if "OFFICIAL" in name}
    settings.SOCIALACCOUNT_PROVIDERS = social_logins.providers(Environment.model_validate(keys))
    client = come_by(WECHAT)
    client.defaults["HTTP_USER_AGENT"] = FIREFOX
    page = client.get("/accounts/3rdparty/")
    assert page.status_code == 200
    assert "小明" in page.content.decode()
