"""Clients for the staff routes, with exactly the rights that a test is about."""

import json
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client

from accounts import jwt
from tests import factories
from tests.product import ApiUser


def calling(user: Any) -> Client:
    """Return a client that sends a user's access token."""
    return Client(headers={"Authorization": f"Bearer {jwt.issue(user)['access']}"})


def staff_with(*rights: str) -> Any:
    """Return a staff user with exactly these rights, such as `view_upstream`."""
    user = factories.user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return user


def auditors() -> Group:
    """Return the group of auditors, which a migration makes: a test before may have emptied all tables."""
    import_module("accounts.migrations.0017_auditors").make_group(apps, SimpleNamespace(connection=connection))
    return Group.objects.get(name="auditors")


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    """Send a JSON body, or an empty one for None."""
    return client.generic(method, path, b"" if body is None else json.dumps(body), "application/json")


def create(admin: ApiUser, rows: str, **body: Any) -> dict[str, Any]:
    """Create a row through a running product's staff route, such as `upstreams`; return it."""
    made = admin.client.post(f"/api/admin/{rows}/", json=body)
    assert made.status_code == 201, made.text
    return dict(made.json())
