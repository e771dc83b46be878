"""Staff at the REST routes: callers with just the rights that a test is about."""

import json
from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client

from accounts import jwt
from tests import factories


def calling(user: Any) -> Client:
    """Return a client that shows somebody's access token."""
    return Client(headers={"Authorization": f"Bearer {jwt.issue(user)['access']}"})


def staff_with(*rights: str) -> Any:
    """Return staff who may do just this, e.g. `view_upstream`."""
    user = factories.user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return user


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    """Send a body as JSON, none for None."""
    return client.generic(method, path, b"" if body is None else json.dumps(body), "application/json")
