"""Fake vendors on loopback sockets that play exactly the bytes of a case.

The first part of the address's path names the part of a case; nothing of the product is imported here.
"""

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.loopback import Exchange, FakeServer, Recorded
from tests.spark import Connection, FakeSpark
from tests.wire_cases.shapes import MOST_HELD_SECONDS, TRIGGER, UNTIL_READ, Case, Reply, frames

# The prompt of neutral probes.
PROBE = "Hi"
GOOD_FRAMES = frames(
    {
        "header": {"code": 0, "message": "Success", "sid": "cht1", "status": 0},
        "payload": {"choices": {"status": 0, "seq": 0, "text": [{"content": "It ", "role": "assistant", "index": 0}]}},
    },
    {
        "header": {"code": 0, "message": "Success", "sid": "cht1", "status": 2},
        "payload": {
            "choices": {"status": 2, "seq": 1, "text": [{"content": "works.", "role": "assistant", "index": 0}]},
            "usage": {"text": {"question_tokens": 1, "prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
        },
    },
)


@dataclass
class Script:
    """The replies of one case on one surface, and the requests that they went to."""

    case: Case
    plain: Reply
    asked: list[Recorded] = field(default_factory=list)
    accused: str = ""
    # How often the accused key was used for a user's prompt.
    accused_asked: int = 0
    played: int = 0
    # Set when the reader has the text.
    read: threading.Event = field(default_factory=threading.Event)

    async def pause(self, seconds: float) -> None:
        """Wait before the next piece of a reply."""
        if seconds != UNTIL_READ:
            await asyncio.sleep(seconds)
            return
        until = time.monotonic() + MOST_HELD_SECONDS
        while not self.read.is_set() and time.monotonic() < until:
            await asyncio.sleep(0.01)

    def reply(self, request: Recorded, key: str, messages: Sequence[Mapping[str, Any]]) -> Reply:
        """Choose the reply to a request."""
        odd = TRIGGER in str(messages[-1]["content"])
        if odd:
            self.asked.append(request)
        if self.case.accuses_key:
            self.accused = self.accused or key
            odd = key == self.accused
            self.accused_asked += odd and messages[-1]["content"] != PROBE
        odd = odd or self.case.second_route
        if not odd or len(messages) <= self.case.fits or (self.case.refuses and self.case.refuses not in request.body):
            return self.plain
        self.played += 1
        return self.case.sends[min(self.played, len(self.case.sends)) - 1]


class Scripts:
    """The scripts of a server, by the first part of the path: the model, and the place of the route."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.scripts: dict[str, Script] = {}

    def asked(self, model: str) -> list[Recorded]:
        """Return the requests of a model for the odd thing, over all routes."""
        scripts = [script for name, script in self.scripts.items() if name.rpartition("-")[0] == model]
        return [request for script in scripts for request in script.asked]

    def accused_asked(self, model: str) -> int:
        """Return how often the accused key of a model was used for a user's prompt."""
        return sum(script.accused_asked for name, script in self.scripts.items() if name.rpartition("-")[0] == model)


class Vendor(Scripts, FakeServer):
    """Vendors over HTTP."""

    async def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        script = self.scripts[request.path.split("/")[1]]
        await play(exchange, script, script.reply(request, _key(request), request.body["messages"]))


async def play(exchange: Exchange, script: Script, reply: Reply) -> None:
    """Send a reply and close the connection, which ends the body."""
    lines = [f"HTTP/1.1 {reply.status} Status", "Connection: close"]
    if reply.content_type:
        lines.append(f"Content-Type: {reply.content_type}")
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    await exchange.raw("\r\n".join([*lines, "", ""]).encode())
    for pause, piece in reply.pieces:
        await script.pause(pause)
        await exchange.raw(piece)
    exchange.cut()


def _key(request: Recorded) -> str:
    """Return the key that a request came with; of a signed token the key's id."""
    sent = request.headers.get("authorization", "").removeprefix("Bearer ")
    parts = sent.split(".")
    if len(parts) != 3:
        return sent
    return str(json.loads(base64.urlsafe_b64decode(parts[1] + "=="))["api_key"])


class SparkVendor(Scripts, FakeSpark):
    """Spark over WebSocket."""

    async def _answer(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        recorded = connection.request_record
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            recorded.body = json.loads(await connection.recv())
            script = self.scripts[recorded.path.split("/")[1]]
            for pause, frame in script.reply(recorded, recorded.key or "", recorded.text).pieces:
                await script.pause(pause)
                await connection.send(frame.decode())
            recorded.ended_at = time.monotonic()
            await connection.close()
