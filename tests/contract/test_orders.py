"""The order of lists is fixed, also for rows with equal values."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.conversations.listing import PAGE_SIZE
from chat.models import Conversation
from tests import factories
from tests.staff import calling, send

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_conversations_used_at_the_same_time_are_listed_once(client: Client, alice: Any) -> None:
    """Pages of conversations with equal times show each of them once, newest first."""
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
    rows_of_all_pages = [row for page in pages for row in page]
    assert rows_of_all_pages == sorted(rows_of_all_pages, reverse=True)
    assert len(set(rows_of_all_pages)) == len(rows)


@pytest.mark.parametrize(("path", "row"), [("users", {"username": "erin"}), ("models", {"slug": "m", "title": "M"})])
def test_groups_are_sorted_by_name(carol: Any, path: str, row: dict[str, str]) -> None:
    """Names of groups are sorted, in whatever order they were sent."""
    for name in ("b", "a", "c"):
        Group.objects.create(name=name)
    client = calling(carol)
    created = send(client, "POST", f"/api/admin/{path}/", {**row, "groups": ["c", "a", "b"]})
    assert created.status_code == 201, created.content
    assert created.json()["groups"] == ["a", "b", "c"]
    assert client.get(f"/api/admin/{path}/").json()[-1]["groups"] == ["a", "b", "c"]


def test_upstreams_are_offered_by_name(client: Client, carol: Any) -> None:
    """The admin offers upstreams sorted by name; unordered pages would cause a warning."""
    for slug in ("two", "three", "one"):
        factories.upstream(slug)
    client.force_login(carol)
    field = {"app_label": "providers", "model_name": "route", "field_name": "upstream", "term": ""}
    offered = client.get(reverse("admin:autocomplete"), field).json()["results"]
    assert [choice["text"] for choice in offered] == ["one", "three", "two"]
