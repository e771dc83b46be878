"""iFlytek Spark over WebSocket: one signed connection for one completion.

Signature: https://www.xfyun.cn/doc/spark/general_url_authentication.html. A key is `app_id:api_key:api_secret`, the
upstream's name of a model its `domain`. Frames and error tables have modules of their own; the same models over HTTP
are in `http`.
"""

import base64
import hashlib
import hmac
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from providers.wire.base import ChatRequest, Endpoint, Event, FirstRun, OfferedModel, Provider
from providers.wire.base import gettext_noop as _
from providers.wire.errors import BadParameter, PromptTooLong, ProviderError, Retry, UpstreamFailed
from providers.wire.net.deadline import Deadline
from providers.wire.net.exchange import not_connected
from providers.wire.net.websocket import HandshakeRefusedError, WebSocket, WebSocketClient
from providers.wire.openai.errors import BAD_KEY, TOO_LONG, Complaint, resend
from providers.wire.spark.errors import refused
from providers.wire.spark.frames import Decoder, request_frame

DEFAULT_HOST = "wss://spark-api.xf-yun.com"

# Seconds to go on reading after the completion, because the moderation's verdict may follow.
LAST_WORD_S = 2.0

_APP_ID_CHARS = 8
_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Version:
    """The limits of a domain; `legacy`: undocumented or unconfirmed, not for offering unasked."""

    title: str
    path: str
    context_tokens: int
    max_tokens: tuple[int, int] = (1, 8_192)
    default_max_tokens: int = 4_096
    max_temperature: float = 1.0
    system: bool = False
    legacy: bool = False


# Facts for the rows that the first run creates. Vendors change limits, so later the rows decide. Unconfirmed versions
# get the system message folded into the prompt, because that is safe for all. The host of the science model is
# spark-openapi-n.cn-huabei-1.xf-yun.com.
VERSIONS: Mapping[str, Version] = {
    "lite": Version("Spark Lite", "/v1.1/chat", 8_192, (1, 4_096)),
    "general": Version("Spark Lite", "/v1.1/chat", 8_192, (1, 4_096), legacy=True),
    "generalv2": Version("Spark V2.0", "/v2.1/chat", 8_192, default_max_tokens=2_048, legacy=True),
    "generalv3": Version("Spark Pro", "/v3.1/chat", 8_192),
    "pro-128k": Version("Spark Pro-128K", "/chat/pro-128k", 131_072, (1, 4_096)),
    "generalv3.5": Version("Spark Max", "/v3.5/chat", 8_192, system=True),
    "max-32k": Version("Spark Max-32K", "/chat/max-32k", 32_768),
    "4.0Ultra": Version("Spark 4.0 Ultra", "/v4.0/chat", 8_192, system=True),
    "spark-x": Version("Spark X1.5", "/v1/x1", 65_536, (1, 32_768), max_temperature=2.0),
    "x1": Version("Spark X1", "/v1/x1", 65_536, (1, 32_768), max_temperature=2.0, legacy=True),
    "kjwx": Version("Spark Science", "/v1.1/chat_kjwx", 8_192, legacy=True),
}
KNOWN_MODELS = tuple(
    OfferedModel(name, version.context_tokens, version.title, version.legacy)
    for name, version in sorted(VERSIONS.items(), key=lambda item: item[1].legacy)
)
# A domain that is not listed is sent all the same, because the vendor may have added it.
_UNKNOWN = Version("", "", 8_192, max_temperature=2.0)


class Credentials(NamedTuple):
    """The three parts of a key."""

    app_id: str
    api_key: str
    api_secret: str

    def __repr__(self) -> str:
        return "Credentials(...)"


class Spark(Provider):
    """A provider for one address; without a path in it, the domain chooses that."""

    title = _("iFlytek Spark (WebSocket)")
    example_base_url = DEFAULT_HOST
    schemes = ("wss", "ws", "https", "http")
    needs_encryption = True  # because the address carries a signature
    path_per_model = True
    key_form = "app_id:api_key:api_secret"
    options = frozenset({"sign_host"})
    known_models = KNOWN_MODELS
    slug_prefix = "spark"

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._client = WebSocketClient(endpoint)

    @classmethod
    def check_key(cls, key: str) -> None:
        """Raise ProviderError for a key that does not have three parts."""
        credentials(key)

    @classmethod
    def takes_temperature(cls, model: str, temperature: float) -> bool:
        """Return False for a temperature that the domain refuses."""
        return 0 < temperature <= VERSIONS.get(model, _UNKNOWN).max_temperature

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the upstream of SPARK_APP_ID, SPARK_API_KEY and SPARK_API_SECRET, none without all three."""
        parts = [settings[name] for name in ("SPARK_APP_ID", "SPARK_API_KEY", "SPARK_API_SECRET")]
        if all(parts):
            models = (("spark", settings["SPARK_DOMAIN"]),)
            yield FirstRun("spark", settings["SPARK_URL"], settings["SPARK_PROXY"] or "", (":".join(parts),), models)

    async def stream(self, request: ChatRequest, key: str | None) -> AsyncIterator[Event]:
        deadline, decoder = Deadline(self.clocks(request)), Decoder()
        socket: WebSocket | None = None
        try:
            socket = await self._ask(request, credentials(key), deadline)
            while not decoder.ended and (frame := await _next_frame(socket, decoder)) is not None:
                deadline.payload()
                for event in decoder.feed(frame):
                    yield event
                if decoder.complete:
                    deadline.shorten(LAST_WORD_S)
            last = decoder.flush()
            socket.close()
            for event in last:
                yield event
        except ProviderError as error:
            if not error.vendor_request_id:
                error.vendor_request_id = decoder.sid
            better = resend(request, Complaint(200), TOO_LONG) if isinstance(error, PromptTooLong) else None
            if better is not None and not decoder.started:
                raise Retry(*better, otherwise=error) from error
            raise
        finally:
            deadline.close()
            if socket is not None:
                socket.close()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, request: ChatRequest, credentials: Credentials, deadline: Deadline) -> WebSocket:
        version = VERSIONS.get(request.model, _UNKNOWN)
        _check_temperature(request, version)
        request = _capped(request, version)
        frame = request_frame(request, credentials.app_id, fresh_uid(request.generation), system=version.system)
        try:
            # Sign just before use, because the address is a credential that is valid for only five minutes.
            base_url, sign_host = self.endpoint.base_url.strip() or DEFAULT_HOST, self.endpoint.sign_host
            query = self.endpoint.query
            url = signed_url(base_url, version.path, credentials, time.time(), sign_host=sign_host, query=query)
            socket = await self._client.open(url, deadline)
        except HandshakeRefusedError as refusal:
            raise refused(refusal.status, refusal.headers, refusal.body) from None
        try:
            socket.send(frame)
        except BaseException:
            socket.close()
            raise
        return socket


def credentials(key: str | None) -> Credentials:
    """Return the parts of a key; raise when it cannot be one."""
    parts = (key or "").split(":", 2)
    well_formed = len(parts) == 3 and all(part.isascii() and part.isprintable() and part for part in parts)
    if not well_formed or len(parts[0]) > _APP_ID_CHARS:
        raise BAD_KEY.error(vendor_code="malformed_key")
    return Credentials(*parts)


def signed_url(
    base_url: str,
    path: str,
    key: Credentials,
    now: float,
    *,
    sign_host: str | None = None,
    query: Iterable[tuple[str, str]] = (),
) -> str:
    """Return the address to connect to, `http` for `ws` and `https` for `wss`.

    The vendor takes it for 300 s around `now`. `path` is for a `base_url` without one. The signature does not cover
    `query`, whose parameters win over those with the signature. Do not cache or log the result.
    """
    try:
        parts = urlsplit(base_url)
        scheme, host, port = _SCHEMES.get(parts.scheme.lower()), parts.hostname, parts.port
    except ValueError:
        scheme = host = port = None
    path = parts.path.rstrip("/") or path if scheme else ""
    if not (scheme and host and path.isascii() and path.startswith("/")):
        raise not_connected("bad_address")
    host = f"[{host}]" if ":" in host else host
    netloc = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    signed_host = sign_host or netloc
    date = formatdate(now, usegmt=True)
    signed = {"authorization": authorization(signed_host, path, date, key), "date": date, "host": signed_host}
    extra = list(query)
    kept = [pair for pair in signed.items() if pair[0] not in dict(extra)]
    return f"{scheme}://{netloc}{path}?{urlencode([*kept, *extra])}"


def authorization(host: str, path: str, date: str, key: Credentials) -> str:
    """Return the parameter that proves the key; the secret is not base64."""
    origin = f"host: {host}\ndate: {date}\nGET {path} HTTP/1.1"
    digest = hmac.digest(key.api_secret.encode(), origin.encode(), "sha256")
    signature = base64.b64encode(digest).decode()
    plain = (
        f'api_key="{key.api_key}", algorithm="hmac-sha256", headers="host date request-line", signature="{signature}"'
    )
    return base64.b64encode(plain.encode()).decode()


def fresh_uid(generation: str) -> str:
    """Return a new user id of 32 hexadecimal characters, so that attempts never share one."""
    return hashlib.blake2b(generation.encode(), digest_size=16, salt=os.urandom(16)).hexdigest()


def _check_temperature(request: ChatRequest, version: Version) -> None:
    temperature = request.parameters.get("temperature")
    if temperature is None:
        return
    if not isinstance(temperature, int | float) or not 0 < temperature <= version.max_temperature:
        message = f"The model's temperature must be above 0 and at most {version.max_temperature:g}."
        if "temperature" in request.given:
            raise BadParameter(message, "user", vendor_code="bad_temperature", param="temperature")
        # No key of this upstream accepts it, but another route may.
        raise UpstreamFailed(message, action="wait", scope="all", vendor_code="bad_temperature", blame="request")


def _capped(request: ChatRequest, version: Version) -> ChatRequest:
    """Lower `max_tokens` to the domain's limit, because it refuses requests beyond it."""
    cap = request.parameters.get("max_tokens")
    if not version.path or not isinstance(cap, int) or cap <= version.max_tokens[1]:
        return request
    return replace(request, parameters={**request.parameters, "max_tokens": version.max_tokens[1]})


async def _next_frame(socket: WebSocket, decoder: Decoder) -> bytes | None:
    try:
        return await socket.receive()
    except ProviderError:
        # After the last text only the moderation's verdict can be missing; the completion is complete without it.
        if not decoder.enough:
            raise
        return None
