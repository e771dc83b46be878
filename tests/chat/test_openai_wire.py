"""/v1: the bytes that programs really send, and those that they can read."""

import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import RequestFactory

from chat.bodies import json_object
from tests.chat.programs import HELLO, URL, error
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI
from web.refusals import InvalidRequest

MIB = 2**20


@pytest.fixture(scope="module")
def small(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product whose bodies may have 1 MiB, and that pings every second."""
    variables = {**connected(upstream), "MAX_BODY_MIB": "1", "STREAM_PING_SECONDS": "1"}
    with Product(tmp_path_factory.mktemp("small"), **variables) as running:
        yield running


@pytest.fixture(scope="module")
def sender(small: Product) -> ApiUser:
    return small.register("sender")


def body_of(text: str = "Hello", **fields: Any) -> bytes:
    return json.dumps({"model": "echo", "messages": [{"role": "user", "content": text}], **fields}).encode()


def raw(product: Product, request: bytes) -> bytes:
    """Send bytes; return all that comes until the connection ends."""
    host, port = product.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def post(path: str, token: str, body: bytes, version: str = "1.0") -> bytes:
    head = f"POST {path} HTTP/{version}\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_gzip(sender: ApiUser) -> None:
    """A body may be compressed, also a large one."""
    for body in (gzip.compress(body_of()), gzip.compress(body_of("Hello", padding="x" * 900_000))):
        answer = sender.client.post(URL, content=body, headers={"Content-Encoding": "gzip"})
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"


def test_a_bomb(small: Product, sender: ApiUser) -> None:
    """A body that decompresses to more than MAX_BODY_MIB is 413, however small it comes, and costs no such memory."""
    bomb = gzip.compress(b" " * (300 * MIB))
    before = memory_mib(small)
    answer = sender.client.post(URL, content=bomb, headers={"Content-Encoding": "gzip"})
    assert error(answer) == (413, "invalid_request_error", "context_length_exceeded", None)
    assert "MAX_BODY_MIB" in answer.text
    assert memory_mib(small) - before < 30
    assert sender.client.post(URL, content=body_of()).status_code == 200


def memory_mib(product: Product) -> float:
    """Return the highest memory of the process so far."""
    lines = Path(f"/proc/{product.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip",
        gzip.compress(body_of())[:-9],
        gzip.compress(body_of())[:-1] + b"x",
        gzip.compress(body_of()[:20]) + gzip.compress(body_of()[20:]),
        gzip.compress(b"") * 50_000,
    ],
    ids=["plain", "cut", "wrong checksum", "two members", "many members"],
)
def test_broken_gzip(sender: ApiUser, body: bytes) -> None:
    """What is no gzip, is cut, has more than one member, or does not match its checksum is refused."""
    answer = sender.client.post(URL, content=body, headers={"Content-Encoding": "gzip"})
    assert error(answer) == (400, "invalid_request_error", None, "body")


@pytest.mark.parametrize("coding", ["br", "zstd", "Deflate", "gzip, gzip", "gzip, br"])
def test_other_codings_are_named(sender: ApiUser, coding: str) -> None:
    """A body in another coding is refused by its name; a name of no coding means nothing."""
    for path in (URL, "/v1/messages", "/api/chat/"):
        answer = sender.client.post(path, content=body_of(), headers={"Content-Encoding": coding})
        assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "gzip"), path
        assert coding.lower() in answer.text
    for name in ("identity", "utf-8", ""):
        assert sender.client.post(URL, content=body_of(), headers={"Content-Encoding": name}).status_code == 200


def test_a_strangers_gzip(small: Product) -> None:
    """Without a token nothing large is decompressed."""
    answer = small.client().post(URL, content=gzip.compress(b" " * MIB), headers={"Content-Encoding": "gzip"})
    assert error(answer)[:3] == (401, "invalid_request_error", "invalid_api_key")


def test_a_mark_in_front(sender: ApiUser) -> None:
    """A body may begin with a byte order mark."""
    assert sender.client.post(URL, content=b"\xef\xbb\xbf" + body_of()).status_code == 200


@pytest.mark.parametrize(
    ("escaped", "read"),
    [
        (r"a\ud83db", "a\ufffdb"),
        (r"\uDE00\uD83D", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (r"\ud83d\ude00 \ud83d\n", "😀 \ufffd\n"),
    ],
)
def test_halves_of_characters(sender: ApiUser, escaped: str, read: str) -> None:
    """Half of a surrogate pair becomes U+FFFD; whole pairs and other escapes stay."""
    body = body_of("HERE").replace(b"HERE", escaped.encode())
    assert sender.client.post(URL, content=body).json()["choices"][0]["message"]["content"] == read


def test_halves_do_not_mend_broken_json(sender: ApiUser) -> None:
    """Broken JSON is still refused."""
    assert error(sender.client.post(URL, content=rb'{"model": "\ud800", }'))[3] == "body"


@pytest.mark.parametrize("text", [r"\n", r"\\", r"\ud83d", r"\ude00", r"\ud83d\ude00", r"\\ud83d"])
def test_broken_json_is_refused_fast(text: str) -> None:
    """Many escape sequences in broken JSON take little time of the event loop."""
    body = b'{"a": "' + text.encode() * (6_000_000 // len(text))
    request = RequestFactory().post("/v1/chat/completions", body, content_type="application/json")
    assert request.body == body
    started = time.thread_time()
    with pytest.raises(InvalidRequest):
        json_object(request)
    assert time.thread_time() - started < 1


def test_too_many_halves_are_refused() -> None:
    """Halves up to a number are mended, because each costs time; the text around them stays as it was."""
    for halves, expected in ((10_000, True), (10_001, False)):
        body = b'{"a": "' + rb"\\ud83d \ud83d" * halves + b'"}'
        request = RequestFactory().post("/v1/chat/completions", body, content_type="application/json")
        if expected:
            assert json_object(request) == {"a": "\\ud83d \ufffd" * halves}
        else:
            with pytest.raises(InvalidRequest):
                json_object(request)


def test_a_long_prompt(sender: ApiUser) -> None:
    """MAX_PROMPT_CHARS (32,000) is no limit here."""
    messages = [{"role": "system", "content": "word " * 12_000}, *HELLO]
    assert sender.client.post(URL, json={"model": "echo", "messages": messages}).status_code == 200
    assert sender.client.post(URL, content=body_of("word " * 12_000)).status_code == 200


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["//v1/models", "/v1/models/", "/v1//models", "///v1//models//"])
def test_spare_slashes(small: Product, sender: ApiUser, path: str) -> None:
    """Slashes twice or at the end, from base URLs typed by hand, change nothing."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {sender.access}\r\n"
    answer = raw(small, f"{request}Connection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    assert json.loads(body)["object"] == "list"


@pytest.mark.parametrize("path", ["//v1/nothing/", "/v1", "/v1/", "//v1", "//v1//"])
def test_spare_slashes_of_an_unknown_route(small: Product, path: str) -> None:
    """A route that does not exist stays JSON, also the base URL itself, and pages of every origin may read it."""
    answer = raw(small, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"access-control-allow-origin: *" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "unknown_url"


def test_head(sender: ApiUser) -> None:
    """HEAD answers as GET does, without the body."""
    for path in ("/v1/models", "/v1/models/echo"):
        head, got = sender.client.head(path), sender.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
        assert head.headers["content-type"] == got.headers["content-type"]
    assert sender.client.head("/v1/models/nope").status_code == 404


def test_a_wrong_host_in_the_log(small: Product) -> None:
    """The log line of a request with a wrong Host names the setting; other lines do not."""
    small.client().get("/v1/models", headers={"Host": "evil.example"})
    small.client().get("/", headers={"Host": "evil.example"})
    deadline = time.monotonic() + 60
    while len(lines := re.findall(r"^.*ALLOWED_HOSTS.*$", small.output, re.MULTILINE)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [json.loads(line)["status"] for line in lines] == [400, 400]


# --- what comes back -------------------------------------------------------------------------------------------------


def test_keep_alives(sender: ApiUser) -> None:
    """While the upstream is silent the stream has comments of one line and one newline, and nothing else."""
    with sender.client.stream("POST", URL, json={"model": "hang", "messages": HELLO, "stream": True}) as response:
        text = ""
        for piece in response.iter_text():
            text += piece
            if text.count(": ping") == 2:
                break
    assert text.partition("\n\n")[2] == ": ping\n: ping\n"


def test_http_1_0(small: Product, sender: ApiUser) -> None:
    """A client of HTTP/1.0 gets no chunks: a length, or a stream that ends with the connection."""
    head, _, whole = raw(small, post(URL, sender.access, body_of())).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert f"content-length: {len(whole)}".encode() in head.lower()
    assert json.loads(whole)["choices"][0]["message"]["content"] == "Hello"
    head, _, stream = raw(small, post(URL, sender.access, body_of(stream=True))).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"content-length" not in head.lower()
    assert stream.startswith(b"data: {")
    assert stream.endswith(b"data: [DONE]\n\n")
    page = raw(small, b"GET /accounts/login/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b"transfer-encoding" not in page.partition(b"\r\n\r\n")[0].lower()
    assert page.rstrip().endswith(b"</html>")


def test_http_1_1_gets_chunks(small: Product, sender: ApiUser) -> None:
    """A client of HTTP/1.1 gets a stream in chunks, so that a cut shows."""
    answer: httpx.Response = sender.client.post(URL, content=body_of(stream=True))
    assert answer.headers["transfer-encoding"] == "chunked"
