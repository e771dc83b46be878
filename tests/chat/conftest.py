"""Fixtures of this folder."""

import httpx
import pytest

from tests.product import Person


@pytest.fixture
def caller(person: Person) -> httpx.Client:
    """A program with an API token."""
    token = person.client.post("/api/tokens/", json={"name": "program"}).json()["token"]
    return person.product.client(token)
