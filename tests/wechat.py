"""WeChat on a loopback socket: codes, access tokens and profiles of both applications.

It checks what clients send, notes what is wrong, and replies as WeChat does: status 200 and `text/plain` in any case.
"""

import json
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.loopback import Exchange, FakeServer

# The applications, with their secrets and the scope that each asks for.
QR, OFFICIAL = "wx-qr", "wx-official"
_SECRETS = {QR: "secret-of-qr", OFFICIAL: "secret-of-official"}
_SCOPES = {QR: "snsapi_login", OFFICIAL: "snsapi_userinfo"}
_PAGES = {QR: "/connect/qrconnect", OFFICIAL: "/connect/oauth2/authorize"}


class FakeWeChat(FakeServer):
    """`union_id` is that of its user, whose `openid` differs from application to application."""

    union_id: str | None = "union-1"
    nickname = "小明"
    # What it replies instead of a profile.
    profile: Any = None

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.wrong: list[str] = []
        self._codes: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    def authorize(self, address: str) -> tuple[str, str]:
        """Return code and state for a browser that was sent to this address of WeChat."""
        parts = urlsplit(address)
        query = dict(parse_qsl(parts.query))
        app = query.get("appid", "")
        self._check(parts.hostname == "open.weixin.qq.com" and parts.path == _PAGES.get(app), f"page {address}")
        self._check(query.get("scope") == _SCOPES.get(app), "scope")
        self._check(query.get("response_type") == "code", "response_type")
        self._check(app != OFFICIAL or parts.fragment == "wechat_redirect", "fragment")
        code = secrets.token_urlsafe()
        self._codes[code] = app
        return code, query["state"]

    async def handle(self, exchange: Exchange) -> None:
        parts = urlsplit(exchange.request.path)
        given = {**dict(parse_qsl(parts.query)), **exchange.request.body}
        reply = self._token(given) if parts.path == "/sns/oauth2/access_token" else self._profile(parts.path, given)
        await exchange.respond(200, json.dumps(reply, ensure_ascii=False).encode(), "text/plain")

    def _token(self, query: dict[str, str]) -> Any:
        app = self._codes.pop(query.get("code", ""), "")
        if not app or query.get("appid") != app or query.get("secret") != _SECRETS[app]:
            self.wrong.append("token")
            return {"errcode": 40029, "errmsg": "invalid code"}
        token = secrets.token_urlsafe()
        self._tokens[token] = app
        return {"access_token": token, "expires_in": 7200, "openid": f"openid-of-{app}", "scope": _SCOPES[app]}

    def _profile(self, path: str, query: dict[str, str]) -> Any:
        app = self._tokens.get(query.get("access_token", ""), "")
        self._check(path == "/sns/userinfo" and query.get("openid") == f"openid-of-{app}", f"profile {path}")
        if self.profile is not None:
            return self.profile
        union = {} if self.union_id is None else {"unionid": self.union_id}
        return {"openid": f"openid-of-{app}", "nickname": self.nickname, "privilege": [], **union}

    def _check(self, is_right: bool, what: str) -> None:
        if not is_right:
            self.wrong.append(what)
