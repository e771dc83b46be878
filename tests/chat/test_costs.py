"""What a completion costs in statements and calls of functions: counts, which no load on the machine changes.

When a change makes completions cheaper, lower the figure here; when one must make them dearer, say why in its commit.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import orjson
import pytest
from django.db import connection

from accounts.models import ApiToken
from chat.apps import chat
from chat.models import Message
from chat.screening.models import SensitiveWord
from chatproject.asgi import Application
from providers.wire.base import Delta, Event, Finished
from quotas.setup import ensure_defaults
from runtime import database
from runtime.apps import runtime
from runtime.http import DIRECT
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

# Statements of one completion, with those that begin transactions, in a new conversation and in one with a turn.
STATEMENTS = {"new": 21, "another": 26}
# Calls of Python functions of one completion of three deltas, on the event loop and in the database thread; and of each
# further delta, from an event of the adapter and from the bytes of the upstream on, to a reader who keeps up.
CALLS = {"loop": 655, "database": 541, "delta": 15}
CALLS_FROM_BYTES = 25
# The share of a figure that a count may reach, and the one below which the figure is out of date. Versions of Python
# and of packages differ by some calls, newer ones of Python make fewer.
MOST, LEAST = 1.05, 0.8
DELTAS, MORE_DELTAS = 3, 103
PACKAGES = {"accounts", "chat", "chatproject", "providers", "quotas", "runtime", "web"}
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


class PacedUpstream:
    """An upstream that sends a delta when the reader has got the one before."""

    def __init__(self) -> None:
        self.deltas = 0
        self.got = asyncio.Event()

    async def __aenter__(self) -> "PacedUpstream":
        self._server = await asyncio.start_server(self._respond, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for number in range(self.deltas):
            self.got.clear()
            chunk = {"choices": [{"index": 0, "delta": {"content": f"word {number} "}, "finish_reason": None}]}
            writer.write(b"data: %b\n\n" % orjson.dumps(chunk))
            await self.got.wait()
        writer.write(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        writer.close()


class QuickReader:
    """Takes what is written past the application's task."""

    ready, used = True, False

    def __init__(self, got: asyncio.Event) -> None:
        self.taken = b""
        self._got = got

    def write(self, data: bytes) -> bool:
        self.taken += data
        self._got.set()
        return True


class Client:
    """Sends prompts to the application, without a server."""

    def __init__(self, token: str) -> None:
        self._application = Application()
        self._headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
        self._headers += [(b"accept", b"text/event-stream"), (b"content-type", b"application/json")]

    async def complete(self, upstream: PacedUpstream | None = None, **body: Any) -> bytes:
        """Return the events of a completion."""
        return await self.post("/api/chat/", {"model": "demo", "prompt": "Hello", **body}, upstream)

    async def post(self, path: str, body: dict[str, Any], upstream: PacedUpstream | None = None) -> bytes:
        sent: list[dict[str, Any]] = []
        reader = QuickReader(upstream.got if upstream else asyncio.Event())
        extensions = {DIRECT: reader} if upstream else {}
        requests = iter([{"type": "http.request", "body": orjson.dumps(body)}])

        async def receive() -> dict[str, Any]:
            for request in requests:
                return request
            return await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if upstream and b"word " in message.get("body", b""):
                upstream.got.set()

        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
        await self._application(
            {**scope, "headers": self._headers, "client": ("127.0.0.1", 1), "extensions": extensions}, receive, send
        )
        assert DIRECT not in extensions  # it refers to the scope, which refers to them
        return b"".join(message.get("body", b"") for message in sent) + reader.taken


@pytest.fixture
def token() -> str:
    """A user's token, and a model to use."""
    user = factories.user("alice")
    factories.route(factories.chat_model("demo"), factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    return ApiToken.issue(user, "counted")[1]


@pytest.fixture
async def client(token: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """The application, which keeps its tables however long a test takes: reading them is not a completion's cost."""
    monkeypatch.setattr("runtime.ttl_cache.time", SimpleNamespace(monotonic=lambda: 0.0))
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


async def test_calls_of_a_delta_from_the_upstreams_bytes(client: Client, settings: Any) -> None:
    """A delta takes as few calls as before from the connection of the upstream to that of the reader."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    await database.run(SensitiveWord.objects.create, word="unheard", action="mask")
    calls: dict[int, int] = {}
    async with PacedUpstream() as upstream:
        await database.run(_use, upstream.base_url)
        for deltas in (DELTAS, DELTAS, MORE_DELTAS):
            upstream.deltas = deltas
            counts = Counts()
            sys.setprofile(counts.profile)
            try:
                events = await client.complete(upstream, model="paced")
            finally:
                sys.setprofile(None)
            assert b"event: done" in events
            calls[deltas] = counts.calls
    # The fake upstream's own call for each delta is one of them.
    each = (calls[MORE_DELTAS] - calls[DELTAS]) / (MORE_DELTAS - DELTAS)
    assert CALLS_FROM_BYTES * LEAST <= each <= CALLS_FROM_BYTES * MOST


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat/", {"prompt": "Hello"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "stream": True}),
    ],
)
async def test_the_garbage_collector_has_nothing_to_free(
    client: Client, settings: Any, path: str, body: dict[str, Any]
) -> None:
    """The objects of a completion do not refer to each other in circles, so they are freed as soon as it ends."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with PacedUpstream() as upstream:
        await database.run(_use, upstream.base_url)
        upstream.deltas = DELTAS
        await client.post(path, {"model": "paced", **body}, upstream)  # fills caches
        with _garbage() as found:
            await client.post(path, {"model": "paced", **body}, upstream)
            await chat().generations.wait()
            await asyncio.sleep(0)  # callbacks of the last task
    assert {type(each).__qualname__ for each in found if type(each).__module__.partition(".")[0] in PACKAGES} == set()


@contextmanager
def _garbage() -> Iterator[list[Any]]:
    """Yield a list that gets all objects of the block that only the garbage collector would free."""
    found: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _use(base_url: str) -> None:
    factories.route(factories.chat_model("paced"), factories.upstream("paced", kind="openai", base_url=base_url))
    ensure_defaults()
