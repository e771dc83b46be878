"""OpenAI's own client of the product, which counts its calls."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from openai import OpenAI

from tests.product import ApiUser

# Seconds within which the upstream is closed after a client leaves.
WITHIN_SECONDS = 0.05


class Counted:
    """OpenAI's client, and how often it has called; it tries again as it does by default."""

    def __init__(self, api_user: ApiUser, token: str) -> None:
        self.calls = 0
        http = httpx.Client(trust_env=False, event_hooks={"request": [self._count]})
        self.client = OpenAI(base_url=f"{api_user.product.url}/v1", api_key=token, http_client=http)

    def _count(self, request: httpx.Request) -> None:
        self.calls += 1


@contextmanager
def counting(api_user: ApiUser) -> Iterator[Counted]:
    """Yield a client with a new API token of a user."""
    counted = Counted(api_user, api_user.client.post("/api/tokens/", json={"name": "sdk"}).json()["token"])
    with counted.client:
        yield counted
