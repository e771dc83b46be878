"""Lists have one order, also where rows have nothing that tells them apart."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.conversations.api import PAGE_SIZE
from chat.models import Conversation
from tests import factories
from tests.staff import calling, send

pytestmark = pytest.mark.django_db


def test_conversations(client: Client, alice: Any) -> None:
    """Pages of conversations that were used at the same moment show each of them once, the newest first."""
    now = timezone.now()
    rows = [Conversation(user=alice, title="same", updated_at=now, pinned=n % 5 == 0) for n in range(2 * PAGE_SIZE + 1)]
    Conversation.objects.bulk_create(rows)
    client.force_login(alice)
    url, pages = "/api/conversations/", []
    while url:
        page = client.get(url).json()
        pages.append([(row["pinned"], row["id"]) for row in page["results"]])
        url = page["next"]
    assert [len(page) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 1]
    seen = [row for page in pages for row in page]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(rows)


@pytest.mark.parametrize(("path", "row"), [("users", {"username": "erin"}), ("models", {"slug": "m", "title": "M"})])
def test_groups(carol: Any, path: str, row: dict[str, str]) -> None:
    """Names of groups are in order, however they were given."""
    for name in ("b", "a", "c"):
        Group.objects.create(name=name)
    client = calling(carol)
    made = send(client, "POST", f"/api/admin/{path}/", {**row, "groups": ["c", "a", "b"]})
    assert made.status_code == 201, made.content
    assert made.json()["groups"] == ["a", "b", "c"]
    assert client.get(f"/api/admin/{path}/").json()[-1]["groups"] == ["a", "b", "c"]


def test_upstreams_to_choose_from(client: Client, carol: Any) -> None:
    """Upstreams that a route may lead to are offered by name; a page of them without an order would warn."""
    for slug in ("two", "three", "one"):
        factories.upstream(slug)
    client.force_login(carol)
    field = {"app_label": "providers", "model_name": "route", "field_name": "upstream", "term": ""}
    offered = client.get(reverse("admin:autocomplete"), field).json()["results"]
    assert [choice["text"] for choice in offered] == ["one", "three", "two"]
