"""WeChat's provider for allauth, which looks for it in a module of this name."""

from allauth.socialaccount.providers.weixin.provider import WeixinProvider

from accounts.wechat.views import WeChatAdapter


class WeChatProvider(WeixinProvider):  # type: ignore[misc]
    """allauth's provider with the official account beside the QR code."""

    oauth2_adapter_class = WeChatAdapter


provider_classes = [WeChatProvider]
