"""Clients of `/v1`: OpenAI's own, which counts its calls, and one that leaves."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from openai import OpenAI

from tests.chat.programs import URL
from tests.product import ApiUser
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

# Seconds within which the upstream is closed after a client leaves.
WITHIN_SECONDS = 0.05
# Seconds until a program gives up, by when the upstream has nearly always been asked.
LEAVES_AFTER_SECONDS = 1.5


class Counted:
    """OpenAI's client, and how often it has called; it tries again as it does by default."""

    def __init__(self, api_user: ApiUser, token: str) -> None:
        self.calls = 0
        http = httpx.Client(trust_env=False, verify=False, event_hooks={"request": [self._count]})
        self.client = OpenAI(base_url=f"{api_user.product.url}/v1", api_key=token, http_client=http)

    def _count(self, request: httpx.Request) -> None:
        self.calls += 1


def closed_after(upstream: FakeOpenAI, prompt: str, left_at: float) -> float:
    """Return the seconds until the upstream was closed; the bound where a crowded machine had not yet asked it."""
    return upstream.closed_at(prompt) - left_at if upstream.asked(prompt) else WITHIN_SECONDS


@contextmanager
def counting(api_user: ApiUser) -> Iterator[Counted]:
    """Yield a client with a new API token of a user."""
    counted = Counted(api_user, api_user.client.post("/api/tokens/", json={"name": "sdk"}).json()["token"])
    with counted.client:
        yield counted


def leave(api_user: ApiUser, upstream: FakeOpenAI, body: dict[str, Any], key: str = "", seconds: float = 0) -> float:
    """Call `/v1`, and leave so many seconds after the upstream has been asked; return when."""
    prompt, content = body["messages"][-1]["content"], json.dumps(body).encode()
    before = len(upstream.asked(prompt))
    parts = urlsplit(api_user.product.url)
    head = [f"POST {URL} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head += [f"Authorization: Bearer {api_user.access}", f"Content-Length: {len(content)}"]
    head += [f"Idempotency-Key: {key}"] if key else []
    with socket.create_connection((parts.hostname, parts.port)) as caller:
        caller.sendall("\r\n".join([*head, "", ""]).encode() + content)
        wait_until(lambda: len(upstream.asked(prompt)) > before)
        time.sleep(seconds)
        return time.monotonic()
