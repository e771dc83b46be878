"""What a completion costs in statements and calls of functions: counts, which no load on the machine changes.

When a change makes completions cheaper, lower the figure here; when one must make them dearer, say why in its commit.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest
from django.db import connection

from accounts.models import ApiToken
from chat.models import Message
from chatproject.asgi import Application
from providers.wire.base import Delta, Event, Finished
from quotas.setup import ensure_defaults
from runtime import database
from runtime.apps import runtime
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

# Statements of one completion, with those that begin transactions, in a new conversation and in one with a turn.
STATEMENTS = {"new": 21, "another": 26}
# Calls of Python functions of one completion of three deltas, on the event loop and in the database thread; and of each
# further delta.
CALLS = {"loop": 752, "database": 1053, "delta": 16}
# The share of a figure that a count may reach, and the one below which the figure is out of date. Versions of Python
# and of packages differ by some calls, newer ones of Python make fewer.
MOST, LEAST = 1.05, 0.8
DELTAS, MORE_DELTAS = 3, 103
# The event loop's own code, which runs as often as threads happen to wake it.
LOOP, BESIDE = str(Path(asyncio.__file__).parent), ("selectors.py", "threading.py")


class Counts:
    """Counts the calls of functions in one thread, and the statements that it executes."""

    def __init__(self) -> None:
        self.calls = 0
        self.statements = 0
        self._counted: dict[Any, bool] = {}

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if (counted := self._counted.get(code)) is None:
            file = code.co_filename
            counted = self._counted[code] = not (file.startswith(LOOP) or file.endswith(BESIDE))
        self.calls += counted

    def statement(self, execute: Any, sql: str, *arguments: Any) -> Any:
        self.statements += 1
        return execute(sql, *arguments)


class Client:
    """Sends prompts to the application, without a server."""

    def __init__(self, token: str) -> None:
        self._application = Application()
        self._headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
        self._headers += [(b"accept", b"text/event-stream"), (b"content-type", b"application/json")]

    async def complete(self, **body: Any) -> bytes:
        """Return the events of a completion."""
        sent: list[dict[str, Any]] = []
        requests = iter([{"type": "http.request", "body": orjson.dumps({"model": "demo", "prompt": "Hello", **body})}])

        async def receive() -> dict[str, Any]:
            for request in requests:
                return request
            return await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/chat/", "raw_path": b"/api/chat/", "query_string": b""}
        await self._application({**scope, "headers": self._headers, "client": ("127.0.0.1", 1)}, receive, send)
        return b"".join(message.get("body", b"") for message in sent)


@pytest.fixture
def token() -> str:
    """A user's token, and a model to use."""
    user = factories.user("alice")
    factories.route(factories.chat_model("demo"), factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    return ApiToken.issue(user, "counted")[1]


@pytest.fixture
async def client(token: str) -> AsyncIterator[Client]:
    yield Client(token)
    await runtime().process.stop()
    await asyncio.to_thread(database.close)


def stream_of(deltas: int) -> Any:
    async def run(_attempts: object) -> AsyncGenerator[Event, None]:
        for number in range(deltas):
            yield Delta(f"word {number} ")
        yield Finished("stop")

    return run


async def test_statements_of_a_completion(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion takes as few statements as before, in a new conversation and in one that goes on."""
    monkeypatch.setattr("providers.routing.Attempts.run", stream_of(DELTAS))
    await client.complete()
    counts = Counts()
    await database.run(lambda: connection.execute_wrappers.append(counts.statement))
    await client.complete()
    new, counts.statements = counts.statements, 0
    conversation = await database.run(lambda: Message.objects.latest("id").conversation_id)
    counts.statements = 0
    await client.complete(conversation=conversation)
    assert {"new": new, "another": counts.statements} == STATEMENTS


async def test_calls_of_a_completion(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion and each of its deltas take as few calls of functions as before."""
    counted: dict[int, tuple[int, int]] = {}
    for deltas in (DELTAS, DELTAS, MORE_DELTAS):  # the first one also fills caches
        monkeypatch.setattr("providers.routing.Attempts.run", stream_of(deltas))
        here, there = Counts(), Counts()
        await database.run(sys.setprofile, there.profile)
        sys.setprofile(here.profile)
        try:
            events = await client.complete()
        finally:
            sys.setprofile(None)
            await database.run(sys.setprofile, None)
        assert events.count(b"event: message") == deltas
        counted[deltas] = here.calls, there.calls
    (loop, inside), (more, _inside) = counted[DELTAS], counted[MORE_DELTAS]
    found = {"loop": loop, "database": inside, "delta": (more - loop) / (MORE_DELTAS - DELTAS)}
    too_many = {name: calls for name, calls in found.items() if calls > CALLS[name] * MOST}
    out_of_date = {name: calls for name, calls in found.items() if calls < CALLS[name] * LEAST}
    assert (too_many, out_of_date) == ({}, {})
