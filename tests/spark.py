"""A fake Spark on loopback: a real WebSocket server that checks signature, date and frame as the vendor does.

The text after the domain's slash chooses the scenario (`generalv3.5/slow`), as does a domain that is none (`slow`);
`upstream.keys[api_key] = scenario` overrides both and, before there is any frame, is the only way: `upstream.key(...)`
makes such a key. The scenarios are in `tests.spark_scenarios`. Nothing of the product is imported here.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import hmac
import json
import logging
import re
import ssl
import time
from collections.abc import Callable
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from tests.loopback import FakeServer, Recorded
from tests.spark_scenarios import SCENARIOS, SparkExchange, run_scenario

APP_ID, API_KEY, API_SECRET = "abcd1234", "0123456789abcdef0123456789abcdef", "ZmFrZS1zZWNyZXQtZm9yLXRlc3Rz"
KEY = f"{APP_ID}:{API_KEY}:{API_SECRET}"
DATE_WINDOW_S = 300

PATHS = {
    "lite": "/v1.1/chat",
    "general": "/v1.1/chat",
    "generalv2": "/v2.1/chat",
    "generalv3": "/v3.1/chat",
    "pro-128k": "/chat/pro-128k",
    "generalv3.5": "/v3.5/chat",
    "max-32k": "/chat/max-32k",
    "4.0Ultra": "/v4.0/chat",
    "spark-x": "/v1/x1",
    "x1": "/v1/x1",
}
WITH_SYSTEM = {"generalv3.5", "4.0Ultra"}
MAX_TOKENS = {"lite": 4096, "general": 4096, "pro-128k": 4096, "spark-x": 32768, "x1": 32768}

NO_SIGNATURE = "Unauthorized"
UNKNOWN_KEY = "HMAC signature cannot be verified: apikey not found"
BAD_SIGNATURE = "HMAC signature does not match"
BAD_DATE = "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication"

_log = logging.getLogger("tests.spark")
_log.addHandler(logging.NullHandler())
_log.propagate = False


class FakeSpark(FakeServer):
    """Spark's gateway. `apps` are the keys that it knows, with app id and secret; `clock` is what it judges dates by.

    In the records `body` is the frame and `query` the address's parameters; `refused` is the status of a handshake that
    was refused, `goodbye_at` when the client's close frame came.
    """

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls=tls)
        self.apps = {API_KEY: (APP_ID, API_SECRET)}
        self.keys: dict[str, str] = {}
        self.clock: Callable[[], float] = time.time
        self.hosts: set[str] = set()
        self.uids: set[str] = set()
        self.open: set[Connection] = set()

    @property
    def origin(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1.1/chat"

    def url(self, domain: str) -> str:
        """Return the address for a domain."""
        return self.origin + PATHS[domain]

    def key(self, scenario: str) -> str:
        """Return a new key that always gets this scenario, at the handshake already."""
        api_key = f"{len(self.apps):032x}"
        self.apps[api_key] = ("appid", f"secret-of-{api_key}")
        self.keys[api_key] = scenario
        return f"appid:{api_key}:secret-of-{api_key}"

    async def start(self) -> None:
        self._websockets: Server = await serve(
            self._answer,
            "127.0.0.1",
            self.port,
            ssl=self._tls,
            create_connection=functools.partial(Connection, self),
            process_request=self._greet,
            process_response=self._welcome,
            open_timeout=None,
            ping_interval=None,
            close_timeout=1,
            compression=None,
            logger=_log,
            backlog=4096,
        )
        self.port = self._websockets.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._websockets.close(close_connections=False)
        for connection in tuple(self.open):
            connection.transport.abort()
        await self._websockets.wait_closed()

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        """Judge a handshake as the vendor's gateway does."""
        assert isinstance(connection, Connection)
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        recorded = SparkRecorded("GET", parts.path, headers, {}, time.monotonic(), query=query)
        self.requests.append(recorded)
        connection.request_record = recorded
        status, message = self._judged(recorded)
        recorded.scenario = self.keys.get(recorded.key or "", "")
        if status:
            recorded.refused = status
            return _refusal(status, message)
        match recorded.scenario.split(":"):
            case ["http", code, *words]:
                recorded.refused = int(code)
                return _refusal(int(code), ":".join(words))
            case ["html_200"]:
                recorded.refused = 200
                page = b"<html>please log in sk-leak</html>"
                return Response(200, "OK", Headers([("Content-Length", str(len(page)))]), page)
            case ["redirect"]:
                recorded.refused = 302
                return _refusal(302, "", ("Location", "http://127.0.0.1:1/elsewhere"))
            case ["hang"]:
                await connection.gone.wait()
            case ["cut_http"]:
                connection.transport.close()
                await connection.gone.wait()
            case ["garbage_http"]:
                connection.transport.write(b"\x00\xff SSH-2.0-what\r\n\r\n" * 20)
                connection.transport.close()
                await connection.gone.wait()
        return None

    def _judged(self, recorded: "SparkRecorded") -> tuple[int, str]:
        query = recorded.query
        if "authorization" not in query:
            return 401, NO_SIGNATURE
        fields = recorded.authorization
        if recorded.key not in self.apps or fields.get("headers") != "host date request-line":
            return 401, UNKNOWN_KEY
        moment = parsedate_tz(query.get("date", ""))
        if moment is None or abs(mktime_tz(moment) - self.clock()) > DATE_WINDOW_S:
            return 403, BAD_DATE
        host = recorded.headers["host"]
        origin = f"host: {query.get('host')}\ndate: {query['date']}\nGET {recorded.path} HTTP/1.1"
        secret = self.apps[recorded.key][1]
        expected = base64.b64encode(hmac.new(secret.encode(), origin.encode(), hashlib.sha256).digest()).decode()
        if query.get("host") not in {host, host.partition(":")[0], *self.hosts} or fields.get("signature") != expected:
            return 401, BAD_SIGNATURE
        return 0, ""

    def _welcome(self, connection: ServerConnection, request: Request, response: Response) -> None:
        assert isinstance(connection, Connection)
        if connection.request_record.scenario == "bad_accept":
            del response.headers["Sec-WebSocket-Accept"]
            response.headers["Sec-WebSocket-Accept"] = "bm8="

    async def _answer(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        recorded = connection.request_record
        self.open_streams += 1
        uid = ""
        try:
            with contextlib.suppress(ConnectionClosed, ConnectionError):
                recorded.body = json.loads(await connection.recv())
                code, message = self._complaint(recorded)
                uid = recorded.body["header"].get("uid", "") if not code else ""
                self.uids.add(uid)
                exchange = SparkExchange(connection, recorded, self._calls(recorded))
                if code:
                    await exchange.error(code, message)
                else:
                    await run_scenario(exchange, recorded.scenario)
                if connection.gone_at is None:
                    recorded.ended_at = time.monotonic()
                    await connection.close()
        finally:
            self.uids.discard(uid)
            self.open_streams -= 1

    def _calls(self, recorded: "SparkRecorded") -> int:
        domain = recorded.body["parameter"]["chat"]["domain"]
        name, _, scenario = domain.partition("/")
        chosen = scenario or (name if name.partition(":")[0] in SCENARIOS else "plain")
        recorded.scenario = recorded.scenario or chosen
        return sum(other.scenario == recorded.scenario for other in self.requests)

    def _complaint(self, recorded: "SparkRecorded") -> tuple[int, str]:
        """Return the code for a frame that the vendor would refuse, 0 if there is none."""
        try:
            header, chat = recorded.body["header"], recorded.body["parameter"]["chat"]
            domain, text = chat["domain"].partition("/")[0], recorded.body["payload"]["message"]["text"]
            app_id, uid = header["app_id"], header.get("uid", "")
        except (KeyError, TypeError):
            return 10004, "schema"
        if len(app_id) > 8 or len(uid) > 32:
            return 10005, "value"
        if app_id != self.apps[recorded.key or ""][0]:
            return 11200, "AppIdNoAuthError:(17:27:05.718) domain." + domain
        if uid and uid in self.uids:
            return 10006, "uid"
        if domain in PATHS and PATHS[domain] != recorded.path:
            return 10404, "domain"
        if domain not in PATHS and domain.partition(":")[0] not in SCENARIOS:
            return 10003, "invalid model domain"
        if not _parameters_fit(domain, chat):
            return 10163, "parameters"
        return (0, "") if _alternating(text, domain in WITH_SYSTEM) else (10004, "text")


class SparkRecorded(Recorded):
    """One connection as it arrived."""

    def __init__(self, *args: Any, query: dict[str, str]) -> None:
        super().__init__(*args)
        self.query = query
        self.refused: int | None = None
        self.goodbye_at: float | None = None

    @property
    def authorization(self) -> dict[str, str]:
        """The fields of the parameter; white space between them does not matter."""
        plain = base64.b64decode(self.query.get("authorization", "")).decode()
        fields = dict(re.findall(r'(\w+)="([^"]*)"', plain))
        return {"api_key": fields.pop("username", ""), **fields}

    @property
    def key(self) -> str | None:
        return self.authorization["api_key"] or None

    @property
    def text(self) -> list[dict[str, str]]:
        """The prompt as it was sent."""
        found: list[dict[str, str]] = self.body["payload"]["message"]["text"]
        return found

    @property
    def chat(self) -> dict[str, Any]:
        """The parameters as they were sent."""
        found: dict[str, Any] = self.body["parameter"]["chat"]
        return found


class Connection(ServerConnection):
    """Notes the moments in which the client says goodbye and in which its side of the socket closes."""

    def __init__(self, fake: FakeSpark, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fake = fake
        self.gone_at: float | None = None
        self.gone = asyncio.Event()
        self.request_record = SparkRecorded("", "", {}, {}, 0.0, query={})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.fake.connections += 1
        self.fake.open_connections += 1
        self.fake.open.add(self)

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
            self.request_record.goodbye_at = time.monotonic()
        super().process_event(event)

    def eof_received(self) -> None:
        self.note_gone()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.note_gone()
        self.fake.open_connections -= 1
        self.fake.open.discard(self)
        super().connection_lost(exc)

    def note_gone(self) -> None:
        if self.gone_at is None:
            self.gone_at = time.monotonic()
            self.gone.set()
            if self.request_record.ended_at is None:
                self.request_record.closed_by_peer_at = self.gone_at

    def mute(self) -> None:
        """Read nothing that comes, close frames included."""
        self.transport.set_protocol(_Mute(self))


class _Mute(asyncio.Protocol):
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def data_received(self, data: bytes) -> None:
        if data[0] & 0x0F == Opcode.CLOSE:
            self.connection.request_record.goodbye_at = time.monotonic()

    def eof_received(self) -> bool:
        self.connection.note_gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.connection_lost(exc)


def _refusal(status: int, message: str, *headers: tuple[str, str]) -> Response:
    body = json.dumps({"message": message}).encode()
    length = ("Content-Length", str(len(body)))
    return Response(status, HTTPStatus(status).phrase, Headers([length, ("X-Request-Id", "req-1"), *headers]), body)


def _parameters_fit(domain: str, chat: dict[str, Any]) -> bool:
    warmest = 2 if domain in {"spark-x", "x1"} else 1
    return (
        0 < chat.get("temperature", 0.5) <= warmest
        and 1 <= chat.get("max_tokens", 1) <= MAX_TOKENS.get(domain, 8192)
        and 1 <= chat.get("top_k", 4) <= 6
    )


def _alternating(text: list[dict[str, str]], system: bool) -> bool:
    roles = [turn["role"] for turn in text]
    if system and roles[:1] == ["system"]:
        del roles[0]
    expected = ["user", "assistant"] * len(roles)
    return len(roles) % 2 == 1 and roles == expected[: len(roles)] and all(turn["content"] for turn in text)
