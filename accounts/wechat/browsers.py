"""Which of the two applications a browser can use."""

from allauth.socialaccount.models import SocialApp
from django.http import HttpRequest

PROVIDER_ID = "weixin"
# The name of the setting that marks the official account's application.
OFFICIAL = "is_official_account"


def is_official(app: SocialApp) -> bool:
    return bool((app.settings or {}).get(OFFICIAL))


def fitting(apps: list[SocialApp], request: HttpRequest | None, *, offered: bool) -> list[SocialApp]:
    """Return the apps without the one of WeChat that does not fit this browser.

    The official account works in WeChat's own browser only, so it is not `offered` elsewhere. Where it is the only
    application it stays in use for accounts that came by it.
    """
    own = [app for app in apps if app.provider == PROVIDER_ID]
    wanted = [app for app in own if is_official(app) == is_inside(request)]
    if not wanted:
        wanted = [app for app in own if not (offered and is_official(app))]
    return [app for app in apps if app not in own or app in wanted]


def is_inside(request: HttpRequest | None) -> bool:
    """Return whether the browser is WeChat's; that of WeCom names it too, but is another."""
    agent = request.headers.get("User-Agent", "") if request else ""
    return "MicroMessenger" in agent and "wxwork" not in agent
