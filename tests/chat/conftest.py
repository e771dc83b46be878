"""Fixtures of this folder."""

import asyncio

import httpx
import pytest

from chat.events.redis import Outbox
from tests.product import ApiUser, Product


async def stop_writing(outbox: Outbox) -> None:
    """Stop the task of an outbox; in the product it ends with the process."""
    outbox._streams.clear()  # redis-py can swallow a cancellation; then the task ends because it has no streams
    if outbox._task:
        outbox._task.cancel()
        await asyncio.gather(outbox._task, return_exceptions=True)


@pytest.fixture
def caller(api_user: ApiUser) -> httpx.Client:
    """A program with an API token."""
    token = api_user.client.post("/api/tokens/", json={"name": "program"}).json()["token"]
    return api_user.product.client(token)


@pytest.fixture(scope="session")
def program(product: Product) -> httpx.Client:
    """Return a client of `/v1` whose user's quota no test looks at."""
    return product.client(product.register("programmer").access)
