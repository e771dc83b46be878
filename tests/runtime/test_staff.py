"""The common behaviour of all staff routes: rights, strict bodies, conflicts and history."""

import json
import re
from itertools import count
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import IntegrityError
from django.test import Client
from rest_framework.test import APIRequestFactory, force_authenticate

from chatproject.urls import urlpatterns
from providers.models import Upstream
from quotas import ledger
from quotas.models import Quota
from tests import factories
from tests.staff import calling, send, staff_with
from web.staff import StaffRows, StaffSerializer

pytestmark = pytest.mark.django_db

UPSTREAMS = "/api/admin/upstreams/"
DEMO = {"slug": "other", "kind": "scripted"}


class QuotaRow(StaffSerializer):
    class Meta:
        model = Quota
        fields = ("id", "slug", "title")


class Quotas(StaffRows):
    """Rows that other rows refer to: reservations protect their quota."""

    model, serializer_class = Quota, QuotaRow


@pytest.fixture
def upstream() -> Upstream:
    return factories.upstream("demo")


@pytest.mark.contract("staff: upstreams")
def test_rows_are_made_listed_changed_and_deleted(carol: Any) -> None:
    """Rows are created (201), listed in a bare array, read, changed and deleted (204)."""
    client = calling(carol)
    created = send(client, "POST", UPSTREAMS, DEMO)
    assert created.status_code == 201
    row = created.json()
    assert client.get(UPSTREAMS).json() == [row]
    one = f"{UPSTREAMS}{row['id']}/"
    assert client.get(one).json() == row
    changed = send(client, "PATCH", one, {"enabled": False})
    assert (changed.status_code, changed.json()) == (200, {**row, "enabled": False})
    deleted = client.delete(one)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.get(one).status_code == 404


@pytest.mark.parametrize(("failures", "status", "left"), [(2, 204, 0), (99, 409, 1)])
def test_a_deletion_is_repeated_when_rows_refer_to_it_meanwhile(
    failures: int, status: int, left: int, carol: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed deletion is repeated; after four failures the row stays and nothing is recorded."""
    real, attempts = Upstream.delete, count()

    def delete(row: Upstream) -> Any:
        if next(attempts) < failures:
            raise IntegrityError("a foreign key")
        return real(row)

    monkeypatch.setattr(Upstream, "delete", delete)
    assert calling(carol).delete(f"{UPSTREAMS}{upstream.pk}/").status_code == status
    assert (Upstream.objects.count(), LogEntry.objects.count()) == (left, 1 - left)


RIGHTS = [
    ("GET", UPSTREAMS, "view_upstream", 200),
    ("GET", UPSTREAMS, "change_upstream", 200),
    ("POST", UPSTREAMS, "add_upstream", 201),
    ("GET", f"{UPSTREAMS}{{id}}/", "view_upstream", 200),
    ("PATCH", f"{UPSTREAMS}{{id}}/", "change_upstream", 200),
    ("DELETE", f"{UPSTREAMS}{{id}}/", "delete_upstream", 204),
]


@pytest.mark.parametrize(("method", "path", "right", "status"), RIGHTS)
def test_each_route_needs_djangos_permission(
    upstream: Upstream, method: str, path: str, right: str, status: int
) -> None:
    """A route needs exactly Django's permission and staff; other clients get 403 or 401."""
    path = path.format(id=upstream.pk)
    body = DEMO if method == "POST" else {} if method == "PATCH" else None
    others = staff_with(*({"view_upstream", "add_upstream", "change_upstream", "delete_upstream"} - ALLOWED[method]))
    ordinary = factories.user()
    ordinary.user_permissions.set(Permission.objects.filter(codename=right))
    refused = [(send(client, method, path, body)) for client in (Client(), calling(others), calling(ordinary))]
    assert [response.status_code for response in refused] == [401, 403, 403]
    assert [response.json()["error"]["code"] for response in refused] == ["not_authenticated", "forbidden", "forbidden"]
    assert send(calling(staff_with(right)), method, path, body).status_code == status


ALLOWED = {
    "GET": {"view_upstream", "change_upstream"},
    "POST": {"add_upstream"},
    "PATCH": {"change_upstream"},
    "DELETE": {"delete_upstream"},
}


STAFF_ROUTES = [pattern for pattern in urlpatterns if str(pattern.pattern).startswith("api/admin/")]


@pytest.mark.parametrize("route", STAFF_ROUTES, ids=lambda route: str(route.pattern))
def test_staff_routes_refuse_users_without_rights(route: Any) -> None:
    """All routes below /api/admin/ refuse anonymous clients, ordinary users, and staff without rights."""
    path = "/" + re.sub("<[^>]+>", "1", str(route.pattern))
    callers = (Client(), calling(factories.user()), calling(staff_with()))
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        assert [send(client, method, path, {}).status_code for client in callers] == [401, 403, 403], method


def test_unknown_fields_are_named(carol: Any, upstream: Upstream) -> None:
    """An unknown field is named together with other errors; nothing is changed."""
    response = send(calling(carol), "PATCH", f"{UPSTREAMS}{upstream.pk}/", {"colour": "red", "kind": "gopher"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "invalid_request"
    assert set(error["details"]) == {"colour", "kind"}
    upstream.refresh_from_db()
    assert upstream.kind == "scripted"


@pytest.mark.parametrize("body", [[], "text", None, 1])
def test_bodies_must_be_objects(carol: Any, body: Any) -> None:
    """A body that is not a JSON object is refused."""
    response = calling(carol).generic("POST", UPSTREAMS, json.dumps(body), "application/json")
    assert response.status_code == 400


def test_a_taken_name_is_refused(carol: Any, upstream: Upstream) -> None:
    """A name that is taken is refused with 400, which names the field."""
    response = send(calling(carol), "POST", UPSTREAMS, {**DEMO, "slug": upstream.slug})
    assert response.status_code == 400
    assert set(response.json()["error"]["details"]) == {"slug"}


def test_a_name_taken_meanwhile_is_refused(carol: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that another request takes between check and insert is refused in the same way."""
    from rest_framework import validators

    real, checks = validators.qs_exists, []

    def not_yet_visible(rows: Any) -> bool:
        checks.append(rows)
        return len(checks) > 1 and real(rows)

    monkeypatch.setattr(validators, "qs_exists", not_yet_visible)
    response = send(calling(carol), "POST", UPSTREAMS, {**DEMO, "slug": upstream.slug})
    assert response.status_code == 400
    assert set(response.json()["error"]["details"]) == {"slug"}
    assert len(checks) == 2


def test_a_row_with_references_is_a_conflict(carol: Any, alice: Any) -> None:
    """Deleting a row that others refer to is a conflict, and is not recorded."""
    quota = factories.quota("standard")
    model = factories.chat_model(of=quota)
    ledger.reserve(alice.pk, model.pk, "g1")
    request = APIRequestFactory().delete("/api/admin/quotas/")
    force_authenticate(request, carol)
    response = Quotas.as_view({"delete": "destroy"})(request, pk=quota.pk)
    assert (response.status_code, response.data["error"]["code"]) == (409, "conflict")
    assert Quota.objects.filter(pk=quota.pk).exists()
    assert not LogEntry.objects.exists()


def test_changes_are_in_the_admin_history(carol: Any) -> None:
    """The admin history records each change with user, row and fields, but without values."""
    client = calling(carol)
    row = send(client, "POST", UPSTREAMS, DEMO).json()
    send(client, "PATCH", f"{UPSTREAMS}{row['id']}/", {"proxy": "http://user:secret@10.0.0.1:3128"})
    client.delete(f"{UPSTREAMS}{row['id']}/")
    entries = list(LogEntry.objects.order_by("pk"))
    assert [(entry.user, entry.object_repr, entry.action_flag) for entry in entries] == [
        (carol, "other", flag) for flag in (1, 2, 3)
    ]
    assert json.loads(entries[1].change_message) == [{"changed": {"fields": ["proxy"]}}]
    assert all("secret" not in entry.change_message for entry in entries)


def test_a_huge_id_is_404(carol: Any) -> None:
    """An id that no database can store is not found."""
    assert calling(carol).get(f"{UPSTREAMS}{10**30}/").status_code == 404


def test_other_methods_are_refused(carol: Any, upstream: Upstream) -> None:
    """Other methods are refused with 405."""
    client = calling(carol)
    assert send(client, "PUT", f"{UPSTREAMS}{upstream.pk}/", DEMO).status_code == 405
    assert send(client, "DELETE", UPSTREAMS).status_code == 405
