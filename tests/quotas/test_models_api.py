"""Staff routes of models: routes as a whole, the quota by slug, groups by name."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from providers.apps import providers_app
from providers.models import ChatModel, Route
from quotas.models import QuotaModel
from tests import factories
from tests.staff import calling, send

pytestmark = pytest.mark.django_db

MODELS = "/api/admin/models/"
DEADLINES = {"first": 600.0, "idle": None, "total": 3_600.0}


@pytest.fixture
def staff(carol: Any) -> Client:
    factories.quota("standard")
    factories.quota("premium")
    factories.upstream("one")
    factories.upstream("two")
    return calling(carol)


def whole(**changes: Any) -> dict[str, Any]:
    route = {"upstream": "one", "upstream_model": "vendor/m", "priority": 1, "weight": 3}
    route |= {"parameters": {"top_k": 4, "temperature": 0.7}, "drop": ["stop"], "deadlines": DEADLINES}
    return {
        "slug": "m",
        "title": "Model M",
        "description": "For everything",
        "quota": "premium",
        "context_tokens": 16_000,
        "parameters": {"temperature": 0.5},
        "enabled": True,
        "groups": [],
        "takes": ["images", "tools"],
        "allowed_tool_types": ["web_search"],
        "think_tags": False,
        "deadlines": DEADLINES,
        "routes": [{**route, "upstream": "two", "priority": 0}, route],
        **changes,
    }


@pytest.mark.contract("staff: models")
def test_a_model_is_made_with_all_its_parts(staff: Client) -> None:
    """A model is made with all its parts, and can be used at once."""
    Group.objects.create(name="编辑")
    made = send(staff, "POST", MODELS, whole(groups=["编辑"]))
    assert made.status_code == 201
    row = ChatModel.objects.get()
    assert made.json() == {"id": row.pk, **whole(groups=["编辑"])}
    assert staff.get(MODELS).json() == [made.json()]
    assert [group.name for group in row.groups.all()] == ["编辑"]
    model = providers_app().configuration.models()["m"]
    assert not model.think_tags
    routes = model.routes
    assert {route.upstream.slug: route.priority for route in routes} == {
        "two": 0,
        "one": 1,
    }


def test_a_new_model_has_sensible_values(staff: Client) -> None:
    """Slug and title are enough; the quota is then chosen as on the first run."""
    made = send(staff, "POST", MODELS, {"slug": "gpt-4-new", "title": "New"}).json()
    assert (made["quota"], made["routes"], made["groups"], made["enabled"]) == ("premium", [], [], True)
    assert (made["think_tags"], made["takes"]) == (True, None)
    assert made["deadlines"] == {"first": None, "idle": None, "total": None}
    assert send(staff, "POST", MODELS, {"slug": "a", "title": "A"}).json()["quota"] == "standard"
    assert send(staff, "POST", MODELS, {"slug": "b", "title": "B", "quota": None}).json()["quota"] is None


@pytest.mark.contract("staff: models")
def test_changes(staff: Client) -> None:
    """Routes and groups are replaced as a whole; fields left out stay."""
    Group.objects.create(name="editors")
    model = send(staff, "POST", MODELS, whole()).json()
    one = f"{MODELS}{model['id']}/"
    route = {"upstream": "one", "upstream_model": "other", "priority": 0, "weight": 1}
    route |= {"parameters": {}, "drop": []}
    change = {"routes": [{"upstream": "one", "upstream_model": "other"}], "groups": ["editors"], "quota": "standard"}
    answer = send(staff, "PATCH", one, change)
    assert answer.status_code == 200
    assert answer.json() == {**model, **change, "routes": [route]}
    assert [route.upstream_model for route in Route.objects.all()] == ["other"]
    assert send(staff, "PATCH", one, {"title": "T"}).json() == {**answer.json(), "title": "T"}
    assert send(staff, "PATCH", one, {"quota": None, "groups": [], "routes": []}).json()["quota"] is None
    assert not QuotaModel.objects.exists()
    assert not Route.objects.exists()


def test_lessons_and_passed_over_routes(staff: Client) -> None:
    """Staff see what a route learned and why requests pass it over; a row sent back keeps both, and both can go."""
    model = send(staff, "POST", MODELS, whole()).json()
    one = f"{MODELS}{model['id']}/"
    now = timezone.now()
    Route.objects.filter(upstream__slug="one").update(
        learned={"most_tokens": 4096}, passed_over_since=now, passed_over=3, passed_over_reason="gone"
    )
    shown = staff.get(one).json()["routes"]
    assert "learned" not in shown[0]
    assert "passed_over" not in shown[0]
    passed = shown[1]["passed_over"]
    assert (shown[1]["learned"], passed["requests"], passed["reason"]) == ({"most_tokens": 4096}, 3, "gone")
    assert datetime.fromisoformat(passed["since"]) == now
    assert send(staff, "PATCH", one, {"routes": shown}).json()["routes"] == shown

    cleared = [shown[0], {**shown[1], "learned": {}, "passed_over": None}]
    assert send(staff, "PATCH", one, {"routes": cleared}).json() == model
    row = Route.objects.get(upstream__slug="one")
    assert (row.learned, row.passed_over, row.passed_over_since) == ({}, 0, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"quota": "nothing"}, "quota"),
        ({"groups": ["nobody"]}, "groups"),
        ({"routes": [{"upstream": "nowhere", "upstream_model": "m"}]}, "routes"),
        ({"routes": [{"upstream": "one"}]}, "routes"),
        ({"routes": [{"upstream": "one", "upstream_model": "m", "weight": 0}]}, "routes"),
        ({"routes": [{"upstream": "one", "upstream_model": "m", "colour": "red"}]}, "routes"),
        ({"routes": [{"upstream": "one", "upstream_model": "m", "weight": n} for n in (1, 2)]}, "routes"),
        ({"routes": "all"}, "routes"),
        ({"parameters": {"max_tokens": 0}}, "parameters"),
        ({"parameters": [1]}, "parameters"),
        ({"parameters": {"stream": False}}, "parameters"),
        ({"takes": ["an image"]}, "takes"),
        ({"takes": "images"}, "takes"),
        ({"deadlines": {"first": 0}}, "deadlines"),
        ({"deadlines": {"first": "60"}}, "deadlines"),
        ({"deadlines": {"connect": 5}}, "deadlines"),
        ({"routes": [{"upstream": "one", "upstream_model": "m", "drop": ["messages"]}]}, "routes"),
        ({"routes": [{"upstream": "one", "upstream_model": "m", "drop": "temperature"}]}, "routes"),
        ({"routes": [{"upstream": "one", "upstream_model": "m", "parameters": {"max_tokens": 0}}]}, "routes"),
        ({"routes": [{"upstream": "one", "upstream_model": "m", "deadlines": {"total": 1e9}}]}, "routes"),
        ({"context_tokens": 0}, "context_tokens"),
        ({"slug": "no spaces"}, "slug"),
        ({"slug": "taken"}, "slug"),
        ({"title": ""}, "title"),
        ({"position": 1}, "position"),
    ],
)
def test_bad_models(staff: Client, change: dict[str, Any], field: str) -> None:
    """Each wrong field is named, and nothing of the change is kept."""
    factories.chat_model("taken")
    model = send(staff, "POST", MODELS, whole()).json()
    answer = send(staff, "PATCH", f"{MODELS}{model['id']}/", {"description": "changed", **change})
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) == {field}
    assert staff.get(f"{MODELS}{model['id']}/").json() == model


def test_deleting(staff: Client) -> None:
    """A model goes with its routes and its place in the quota."""
    model = send(staff, "POST", MODELS, whole()).json()
    assert staff.delete(f"{MODELS}{model['id']}/").status_code == 204
    assert not QuotaModel.objects.exists()
    assert "m" not in providers_app().configuration.models()


def test_few_queries(staff: Client, django_assert_max_num_queries: Any) -> None:
    """The list costs the same however many models there are."""
    for n in range(10):
        send(staff, "POST", MODELS, whole(slug=f"m{n}"))
    with django_assert_max_num_queries(12):
        assert len(staff.get(MODELS).json()) == 10
