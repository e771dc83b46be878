"""The services by which users log in, in the form that allauth expects."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from chatproject.environment import Environment

_HOSTS = {
    "weixin": "https://open.weixin.qq.com",
    "github": "https://github.com",
    "google": "https://accounts.google.com",
}


def providers(env: Environment) -> dict[str, dict[str, Any]]:
    """Return the services with keys, by allauth's names."""
    found = {
        "weixin": [
            *_app(env.WECHAT_APP_ID, env.WECHAT_APP_SECRET),
            *_app(
                env.WECHAT_OFFICIAL_APP_ID,
                env.WECHAT_OFFICIAL_APP_SECRET,
                is_official_account=True,
                scope=["snsapi_userinfo"],
            ),
        ],
        "github": _app(env.GITHUB_CLIENT_ID, env.GITHUB_CLIENT_SECRET),
        "google": _app(env.GOOGLE_CLIENT_ID, env.GOOGLE_CLIENT_SECRET),
    }
    services: dict[str, dict[str, Any]] = {name: {"APPS": apps} for name, apps in found.items() if apps}
    if env.OIDC_ISSUER:
        services["openid_connect"] = {"OAUTH_PKCE_ENABLED": True, "APPS": [_openid(env, env.OIDC_ISSUER)]}
    return services


def hosts(env: Environment) -> list[str]:
    """Return where the login pages of these services are."""
    found = [_HOSTS[name] for name in providers(env) if name in _HOSTS]
    # The login page of an OpenID provider is on the issuer's own host.
    return [*found, *(["{0.scheme}://{0.netloc}".format(urlsplit(env.OIDC_ISSUER))] if env.OIDC_ISSUER else [])]


def _app(client_id: str | None, secret: SecretStr | None, **settings: Any) -> list[dict[str, Any]]:
    if not (client_id and secret):
        return []
    return [{"client_id": client_id, "secret": secret.get_secret_value(), "settings": settings}]


def _openid(env: Environment, issuer: str) -> dict[str, Any]:
    return {
        "provider_id": "oidc",
        "name": env.OIDC_NAME,
        "client_id": env.OIDC_CLIENT_ID,
        "secret": env.OIDC_CLIENT_SECRET.get_secret_value() if env.OIDC_CLIENT_SECRET else "",
        "settings": {"server_url": issuer.rstrip("/")},
    }
