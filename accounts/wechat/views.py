"""The two ways to log in by WeChat, and what it replies.

QR code: https://developers.weixin.qq.com/doc/oplatform/Website_App/WeChat_Login/Wechat_Login.html
Official account: https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
"""

import json
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.weixin.client import WeixinOAuth2Client
from allauth.socialaccount.providers.weixin.views import WeixinOAuth2Adapter
from django.http import HttpRequest

from accounts.wechat.browsers import is_official

# WeChat's browser asks the user there; the address is compared as a text, its end included.
OFFICIAL_URL, OFFICIAL_END = "https://open.weixin.qq.com/connect/oauth2/authorize", "#wechat_redirect"


class WeChatClient(WeixinOAuth2Client):  # type: ignore[misc]
    def get_redirect_url(self, authorization_url: str, scope: list[str], extra_params: dict[str, str]) -> str:
        url: str = super().get_redirect_url(authorization_url, scope, extra_params)
        return url + OFFICIAL_END if authorization_url == OFFICIAL_URL else url


class WeChatAdapter(WeixinOAuth2Adapter):  # type: ignore[misc]
    client_class = WeChatClient

    @property
    def authorize_url(self) -> str:
        return OFFICIAL_URL if is_official(self.get_provider().app) else str(super().authorize_url)

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        """Ask WeChat who logs in; raise OAuth2Error for a reply that names no user."""
        asked = {"access_token": token.token, "openid": kwargs.get("response", {}).get("openid"), "lang": "zh_CN"}
        with get_adapter().get_requests_session() as session:
            response = session.get(self.profile_url, params=asked)
            response.raise_for_status()
        try:
            # Always UTF-8, although WeChat says `text/plain`.
            profile = json.loads(response.content)
        except ValueError as error:
            raise OAuth2Error("WeChat's reply is no JSON") from error
        if not isinstance(profile, dict) or not isinstance(profile.get("openid"), str):
            raise OAuth2Error("WeChat's reply names no user")
        return self.get_provider().sociallogin_from_response(request, profile)


oauth2_login = OAuth2LoginView.adapter_view(WeChatAdapter)
oauth2_callback = OAuth2CallbackView.adapter_view(WeChatAdapter)
