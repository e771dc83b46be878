"""The OpenAPI document: valid, complete, and the same as the routes; a page shows it without foreign hosts."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from django.test import Client
from django.urls import URLPattern, URLResolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema

from chat.openai import views
from chatproject.openapi.document import document
from chatproject.urls import urlpatterns
from tests import test_docs
from web.openapi import METHODS
from web.schemas import Code

OURS = ("/api/", "/sse/", "/v1/", "/healthz", "/readyz", "/metrics")


def routes(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[tuple[str, URLPattern]]:
    """Yield all routes for programs as OpenAPI writes them, the parameters by their names."""
    for pattern in patterns:
        here = before + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)).replace("{pk}", "{id}")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, here) if here.startswith("/api/") else ()
        elif here.startswith(OURS) and pattern.callback is not views.unknown:
            yield here, pattern


def methods(view: Any) -> set[str]:
    """Return the methods of a view; those for operators are plain functions, which look at no method."""
    plain = getattr(view, "__module__", "") == "web.health"
    return {"GET"} if plain else test_docs.methods(view)


def described() -> set[str]:
    paths = document()["paths"]
    return {f"{name.upper()} {path}" for path, operations in paths.items() for name in operations}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document()["paths"].items():
        for method in METHODS:
            if method in found:
                yield method, path, found[method]


def references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(name)}:
            yield name
        case dict():
            for each in value.values():
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


def test_the_document_is_valid_openapi() -> None:
    """The document is valid OpenAPI 3.1, and drf-spectacular had nothing to complain about."""
    document.cache_clear()
    GENERATOR_STATS.reset()
    made = json.loads(json.dumps(document()))
    validate_schema(made)
    assert made["openapi"].startswith("3.1")
    assert not GENERATOR_STATS


def test_every_route_is_described() -> None:
    """Each route for programs is in the document with each of its methods, and none that does not exist."""
    real = {f"{name} {path}" for path, pattern in routes(urlpatterns) for name in methods(pattern.callback)}
    assert described() == real


def test_references_lead_somewhere() -> None:
    """Every component that is named exists, and every one that exists is named."""
    made = document()
    named = {name.rpartition("/")[2] for name in references(made)}
    assert named == set(made["components"]["schemas"])


def test_all_codes_are_described() -> None:
    """The refusal envelope lists the codes of all refusals and of all failures in streams."""
    told = {refusal.code for refusal in test_docs.refusals()} | test_docs.failures()
    assert set(get_args(Code)) == told


def test_events_are_described() -> None:
    """Each event of a stream has a schema of its own."""
    events = document()["paths"]["/api/chat/"]["post"]["responses"]["200"]["content"]["text/event-stream"]["x-events"]
    assert set(events) == set(test_docs.events())


def test_operations_say_who_may_call() -> None:
    """Each operation has an id of its own, a group, a summary, and says which proofs it takes."""
    ids = [operation["operationId"] for _method, _path, operation in operations()]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations():
        assert operation["summary"], (method, path)
        assert operation["tags"], (method, path)
        assert operation["security"], (method, path)
    schemes = document()["components"]["securitySchemes"]
    assert set(schemes) == {"session", "accessToken", "apiToken", "ticket"}


def test_strict_bodies() -> None:
    """Bodies below /api/ are described as closed: a field that is not in the schema is refused."""
    shapes = document()["components"]["schemas"]
    for _method, path, operation in operations():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content and path.startswith("/api/") and path != "/api/import/":
            schema = content["schema"]
            assert shapes[schema["$ref"].rpartition("/")[2]]["additionalProperties"] is False, path


@pytest.mark.contract("GET /api/schema/")
@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", "*/*", "application/vnd.oai.openapi"),
        ("", "application/json", "application/json"),
        ("", "application/vnd.oai.openapi+json", "application/vnd.oai.openapi+json"),
        ("?format=json", "*/*", "application/vnd.oai.openapi+json"),
        ("?format=yaml", "application/json", "application/vnd.oai.openapi"),
    ],
)
def test_both_forms(query: str, accept: str, kind: str) -> None:
    """`/api/schema/` is YAML, and JSON for those who ask for it by Accept or by `?format=json`; open to everybody."""
    answer = Client().get(f"/api/schema/{query}", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer["Content-Type"].partition(";")[0] == kind
    read = json.loads if "json" in kind else yaml.safe_load
    assert read(answer.content) == json.loads(json.dumps(document()))


def test_another_form() -> None:
    """A form that there is not is refused by name."""
    answer = Client().get("/api/schema/?format=xml")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["format"])


@pytest.mark.contract("GET /api/docs/")
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_page(language: str) -> None:
    """`/api/docs/` shows every route and every shape, with an example, needing no script and no foreign host."""
    answer = Client().get("/api/docs/", headers={"Accept-Language": language})
    text = answer.content.decode()
    assert answer.status_code == 200
    shown = re.findall(r'<span class="method \w+">(\w+)</span> <code>([^<]+)</code>', text)
    assert {f"{method} {path}" for method, path in shown} == set(described())
    assert all(f'id="shape-{name}"' in text for name in document()["components"]["schemas"])
    assert "curl -s -X POST http://testserver/api/chat/" in text
    assert "<script" not in text
    assert re.findall(r'(?:src|href)="(?:https?:)?//', text) == []
    assert re.findall(r"\sstyle=", text) == []
