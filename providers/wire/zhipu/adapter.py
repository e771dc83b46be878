"""Zhipu's BigModel platform (GLM models), v4: chat completions with own tokens and error codes.

Source: https://docs.bigmodel.cn/cn/api/introduction; the international host is https://api.z.ai/api/paas/v4. The codes
are in `errors`, the legacy v3 in `v3`.
"""

import hmac
import math
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import orjson

from providers.wire.base import IMAGES, JSON, ChatRequest, Endpoint, FirstRun
from providers.wire.base import gettext_noop as _
from providers.wire.errors import BadParameter, ProviderError, Retry, Row
from providers.wire.net.sse import SSEEvent
from providers.wire.openai.adapter import OpenAICompatible, thinking_switch
from providers.wire.openai.errors import BAD_KEY, Complaint
from providers.wire.zhipu.errors import EXPIRED, MODERATED, REPEATED, ZHIPU_CODES, with_reset
from providers.wire.zhipu.models import DEGREES_SINCE, MODELS, SWITCH_SINCE, version_of

BASE_URL = "https://open.bigmodel.cn/api/paas/v4"

# The same as in the vendor's own client. Servers that check only `alg` and `sign_type` ignore `typ`.
TOKEN_HEADER: Mapping[str, str] = {"alg": "HS256", "sign_type": "SIGN", "typ": "JWT"}
LIFETIME_S, RENEW_S = 210, 180
MAX_TEMPERATURE = 1.0
# Served by the legacy v3 only, see `zhipu.v3`.
V3_MODELS = frozenset({"chatglm_turbo", "chatglm_pro", "chatglm_std", "chatglm_lite"})

_USER_ID_CHARS = range(6, 129)
# The least values that the vendor accepts; the greatest is 1 for both.
_LEAST: Mapping[str, float] = {"temperature": 0.0, "top_p": 0.01}
# Marks a request that was already sent anew, so that this happens once.
_ANEW = "-anew"


class Zhipu(OpenAICompatible):
    """A provider for v4; with `raw_key` it sends the key itself, not a token."""

    title = _("Zhipu ChatGLM")
    example_base_url = BASE_URL
    key_form = "id.secret"
    options = frozenset({"raw_key"})
    codes: ClassVar[Mapping[str, Row]] = ZHIPU_CODES
    model_facts = MODELS
    takes = frozenset({"tools", "tool_choice", "response_format", "stop", "seed", "top_p", "reasoning_effort", IMAGES})
    withdrawn_reasons = frozenset({"sensitive"}) | MODERATED

    def __init__(self, endpoint: Endpoint, clock: Callable[[], float] = time.time) -> None:
        super().__init__(endpoint)
        self.clock = clock
        self.tokens = Tokens(clock)
        self._raw_key = endpoint.raw_key and "raw_key" in self.options

    @classmethod
    def check_key(cls, key: str) -> None:
        """Raise ProviderError for a key that does not have two parts."""
        split_key(key)

    @classmethod
    def takes_of(cls, model: str) -> frozenset[str]:
        """Return what a model accepts: versions before 4.5 have no switch for thinking."""
        version = version_of(model)
        return cls.takes - {"reasoning_effort"} if version and version < SWITCH_SINCE else cls.takes

    @classmethod
    def takes_temperature(cls, model: str, temperature: float) -> bool:
        """Return False for a temperature above the vendor's bound."""
        return temperature <= MAX_TEMPERATURE

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the upstream of ZHIPU_API_KEYS for the models that v4 serves, none without any."""
        keys, pairs = settings["ZHIPU_API_KEYS"], settings["ZHIPU_MODELS"]
        models = tuple(pair for pair in pairs if pair[1] not in V3_MODELS)
        if keys and models:
            yield FirstRun("zhipu", settings["ZHIPU_BASE_URL"], settings["ZHIPU_PROXY"] or "", keys, models)

    def headers(self, key: str | None) -> dict[str, str]:
        if key is not None:
            split_key(key)
            key = key if self._raw_key else self.tokens.of(key)
        return super().headers(key)

    def body(self, request: ChatRequest) -> dict[str, JSON]:
        """Return the JSON body, with numbers brought into the vendor's narrower ranges."""
        body = super().body(request)
        # Every attempt has its own id, because the upstream refuses an id that it has received before.
        body["request_id"] = attempt_id(request)
        if not (isinstance(user := body.get("user_id"), str) and len(user) in _USER_ID_CHARS):
            body.pop("user_id", None)
        for name in _LEAST.keys() & body.keys():
            body[name] = clamp(body[name], _LEAST[name], 1.0)
        _set_thinking(body, request)
        if isinstance(stop := body.get("stop"), str):
            body["stop"] = [stop]
        if body.get("tool_choice") == "none":
            # Only `auto` is accepted; without tools there is none to choose.
            del body["tool_choice"]
            body.pop("tools", None)
        given = body.get("tools")
        tools = given if isinstance(given, list) else []
        wanted = body.pop("web_search", None)
        if wanted and not any(isinstance(tool, dict) and tool.get("type") == "web_search" for tool in tools):
            body["tools"] = [*tools, web_search(wanted)]
        return body

    def failure(self, event: SSEEvent, chunk: dict[str, Any]) -> ProviderError | None:
        """Return the failure that an object reports, also by `success: false` of the platform."""
        return super().failure(event._replace(type="error") if chunk.get("success") is False else event, chunk)

    def classify(self, complaint: Complaint) -> ProviderError:
        return super().classify(with_reset(complaint, self.clock()))

    def refusal(self, request: ChatRequest, complaint: Complaint) -> ProviderError | Retry:
        """Return the failure, or a better request: a new token or id, fewer parameters."""
        if complaint.param == "max_tokens":
            # Its value is refused, never its name, which could be replaced.
            complaint = replace(complaint, param="")
        elif complaint.param == "thinking" and "reasoning_effort" in request.extras:
            complaint = replace(complaint, param="reasoning_effort")
        refused = super().refusal(request, with_reset(complaint, self.clock()))
        if complaint.code == EXPIRED:
            self.tokens.forget()
        if isinstance(refused, Retry) or complaint.code not in (EXPIRED, REPEATED):
            return refused
        if request.generation.endswith(_ANEW):
            return refused
        return Retry(replace(request, generation=request.generation + _ANEW), {}, otherwise=refused)


class Tokens:
    """The JSON Web Tokens of keys, each minted when needed and renewed before it expires."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minted: dict[str, tuple[float, str]] = {}

    def of(self, key: str) -> str:
        """Return a token for `key` that is good for another half minute at least."""
        now = self._clock()
        minted_at, token = self._minted.get(key, (-math.inf, ""))
        # When the clock was set back, an old token would look new for too long.
        if not 0 <= now - minted_at < RENEW_S:
            token = mint(key, now)
            alive = {other: kept for other, kept in self._minted.items() if now - kept[0] < LIFETIME_S}
            self._minted = {**alive, key: (now, token)}
        return token

    def forget(self) -> None:
        """Mint all tokens anew."""
        self._minted.clear()


def mint(key: str, now: float) -> str:
    """Return a token signed with HS256, its times in milliseconds, unlike ordinary ones."""
    name, secret = split_key(key)
    milliseconds = round(now * 1000)
    claims = {"api_key": name, "exp": milliseconds + LIFETIME_S * 1000, "timestamp": milliseconds}
    signed = _base64(orjson.dumps(TOKEN_HEADER)) + b"." + _base64(orjson.dumps(claims))
    return (signed + b"." + _base64(hmac.digest(secret.encode(), signed, "sha256"))).decode()


def split_key(key: str) -> tuple[str, str]:
    """Return the two halves of `<id>.<secret>`; raise `UpstreamFailed` for anything else."""
    name, _, secret = key.partition(".")
    if not (name and secret) or "." in secret or not (key.isascii() and key.isprintable()):
        raise BAD_KEY.error(vendor_code="malformed_key")
    return name, secret


def _set_thinking(body: dict[str, JSON], request: ChatRequest) -> None:
    """Put the caller's `reasoning_effort` into the model's form; raise for a model without."""
    effort, version = request.extras.get("reasoning_effort"), version_of(request.model)
    if effort is None or version is None:
        return
    if version < SWITCH_SINCE:
        raise BadParameter("The model does not think.", "user", param="reasoning_effort")
    # The caller's wish replaces that of the configuration.
    body.pop("thinking", None)
    if version < DEGREES_SINCE:
        del body["reasoning_effort"]
        body["thinking"] = thinking_switch(effort)


def web_search(wanted: JSON) -> dict[str, JSON]:
    """Return the web search tool; `wanted` may be a mapping with the vendor's further options.

    The vendor reports the pages only with `search_result`.
    """
    options: dict[str, JSON] = {"enable": True, "search_engine": "search_std", "search_result": True}
    options |= wanted if isinstance(wanted, dict) else {}
    return {"type": "web_search", "web_search": options}


def attempt_id(request: ChatRequest) -> str:
    """Return a request id that no other attempt has."""
    return f"{request.generation.removesuffix(_ANEW)}-{secrets.token_hex(4)}"


def clamp(value: JSON, least: float, most: float) -> JSON:
    """Bring a number into the vendor's range; leave anything else for the vendor to refuse."""
    return min(max(value, least), most) if isinstance(value, (int, float)) else value


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
