"""A fake Zhipu beside the fake OpenAI: v4 and the legacy v3 under one origin, both with tokens that are really checked.

The model's name chooses the scenario, `upstream.keys["<id of a key>"] = scenario` overrides it for a key. A token, a
field or an order of roles that the vendor would refuse is refused here. Nothing of the product is imported here.
"""

import base64
import hashlib
import hmac
import json
import re
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from tests.loopback import Exchange, FakeServer
from tests.model_lists import run_list
from tests.zhipu_scenarios import V3Exchange, V4Exchange

KEY_ID, SECRET = "fakeid0123456789abcdef0123456789", "fakesecretABCDEF"
KEY = f"{KEY_ID}.{SECRET}"
# Clocks may differ by this much, and tokens may live this long.
TOLERANCE_MS, MAX_LIFETIME_MS = 60_000, 86_400_000

_V3 = re.compile(r"/api/paas/v3/model-api/([^/]+)/sse-invoke")


class FakeZhipu(FakeServer):
    """Zhipu's platform. `secrets` are the keys that it knows, by id; `clock` is what it judges tokens by."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls=tls)
        self.secrets = {KEY_ID: SECRET}
        self.keys: dict[str, str] = {}
        self.clock: Callable[[], float] = time.time
        self._request_ids: set[str] = set()

    @property
    def base_url(self) -> str:
        return f"{self.origin}/api/paas/v4"

    @property
    def v3_url(self) -> str:
        return f"{self.origin}/api/paas/v3"

    def key(self, scenario: str) -> str:
        """Return a new key that always gets this scenario."""
        user = f"planted{len(self.secrets):025}"
        self.secrets[user], self.keys[user] = f"secret-of-{user}", scenario
        return f"{user}.{self.secrets[user]}"

    def exchange(self, *args: Any) -> Exchange:
        request = args[0]
        return V3Exchange(*args) if _V3.fullmatch(request.path) else V4Exchange(*args)

    async def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        legacy = _V3.fullmatch(request.path)
        if request.method == "GET" and request.path == "/api/paas/v4/models":
            await self._list_models(exchange)
            return
        if request.method != "POST" or not (legacy or request.path == "/api/paas/v4/chat/completions"):
            await exchange.respond(404, b"<html>nothing here</html>", "text/html")
            return
        assert isinstance(exchange, V3Exchange | V4Exchange)
        user, code = self.authenticated(request.headers.get("authorization"), legacy=bool(legacy))
        request.user = user
        code = code or self.complaint(request.body, legacy=bool(legacy))
        if code:
            await exchange.refuse_code(code)
            return
        model = unquote(legacy[1]) if legacy else request.body["model"]
        request.scenario = self.keys.get(user, model)
        exchange.calls = sum(other.scenario == request.scenario for other in self.requests)
        await exchange.run(request.scenario)

    async def _list_models(self, exchange: Exchange) -> None:
        assert isinstance(exchange, V4Exchange)
        user, code = self.authenticated(exchange.request.headers.get("authorization"), legacy=False)
        if code:
            await exchange.refuse_code(code)
        else:
            await run_list(exchange, self.keys.get(user, ""))

    def authenticated(self, header: str | None, *, legacy: bool) -> tuple[str, str]:
        """Return the key's id and the code of the refusal, empty if there is none."""
        if header is None:
            return "", "1001"
        bearer = header.startswith("Bearer ")
        credential = header.removeprefix("Bearer ")
        if bearer == legacy:
            return "", "1002"
        if not legacy and credential.count(".") == 1:
            user, _, secret = credential.partition(".")
            return user, "" if self.secrets.get(user) == secret else "1000"
        try:
            return self._token(credential)
        except (ValueError, KeyError, TypeError):
            return "", "1002"

    def _token(self, token: str) -> tuple[str, str]:
        first, second, signature = token.split(".")
        header, claims = json.loads(_decoded(first)), json.loads(_decoded(second))
        if {**header, "typ": header.get("typ", "JWT")} != {"alg": "HS256", "sign_type": "SIGN", "typ": "JWT"}:
            return "", "1002"
        if claims.keys() != {"api_key", "exp", "timestamp"} or claims["api_key"] not in self.secrets:
            return "", "1000"
        user = claims["api_key"]
        expected = hmac.new(self.secrets[user].encode(), f"{first}.{second}".encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(_decoded(signature), expected):
            return user, "1004"
        made, end, now = claims["timestamp"], claims["exp"], self.clock() * 1000
        if not (isinstance(made, int) and isinstance(end, int)) or not 0 < end - made <= MAX_LIFETIME_MS:
            return user, "1002"
        return user, "" if made - TOLERANCE_MS <= now < end else "1003"

    def complaint(self, body: dict[str, Any], *, legacy: bool) -> str:
        """Return the code for a request that the vendor would refuse, empty if there is none."""
        request_id = body.get("request_id")
        if request_id in self._request_ids:
            return "1231"
        self._request_ids.add(str(request_id))
        if legacy:
            roles = [turn["role"] for turn in body["prompt"]]
            expected = ["user", "assistant"] * len(roles)
            good = len(roles) % 2 == 1 and roles == expected[: len(roles)] and 0 < body.get("temperature", 0.5) < 1
        else:
            good = any(turn["role"] == "user" for turn in body["messages"])
            good = good and 0 <= body.get("temperature", 0.5) <= 1 and 6 <= len(body.get("user_id", "123456")) <= 128
        return "" if good else "1214"


def _decoded(part: str) -> bytes:
    if "=" in part:
        raise ValueError("padded")
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
