"""Fixtures of this folder."""

import httpx
import pytest

from tests.product import ApiUser, Product


@pytest.fixture
def caller(api_user: ApiUser) -> httpx.Client:
    """A program with an API token."""
    token = api_user.client.post("/api/tokens/", json={"name": "program"}).json()["token"]
    return api_user.product.client(token)


@pytest.fixture(scope="session")
def program(product: Product) -> httpx.Client:
    """Return a client of `/v1` whose user's quota no test looks at."""
    return product.client(product.register("programmer").access)
