"""The generator of the OpenAPI document: it writes what views state, and nothing else."""

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views import View
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from web import openapi
from web.openapi import STREAM, Content, Operation
from web.schemas import Refusal

Shape = dict[str, Any]


class Row(TypedDict):
    name: str


@with_config(ConfigDict(extra="allow"))
class OpenRow(TypedDict):
    name: str


def view(operation: Operation) -> Any:
    """Return a new view that states the operation."""

    def handler(request: HttpRequest, **kwargs: object) -> HttpResponse:
        return HttpResponse()

    return operation(handler)


def written(operation: Operation, route: str = "api/rows/") -> Shape:
    """Return the operation as the document of one route has it."""
    paths: Shape = openapi.document([path(route, view(operation))])["paths"]
    ((_path, methods),) = paths.items()
    shape: Shape = methods["get"]
    return shape


def test_views_without_a_statement_are_left_out() -> None:
    """A route whose view states nothing is not in the document."""
    routes = [path("api/rows/", view(Operation("Rows", "All rows", returns=None))), path("page/", lambda _: None)]
    assert list(openapi.document(routes)["paths"]) == ["/api/rows/"]


def test_path_parameters_have_the_types_of_converters() -> None:
    """A converter gives a path parameter its type, and the operation may give it a narrower one."""
    operation = Operation("Rows", "One row", returns=None, path={"name": Row})
    parameters = written(operation, "api/rows/<int:pk>/<str:name>/<slug:tag>/")["parameters"]
    assert [(each["name"], each["required"], each["schema"]) for each in parameters] == [
        ("id", True, {"type": "integer"}),
        ("name", True, {"$ref": "#/components/schemas/Row"}),
        ("tag", True, {"type": "string", "pattern": "^(?:[-a-zA-Z0-9_]+)$"}),
    ]


def test_inherited_methods_are_stated_by_the_class() -> None:
    """A class states the operations of methods that it inherits; what a method states itself comes first."""

    class Rows(View):
        operations = {name: Operation("Rows", f"{name} of the class", returns=None) for name in ("get", "post")}

        @Operation("Rows", "get of the method", returns=None)
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse()

    found = openapi.operations(Rows.as_view())
    assert {method: each.summary for method, each in found.items()} == {
        "get": "get of the method",
        "post": "post of the class",
    }


def test_objects_are_closed() -> None:
    """An object has no fields beside its own, unless its type allows them."""
    schemas = openapi.document([path("x/", view(Operation("Rows", "Both", returns={200: Row, 201: OpenRow})))])
    assert schemas["components"]["schemas"]["Row"]["additionalProperties"] is False
    assert schemas["components"]["schemas"]["OpenRow"]["additionalProperties"] is True


def test_names_of_types_are_unique() -> None:
    """Two different types with one name are refused, because one would take the place of the other."""
    other = TypedDict("Row", {"id": int})  # noqa: UP013 (a second type of this name)
    with pytest.raises(ValueError, match="Row"):
        openapi.document([path("x/", view(Operation("Rows", "Both", returns={200: Row, 201: other})))])


def test_each_event_refers_to_its_type() -> None:
    """A stream names its events with their types; an event without a name is shown as such."""
    content = written(Operation("Rows", "Follow", returns=Content(str, (STREAM,), {"row": Row, "": Row})))
    row = {"$ref": "#/components/schemas/Row"}
    assert content["responses"]["200"]["content"][STREAM]["x-events"] == {"row": row, "(unnamed)": row}


@pytest.mark.parametrize(
    ("proof", "route", "statuses"),
    [
        ("open", "api/rows/", {"204", "400", "429", "503"}),
        ("any", "api/rows/", {"204", "400", "401", "403", "429", "503"}),
        ("any", "api/rows/<int:pk>/", {"204", "400", "401", "403", "404", "429", "503"}),
    ],
)
def test_refusals_of_all_routes_are_added(proof: openapi.Proof, route: str, statuses: set[str]) -> None:
    """Refusals that follow from proof and path need not be stated; each has the envelope."""
    responses = written(Operation("Rows", "All", returns={204: None}, refuses=(429,), proof=proof), route)["responses"]
    assert set(responses) == statuses
    assert responses["429"]["content"]["application/json"]["schema"] == {
        "$ref": f"#/components/schemas/{Refusal.__name__}"
    }
