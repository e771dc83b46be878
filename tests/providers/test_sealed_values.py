"""Headers and queries that no key opens: saving a row keeps them, until they are entered anew."""

import pickle
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.test import Client
from django.urls import reverse

from providers import setup
from providers.models import Upstream
from tests import factories
from tests.staff import calling, send

pytestmark = pytest.mark.django_db

HEADERS, QUERY = {"X-Team": "blue"}, {"api-version": "2024-10-21"}


@pytest.fixture
def sealed(settings: Any) -> Upstream:
    """An upstream with values of a key that is not configured."""
    keys, settings.KEY_ENCRYPTION_KEYS = settings.KEY_ENCRYPTION_KEYS, [Fernet.generate_key().decode()]
    row = factories.upstream(
        "openai", kind="openai", base_url="https://192.0.2.1/v1", headers=HEADERS, query=QUERY, environment={}
    )
    row.found_key = settings.KEY_ENCRYPTION_KEYS[0]  # type: ignore[attr-defined]
    settings.KEY_ENCRYPTION_KEYS = keys
    return row


def opened(row: Upstream, settings: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values as they are read once the key is back."""
    settings.KEY_ENCRYPTION_KEYS = [*settings.KEY_ENCRYPTION_KEYS, row.found_key]  # type: ignore[attr-defined]
    found = Upstream.objects.get(pk=row.pk)
    return dict(found.headers), dict(found.query)


def test_saving_keeps_them(sealed: Upstream, settings: Any) -> None:
    """A row that is read, copied and saved holds the same ciphertext, and no value is sent meanwhile."""
    row = pickle.loads(pickle.dumps(Upstream.objects.get(pk=sealed.pk)))
    assert (dict(row.headers), dict(row.query)) == ({}, {})
    row.full_clean()
    row.save()
    assert opened(sealed, settings) == (HEADERS, QUERY)


def test_the_admins_form_keeps_them(client: Client, carol: Any, sealed: Upstream, settings: Any) -> None:
    """A form shows them as empty, and empty fields keep them."""
    client.force_login(carol)
    address = reverse("admin:providers_upstream_change", args=[sealed.pk])
    form = client.get(address).context["adminform"].form
    assert (form["headers"].value(), form["query"].value()) == ("{}", "{}")
    values = {"slug": "openai", "kind": "openai", "base_url": "https://192.0.2.1/v2", "headers": "{}", "query": ""}
    sent = client.post(address, {**values, "keys-TOTAL_FORMS": 0, "keys-INITIAL_FORMS": 0})
    assert sent.status_code == 302
    assert Upstream.objects.get().base_url.endswith("/v2")
    assert opened(sealed, settings) == (HEADERS, QUERY)


def test_staff_routes_keep_them_until_they_are_entered(carol: Any, sealed: Upstream, settings: Any) -> None:
    """A row that comes back as it was shown keeps them; entered values replace them."""
    staff, address = calling(carol), f"/api/admin/upstreams/{sealed.pk}/"
    shown = staff.get(address).json()
    assert (shown["headers"], shown["query"]) == ({}, {})
    assert send(staff, "PATCH", address, {"headers": {}, "query": {"v": "2"}}).status_code == 200
    assert opened(sealed, settings) == (HEADERS, {"v": "2"})


def test_the_start_keeps_them(sealed: Upstream, settings: Any) -> None:
    """The environment, which names no query, does not replace one that no key opens."""
    setup._ensure_upstream("openai", "openai", {"base_url": "https://192.0.2.1/v3", "proxy": "", "query": {}})
    assert opened(sealed, settings) == (HEADERS, QUERY)
