"""Webhooks for messages to operators: JSON, and the robots of WeCom, DingTalk and Slack.

WeCom: https://developer.work.weixin.qq.com/document/path/91770
DingTalk: https://open.dingtalk.com/document/orgapp/custom-robots-send-group-messages
Slack: https://api.slack.com/messaging/webhooks
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args
from urllib.parse import quote_plus, urlsplit

import orjson

from providers.wire.base import Clocks, Endpoint
from providers.wire.net.deadline import Deadline
from providers.wire.net.exchange import Exchange, send
from providers.wire.net.transport import Transport

Kind = Literal["json", "wecom", "dingtalk", "slack"]
KINDS: tuple[str, ...] = get_args(Kind)
# Hosts whose kind need not be named.
_HOSTS: Mapping[str, Kind] = {
    "qyapi.weixin.qq.com": "wecom",
    "oapi.dingtalk.com": "dingtalk",
    "api.dingtalk.com": "dingtalk",
    "hooks.slack.com": "slack",
}
# Seconds for a whole call.
SECONDS = 10.0
# Bytes of a text that WeCom takes; the others take more.
_MOST_TEXT_BYTES = 2_000
_MOST_REPLY_BYTES = 64 * 1024
_EXPECTED = "not a list of http:// or https:// URLs, which may begin with json=, wecom=, dingtalk= or slack="


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address to which messages are posted.

    It is a secret, because each program that has it can post.
    """

    kind: Kind
    url: str = field(repr=False)
    # Signs messages for DingTalk.
    secret: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """The host, which is no secret."""
        return urlsplit(self.url).hostname or ""


def parsed(text: str) -> Webhook:
    """Read `kind=https://…#secret`, whose kind and secret may be left out; raise ValueError."""
    prefix, _equals, rest = text.partition("=")
    kind, url = (prefix, rest) if prefix in KINDS else ("", text)
    url, _hash, secret = url.partition("#")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(_EXPECTED)
    kind = kind or _HOSTS.get(parts.hostname or "", "json")
    if secret and kind != "dingtalk":
        raise ValueError("only a DingTalk URL has a secret after #")
    return Webhook(cast("Kind", kind), url, secret)


async def post(webhook: Webhook, text: str, data: Mapping[str, Any]) -> str:
    """Post a message; return why it was refused, empty when it was taken. Raises ProviderError."""
    clocks = Clocks(connect=SECONDS, first=SECONDS, idle=SECONDS, total=SECONDS)
    transport, deadline = Transport(Endpoint(webhook.url, clocks=clocks)), Deadline(clocks)
    exchange: Exchange | None = None
    headers = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
    try:
        body = orjson.dumps(_body(webhook.kind, text, data))
        exchange = await send(transport, "POST", _address(webhook, time.time()), headers, deadline, body)
        reply = await exchange.read_up_to(_MOST_REPLY_BYTES)
        return _refusal(webhook.kind, exchange.status, reply)
    finally:
        deadline.close()
        if exchange is not None:
            await exchange.close()
        await transport.aclose()


def _address(webhook: Webhook, now: float) -> str:
    """Return the address, with a signature where the robot asks for one."""
    if not webhook.secret:
        return webhook.url
    timestamp = str(round(now * 1000))
    signed = hmac.digest(webhook.secret.encode(), f"{timestamp}\n{webhook.secret}".encode(), hashlib.sha256)
    joint = "&" if urlsplit(webhook.url).query else "?"
    return f"{webhook.url}{joint}timestamp={timestamp}&sign={quote_plus(base64.b64encode(signed))}"


def _body(kind: Kind, text: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    text = text.encode()[:_MOST_TEXT_BYTES].decode(errors="ignore")
    match kind:
        case "slack":
            return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
        case "wecom" | "dingtalk":
            return {"msgtype": "text", "text": {"content": text}}
    return data


def _refusal(kind: Kind, status: int, reply: bytes) -> str:
    if not 200 <= status < 300:
        return f"status {status}"
    if kind not in {"wecom", "dingtalk"}:
        return ""
    # These refuse with status 200 and a code.
    try:
        code = orjson.loads(reply).get("errcode")
    except (orjson.JSONDecodeError, AttributeError):
        return "no errcode"
    return "" if code == 0 else f"errcode {code}"[:60]
