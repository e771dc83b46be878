"""Fixtures for tests of accounts: clients with each kind of credentials, and fresh rate limits."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts import jwt
from accounts.models import ApiToken, User, digest


@pytest.fixture(autouse=True)
def _fresh_rate_limits() -> None:
    cache.clear()


@pytest.fixture
def session(client: Client) -> Callable[[User], Client]:
    """Return a function that logs a user in by cookie."""

    def log_in(user: User) -> Client:
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def bearer() -> Callable[[User], Client]:
    """Return a function that makes a client with a user's access token."""
    return lambda user: Client(headers={"Authorization": f"Bearer {jwt.issue(user)['access']}"})


@pytest.fixture
def api_token() -> Callable[..., str]:
    """Return a function that creates an API token and returns its secret."""

    def make(user: User, secret: str = "sk-of-a-test", **values: Any) -> str:
        ApiToken.objects.create(user=user, name="laptop", digest=digest(secret), **values)
        return secret

    return make
