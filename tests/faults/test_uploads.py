"""50 MiB of unauthenticated uploads at most in all."""

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chatproject import uploads as uploads_module
from chatproject.uploads import Body, Uploads
from tests.faults.test_slow_readers import resident_mib
from tests.product import ApiUser, Product
from web.refusals import NotAuthenticated, ServiceUnavailable, TooManyRequests

CHUNK = b"x" * 64 * 1024
MIB = 2**20
STRANGERS, STRANGER_BYTES = 800, 250_000
# Memory that the strangers may cost: 50 MiB of bodies, what allocators add, and 800 connections.
ALLOWED_MIB = 110
SMALL = {"type": "http.request", "body": b"small", "more_body": False}
GONE = {"type": "http.disconnect"}


# --- the product -----------------------------------------------------------------------------------------------------


def upload(product: Product, path: str, size: int, token: str = "") -> socket.socket:
    """Begin an upload of `size` bytes."""
    host, port = product.url.removeprefix("http://").split(":")
    sock = socket.create_connection((host, int(port)), timeout=60)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n"
    sock.sendall((head + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n").encode())
    return sock


def status(sock: socket.socket) -> int:
    return int(sock.recv(65536).split()[1])


@pytest.mark.parametrize("path", ["/api/import/", "/api/admin/sensitive-words/import/"])
def test_a_stranger_is_refused_before_a_large_body_is_read(product: Product, path: str) -> None:
    """A large body without credentials gets 401 while most of it has not been sent."""
    with upload(product, path, 30 * MIB) as sock:
        sock.sendall(b" " * 400_000)
        assert status(sock) == 401


def test_unauthenticated_uploads_are_bounded_in_all(product: Product) -> None:
    """800 strangers who offer 200 MB cost 50 MiB and their connections; the oldest get 503, and a login works."""
    product.register("uploader")
    before = resident_mib(product)
    with contextlib.ExitStack() as sockets:
        strangers = [sockets.enter_context(upload(product, "/api/import/", 30 * MIB)) for _ in range(STRANGERS)]
        for sock in strangers:
            sock.sendall(b" " * STRANGER_BYTES)
        # The first ones have given way to the last ones.
        assert status(strangers[0]) == 503
        assert product.log_in("uploader").status_code == 200
        assert resident_mib(product) - before < ALLOWED_MIB
    assert product.log_in("uploader").status_code == 200


def test_uploads_of_one_user_are_bounded(product: Product) -> None:
    """Of three imports of 31 MiB that a user sends at the same time one gets 429; another user is not affected."""
    alice, bob = product.register("alice-uploads"), product.register("bob-uploads")
    with contextlib.ExitStack() as sockets:
        imports = [sockets.enter_context(upload(product, "/api/import/", 32 * MIB, alice.access)) for _ in range(3)]
        for sock in imports:
            sock.sendall(b" " * 31 * MIB)
        refused, _writable, _failed = select.select(imports, [], [], 60)
        assert [status(sock) for sock in refused] == [429]
        assert imported(bob) == 201


def imported(user: ApiUser) -> int:
    body = b'{"format":"rivulet","version":1,"conversations":[]' + b" " * 2 * MIB + b"}"
    return user.client.post("/api/import/", content=body, headers={"Content-Type": "application/json"}).status_code


# --- the counting ----------------------------------------------------------------------------------------------------


class Sender:
    """One client in these tests: what it sends, and whom its credentials name."""

    def __init__(self, path: str = "/api/import/") -> None:
        self.scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": []}
        self._messages: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    def send(self, count: int, *, more: bool = True) -> None:
        for number in range(count):
            last = not more and number == count - 1
            self._messages.put_nowait({"type": "http.request", "body": CHUNK, "more_body": not last})

    def leave(self) -> None:
        self._messages.put_nowait(GONE)

    async def receive(self) -> Mapping[str, Any]:
        return await self._messages.get()


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The users whom the next large bodies belong to; empty: none."""
    ids: list[int | None] = []

    async def run(function: Callable[..., Any], *_arguments: Any) -> Any:
        assert function is uploads_module.user_id_of
        return ids.pop(0) if ids else None

    monkeypatch.setattr(uploads_module.database, "run", run)
    return ids


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_the_oldest_incomplete_body_gives_way(users: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the memory is full, the oldest incomplete body ends with 503 and the new one is read."""
    monkeypatch.setattr(uploads_module, "ANONYMOUS_BYTES", 10 * len(CHUNK))
    uploads, old, young, new = Uploads(), Sender(), Sender(), Sender()
    reading = [asyncio.create_task(uploads.read(one.scope, one.receive)) for one in (old, young)]
    old.send(4)
    await settle()
    young.send(4)
    await settle()
    new.send(4, more=False)
    body = await uploads.read(new.scope, new.receive)
    assert body.read() == CHUNK * 4
    (await reading[0]).close()
    assert isinstance(old.scope["refusal"], ServiceUnavailable)
    assert not reading[1].done()
    young.send(1, more=False)
    other = await reading[1]
    assert other.read() == CHUNK * 5
    assert "refusal" not in young.scope
    for one in (body, other):
        one.close()
    assert not uploads._bytes


async def test_a_new_body_is_refused_when_none_can_give_way(
    users: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies that have arrived keep their memory until they are closed."""
    monkeypatch.setattr(uploads_module, "ANONYMOUS_BYTES", 6 * len(CHUNK))
    uploads, first, second, third = Uploads(), Sender(), Sender(), Sender()
    for one in (first, second, third):
        one.send(4, more=False)
    body = await uploads.read(first.scope, first.receive)
    (await uploads.read(second.scope, second.receive)).close()
    assert isinstance(second.scope["refusal"], ServiceUnavailable)
    body.close()
    (await uploads.read(third.scope, third.receive)).close()
    assert "refusal" not in third.scope
    assert not uploads._bytes


async def test_a_stranger_may_send_little(users: list[int | None]) -> None:
    """Beyond UNKNOWN_SENDER_BYTES a stranger is refused where large bodies are allowed, and reads on elsewhere."""
    uploads, large, elsewhere = Uploads(), Sender(), Sender("/api/auth/token/")
    large.send(5)
    (await uploads.read(large.scope, large.receive)).close()
    assert isinstance(large.scope["refusal"], NotAuthenticated)
    elsewhere.send(8, more=False)
    body = await uploads.read(elsewhere.scope, elsewhere.receive)
    assert len(body.read()) == 8 * len(CHUNK)
    body.close()
    assert not uploads._bytes


async def test_a_user_has_a_limit_of_their_own(users: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's bodies count for that user: beyond the limit 429, and nothing is taken from strangers or others."""
    monkeypatch.setattr(uploads_module, "USER_BYTES", 10 * len(CHUNK))
    monkeypatch.setattr(uploads_module, "ANONYMOUS_BYTES", 5 * len(CHUNK))
    users += [7, 7, 8]
    uploads, bodies = Uploads(), list[Body]()
    senders = [Sender() for _ in range(3)]
    for one in senders:
        one.send(8, more=False)
        bodies.append(await uploads.read(one.scope, one.receive))
    refusals = [type(one.scope.get("refusal")) for one in senders]
    assert refusals == [type(None), TooManyRequests, type(None)]
    for body in bodies:
        body.close()
    assert not uploads._bytes


async def test_the_user_with_most_bytes_gives_way(users: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """When all users' memory is full, the user who holds most loses the oldest incomplete body."""
    monkeypatch.setattr(uploads_module, "ALL_USERS_BYTES", 20 * len(CHUNK))
    users += [7, 8, 9]
    uploads = Uploads()
    greedy, modest, new = Sender(), Sender(), Sender()
    tasks = [asyncio.create_task(uploads.read(one.scope, one.receive)) for one in (modest, greedy)]
    greedy.send(10)
    await settle()
    modest.send(6)
    await settle()
    new.send(8, more=False)
    (await uploads.read(new.scope, new.receive)).close()
    (await tasks[1]).close()
    assert isinstance(greedy.scope["refusal"], ServiceUnavailable)
    assert not {"refusal"} & {*modest.scope, *new.scope}
    modest.leave()
    with pytest.raises(uploads_module.RequestAborted):
        await tasks[0]
    assert not uploads._bytes


async def test_a_body_over_the_limit_is_discarded(users: list[int | None]) -> None:
    """A body that is too large is read to its end without being kept, and marked."""
    uploads, sender = Uploads(), Sender("/api/auth/token/")
    sender.send(40, more=False)
    body = await uploads.read(sender.scope, sender.receive)
    assert sender.scope["body_too_large"]
    assert body.read() == b""
    body.close()
    assert not uploads._bytes
