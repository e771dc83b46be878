"""Clients that mean harm, or know no better: nothing of theirs stops the others."""

import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.templatetags.static import static

from runtime import http
from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI


def connection(product: Product, receive_bytes: int = 0) -> socket.socket:
    """Return a raw connection; with a small receive buffer the server notices a client that does not read."""
    address = urlsplit(product.url)
    sock = socket.socket()
    # Otherwise the machine takes megabytes that a server does not read.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(60)
    sock.connect((address.hostname, address.port))
    return sock


def test_readers_that_never_read_stop_no_page(product: Product) -> None:
    """Pages are served while a client asks for many files and reads none of them."""
    silent = []
    for _ in range(12):
        sock = connection(product, 4096)
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % static("chat/chat.css").encode() * 30)
        silent.append(sock)
    time.sleep(1)
    started = time.monotonic()
    assert product.client().get("/accounts/login/").status_code == 200
    assert time.monotonic() - started < http.STALLED_SECONDS  # until which nothing of theirs ends
    for sock in silent:
        sock.close()


def test_a_head_without_end(product: Product) -> None:
    """A request head over 64 KiB ends the connection."""
    with connection(product) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 5_000_000:
                sent += sock.send(b"X-A: " + b"a" * 8000 + b"\r\n")
                time.sleep(0.002)
    assert sent < 1_000_000
    assert product.client().get("/healthz").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/auth/token/"), ("POST", "/accounts/login/")])
def test_bodies_are_bounded_everywhere(product: Product, method: str, path: str) -> None:
    """A body over 1 MiB is 413 on REST and pages too, before any code looks into it."""
    answer = product.client().request(method, path, content=b"x" * (2**20 + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        *("/api/generations/%00/", "/api/generations/%00/events/", "/api/conversations/?search=%00"),
        *("/api/chat/?last_event_id=%00:1", "/api/conversations/%00/", "/api/tokens/%00/"),
    ],
)
def test_nul_anywhere(elsewhere: ApiUser, path: str) -> None:
    """A NUL, which PostgreSQL refuses, is an unknown id and no reason to break."""
    assert elsewhere.client.get(path).status_code in {200, 400, 404}


def test_nul_in_a_ticket(elsewhere: ApiUser) -> None:
    """A path with a NUL in it is refused."""
    assert elsewhere.client.post("/api/tickets/", json={"path": "/%00"}).status_code in {201, 400}


def test_forms_are_no_questions(api_user: ApiUser) -> None:
    """A form's content type is refused by name, with a session and without one."""
    for kind in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        answer = api_user.client.post("/api/chat/", content=b"--x--", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "invalid_request")


def test_secret_paths_are_not_logged(product: Product) -> None:
    """Keys of mails do not stand in the log."""
    product.client().get("/accounts/password/reset/key/3-SECRETKEY/")
    product.client().get("/accounts/confirm-email/SECRETKEY/")
    wait_until(lambda: "/accounts/confirm-email/" in product.output)
    assert "SECRETKEY" not in product.output


def test_debug_logs_no_text(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """DEBUG=1 does not write prompts into the log."""
    with Product(tmp_path, **connected(upstream), DEBUG="1") as product:
        api_user = product.register("alice")
        api_user.answer("SECRET-PROMPT", "echo")
        assert "SECRET-PROMPT" not in product.output


@pytest.fixture(scope="module")
def elsewhere(on_postgresql: Product) -> ApiUser:
    """Return a user of a product with PostgreSQL."""
    return on_postgresql.register("attacker")
