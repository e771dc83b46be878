"""A user disabled while reading is cut off: at every process, for every owner process and every stream."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chat.events.log import Log
from chat.events.sse import OpenStreams, SourceStream
from tests import servers
from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

WORKERS, READERS = 3, 6
# The look for disabled users comes every second instead of every ten. Half of the minute that it may take: a process
# may stand still for some seconds.
CLOCKS, WITHIN_SECONDS = "chat.events.sse.DISABLED_CHECK_SECONDS=1", 30

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def workers(
    postgres: servers.Postgres, redis_server: servers.Redis, tmp_path: Path, upstream: FakeOpenAI
) -> Iterator[Product]:
    """Several processes at one address; each new connection goes to any of them."""
    variables = {**connected(upstream, endless="paced:5000:50"), "WORKERS": str(WORKERS), "IMPATIENCE": CLOCKS}
    with Product(tmp_path, postgres.migrated_database(), **variables, REDIS_URL=redis_server.url) as product:
        yield product


class Reader:
    """A client that reads a stream on its own connection, in a thread, and notes when it ends."""

    def __init__(self, client: httpx.Client, path: str, **post: object) -> None:
        self._request = client.build_request("POST" if post else "GET", path, json=post or None)
        self._client = client
        self._opened = threading.Event()
        self.ended_at, self.text = 0.0, ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self._opened.wait(60), path

    def _read(self) -> None:
        response = self._client.send(self._request, stream=True)
        for text in response.iter_text():
            self.text += text
            self._opened.set()
        self.ended_at = time.monotonic()

    def end(self, seconds: float) -> float:
        self._thread.join(seconds)
        assert self.ended_at, "still reading"
        return self.ended_at


def status(client: httpx.Client, path: str) -> int:
    with client.stream("GET", path) as response:
        return response.status_code


def test_a_disabled_account_is_cut_off_at_all_processes(workers: Product) -> None:
    """Disabled at one process, a user is cut off at all of them: answers made there or elsewhere, pushes and /v1."""
    api_user, other = workers.register("alice"), workers.register("bob")
    generations = [ApiUser(workers, "alice", api_user.access, "").ask("Hello", "endless")["id"] for _ in range(WORKERS)]
    completion = {"model": "endless", "messages": [{"role": "user", "content": "x"}], "stream": True}
    staying = Reader(workers.client(other.access), "/sse/mine/")
    readers = []
    for number in range(READERS):
        paths = [f"/api/generations/{generations[number % WORKERS]}/events/", f"/sse/channel{number}/"]
        readers += [Reader(workers.client(api_user.access), path) for path in paths]
        readers.append(Reader(workers.client(api_user.access), "/v1/chat/completions", **completion))
    admin = workers.admin().client
    (user,) = [row for row in admin.get("/api/admin/users/").json() if row["username"] == "alice"]
    assert admin.patch(f"/api/admin/users/{user['id']}/", json={"is_active": False}).status_code == 200
    disabled_at = time.monotonic()
    for reader in readers:
        assert reader.end(60) - disabled_at < WITHIN_SECONDS
        assert "event: done" not in reader.text
        assert "[DONE]" not in reader.text
    for path in (f"/api/generations/{generations[0]}/events/", "/sse/channel0/"):
        # The process that gets it may have identified the user a moment ago.
        wait_until(lambda path=path: status(workers.client(api_user.access), path) == 401)
    assert not staying.ended_at
    assert admin.post("/api/channels/mine/complete/", json={"user": "bob"}).status_code == 200
    staying.end(30)
    assert "event: complete" in staying.text


async def test_there_is_always_more_to_read() -> None:
    """A reader that is cut off gets no more, however much waits."""
    log = Log("g", lambda: {"content": "", "reasoning": ""})
    for _ in range(30):
        log.publish("message", {"content": "x" * 65536})
    stream = SourceStream(OpenStreams(), 1, log.follow(0))
    events = stream.events()
    assert len([await anext(events) for _ in range(3)]) == 3
    stream.cut_off()
    assert [data async for data in events] == [b""]
