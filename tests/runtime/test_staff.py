"""What all staff routes have in common: rights, strict bodies, conflicts, and a note of every change."""

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
    """Rows that others may need: reservations protect their quota."""

    model, serializer_class = Quota, QuotaRow


@pytest.fixture
def upstream() -> Upstream:
    return factories.upstream("demo")


@pytest.mark.contract("staff: upstreams")
def test_rows_are_made_listed_changed_and_deleted(carol: Any) -> None:
    """Rows are made (201), listed in a bare array, read, changed and deleted (204)."""
    client = calling(carol)
    made = send(client, "POST", UPSTREAMS, DEMO)
    assert made.status_code == 201
    row = made.json()
    assert client.get(UPSTREAMS).json() == [row]
    one = f"{UPSTREAMS}{row['id']}/"
    assert client.get(one).json() == row
    changed = send(client, "PATCH", one, {"enabled": False})
    assert (changed.status_code, changed.json()) == (200, {**row, "enabled": False})
    gone = client.delete(one)
    assert (gone.status_code, gone.content) == (204, b"")
    assert client.get(one).status_code == 404


@pytest.mark.parametrize(("failures", "status", "left"), [(2, 204, 0), (99, 409, 1)])
def test_written_to_while_deleted(
    failures: int, status: int, left: int, carol: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that others write into begins anew, a few times; then the row stays, and nothing is noted."""
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
def test_rights(upstream: Upstream, method: str, path: str, right: str, status: int) -> None:
    """A route wants exactly Django's right for it, from staff; others are refused, strangers with 401."""
    path = path.format(id=upstream.pk)
    body = DEMO if method == "POST" else {} if method == "PATCH" else None
    others = staff_with(*({"view_upstream", "add_upstream", "change_upstream", "delete_upstream"} - ALLOWED[method]))
    ordinary = factories.user()
    ordinary.user_permissions.set(Permission.objects.filter(codename=right))
    refused = [(send(client, method, path, body)) for client in (Client(), calling(others), calling(ordinary))]
    assert [answer.status_code for answer in refused] == [401, 403, 403]
    assert [answer.json()["error"]["code"] for answer in refused] == ["not_authenticated", "forbidden", "forbidden"]
    assert send(calling(staff_with(right)), method, path, body).status_code == status


ALLOWED = {
    "GET": {"view_upstream", "change_upstream"},
    "POST": {"add_upstream"},
    "PATCH": {"change_upstream"},
    "DELETE": {"delete_upstream"},
}


STAFF_ROUTES = [pattern for pattern in urlpatterns if str(pattern.pattern).startswith("api/admin/")]


@pytest.mark.parametrize("route", STAFF_ROUTES, ids=lambda route: str(route.pattern))
def test_every_staff_route(route: Any) -> None:
    """Whatever is below /api/admin/ is closed to strangers, to ordinary people, and to staff without rights."""
    path = "/" + re.sub("<[^>]+>", "1", str(route.pattern))
    callers = (Client(), calling(factories.user()), calling(staff_with()))
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        assert [send(client, method, path, {}).status_code for client in callers] == [401, 403, 403], method


def test_unknown_fields(carol: Any, upstream: Upstream) -> None:
    """A field that does not exist is refused by name beside what else is wrong; nothing is changed."""
    answer = send(calling(carol), "PATCH", f"{UPSTREAMS}{upstream.pk}/", {"colour": "red", "kind": "gopher"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert set(error["details"]) == {"colour", "kind"}
    upstream.refresh_from_db()
    assert upstream.kind == "scripted"


@pytest.mark.parametrize("body", [[], "text", None, 1])
def test_bodies_that_are_no_object(carol: Any, body: Any) -> None:
    """A body that is no JSON object is refused."""
    answer = calling(carol).generic("POST", UPSTREAMS, json.dumps(body), "application/json")
    assert answer.status_code == 400


def test_taken_names(carol: Any, upstream: Upstream) -> None:
    """A name that is taken is refused with 400, naming the field."""
    answer = send(calling(carol), "POST", UPSTREAMS, {**DEMO, "slug": upstream.slug})
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) == {"slug"}


def test_a_lost_race(carol: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that somebody takes between the check and the writing is refused just the same."""
    from rest_framework import validators

    real, looked = validators.qs_exists, []

    def not_yet_visible(rows: Any) -> bool:
        looked.append(rows)
        return len(looked) > 1 and real(rows)

    monkeypatch.setattr(validators, "qs_exists", not_yet_visible)
    answer = send(calling(carol), "POST", UPSTREAMS, {**DEMO, "slug": upstream.slug})
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) == {"slug"}
    assert len(looked) == 2


def test_rows_that_others_need(carol: Any, alice: Any) -> None:
    """Deleting a row that other data stands on is a conflict, and leaves no note of a deletion."""
    quota = factories.quota("standard")
    model = factories.chat_model(of=quota)
    ledger.reserve(alice.pk, model.pk, "g1")
    request = APIRequestFactory().delete("/api/admin/quotas/")
    force_authenticate(request, carol)
    answer = Quotas.as_view({"delete": "destroy"})(request, pk=quota.pk)
    assert (answer.status_code, answer.data["error"]["code"]) == (409, "conflict")
    assert Quota.objects.filter(pk=quota.pk).exists()
    assert not LogEntry.objects.exists()


def test_history(carol: Any) -> None:
    """Each change is in the admin's history: who, what row, which fields, never a value."""
    client = calling(carol)
    row = send(client, "POST", UPSTREAMS, DEMO).json()
    send(client, "PATCH", f"{UPSTREAMS}{row['id']}/", {"proxy": "http://somebody:secret@10.0.0.1:3128"})
    client.delete(f"{UPSTREAMS}{row['id']}/")
    entries = list(LogEntry.objects.order_by("pk"))
    assert [(entry.user, entry.object_repr, entry.action_flag) for entry in entries] == [
        (carol, "other", flag) for flag in (1, 2, 3)
    ]
    assert json.loads(entries[1].change_message) == [{"changed": {"fields": ["proxy"]}}]
    assert all("secret" not in entry.change_message for entry in entries)


def test_huge_ids(carol: Any) -> None:
    """An id that no database could hold is not found."""
    assert calling(carol).get(f"{UPSTREAMS}{10**30}/").status_code == 404


def test_other_methods(carol: Any, upstream: Upstream) -> None:
    """What is neither of the routes' methods is refused with 405."""
    client = calling(carol)
    assert send(client, "PUT", f"{UPSTREAMS}{upstream.pk}/", DEMO).status_code == 405
    assert send(client, "DELETE", UPSTREAMS).status_code == 405
