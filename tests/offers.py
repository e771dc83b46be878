"""Upstreams, keys and models in the database of a running product, created without its admin pages."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from django.conf import settings
from django.db import transaction

from quotas.models import Quota, QuotaModel
from tests import factories, servers
from tests.product import ApiUser, Event, Product, read_events

# The upstreams are on this machine, and the product must decrypt keys that this process has encrypted.
OPEN = {"ALLOWED_PRIVATE_UPSTREAMS": "127.0.0.1", "DAILY_LIMIT_STANDARD": "1000000"}


def environment() -> dict[str, str]:
    """Return the environment of a product for which `offer` works."""
    return {**OPEN, "KEY_ENCRYPTION_KEYS": ",".join(settings.KEY_ENCRYPTION_KEYS)}


@contextmanager
def database(product: Product, blocker: Any) -> Iterator[None]:
    """Let the models of this thread use the product's SQLite file."""
    with blocker.unblock(), servers.connected(f"sqlite:///{product.var_dir}/rivulet.sqlite3"):
        yield


@transaction.atomic
def offer(name: str, kind: str, base_url: str, *keys: str, upstream_model: str = "lite", **timeouts: float) -> None:
    """Offer a model with its own upstream and keys, at once; within a `database` block."""
    upstream = factories.upstream(name, kind=kind, base_url=base_url, **timeouts)
    for secret in keys:
        factories.api_key(upstream, secret)
    model = factories.chat_model(name)
    factories.route(model, upstream, upstream_model=upstream_model)
    QuotaModel.objects.create(quota=Quota.objects.get(slug="standard"), model=model)


def wait_for(api_user: ApiUser, name: str) -> None:
    """Wait until the product offers a model."""
    deadline = time.monotonic() + 60
    while name not in {model["slug"] for model in api_user.client.get("/api/models/").json()}:
        assert time.monotonic() < deadline, f"{name} is not offered"
        time.sleep(0.1)


def ask_together(api_user: ApiUser, models: Sequence[str], prompt: str = "Hello") -> dict[str, list[Event]]:
    """Send a prompt to all these models at once and read every stream to its end."""

    async def one(client: httpx.AsyncClient, model: str) -> list[Event]:
        response = await client.post("/api/chat/", json={"model": model, "prompt": prompt})
        assert response.status_code == 200, response.text
        return list(read_events(response))

    async def ask() -> dict[str, list[Event]]:
        headers = {"Authorization": f"Bearer {api_user.access}", "Accept": "text/event-stream"}
        options = {
            "base_url": api_user.product.url,
            "headers": headers,
            "timeout": 90,
            "trust_env": False,
            "verify": False,
        }
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None), **options) as client:
            return dict(zip(models, await asyncio.gather(*(one(client, model) for model in models)), strict=True))

    return asyncio.run(ask())
