"""The OpenAPI document: valid, complete, and in step with the routes; and its page."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from django.test import Client
from django.urls import URLPattern, URLResolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema

from chat.events import schemas
from chat.openai import views
from chatproject.openapi.pages import document
from chatproject.urls import urlpatterns
from tests import test_docs
from tests.servers import ROOT
from web.openapi import METHODS
from web.schemas import Code

OURS = ("/api/", "/sse/", "/v1/", "/healthz", "/readyz", "/metrics")


def routes(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[tuple[str, URLPattern]]:
    """Yield all routes for programs as OpenAPI writes them."""
    for pattern in patterns:
        here = before + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)).replace("{pk}", "{id}")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, here) if here.startswith("/api/") else ()
        elif here.startswith(OURS) and pattern.callback is not views.unknown:
            yield here, pattern


def methods(view: Any) -> set[str]:
    """Return the methods of a view; those of `web.health` are plain functions for GET."""
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


def read_yaml(content: bytes) -> Any:
    """Return what `yaml.safe_load` returns, which takes ten times as long without libyaml."""
    return yaml.load(content, yaml.CSafeLoader)


def test_the_document_is_valid_openapi() -> None:
    """The document is valid OpenAPI 3.1, and drf-spectacular printed no warning."""
    document.cache_clear()
    GENERATOR_STATS.reset()
    schema = json.loads(json.dumps(document()))
    validate_schema(schema)
    assert schema["openapi"].startswith("3.1")
    assert not GENERATOR_STATS


def test_it_has_the_version_of_the_release() -> None:
    """The document bears the version of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert document()["info"]["version"] == project["project"]["version"]


def test_every_route_is_described() -> None:
    """The document has exactly the routes for programs, with all methods."""
    real = {f"{name} {path}" for path, pattern in routes(urlpatterns) for name in methods(pattern.callback)}
    assert described() == real


def test_components_are_exactly_those_referred_to() -> None:
    """Every referenced component exists, and every component is referenced."""
    schema = document()
    named = {name.rpartition("/")[2] for name in references(schema)}
    assert named == set(schema["components"]["schemas"])


def test_all_codes_are_described() -> None:
    """The format of refusals lists the codes of all refusals and of all failures in streams."""
    codes = {refusal.code for refusal in test_docs.refusals()} | test_docs.failures()
    assert set(get_args(Code)) == codes


def test_events_are_described() -> None:
    """Each event of a stream has its own schema."""
    events = document()["paths"]["/api/chat/"]["post"]["responses"]["200"]["content"]["text/event-stream"]["x-events"]
    assert set(events) == set(schemas.CHAT.events)


def test_operations_say_who_may_call() -> None:
    """Each operation has an id, a group, a summary and its security schemes."""
    ids = [operation["operationId"] for _method, _path, operation in operations()]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations():
        assert operation["summary"], (method, path)
        assert operation["tags"], (method, path)
        assert operation["security"], (method, path)
    schemes = document()["components"]["securitySchemes"]
    assert set(schemes) == {"session", "accessToken", "apiToken", "ticket"}


def test_bodies_are_described_as_closed() -> None:
    """Bodies below /api/ allow no additional fields."""
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
def test_the_document_is_served_as_yaml_and_json(query: str, accept: str, kind: str) -> None:
    """`/api/schema/` is YAML, or JSON by Accept or `?format=json`, without login."""
    response = Client().get(f"/api/schema/{query}", headers={"Accept": accept})
    assert response.status_code == 200
    assert response["Content-Type"].partition(";")[0] == kind
    read = json.loads if "json" in kind else read_yaml
    assert read(response.content) == json.loads(json.dumps(document()))


def test_an_unknown_format_is_refused() -> None:
    """An unknown format is refused by name."""
    response = Client().get("/api/schema/?format=xml")
    assert (response.status_code, list(response.json()["error"]["details"])) == (400, ["format"])


@pytest.mark.contract("GET /api/docs/")
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_page_shows_all_routes_and_schemas(language: str) -> None:
    """`/api/docs/` shows all routes and schemas with examples, without inline scripts and foreign hosts."""
    response = Client().get("/api/docs/", headers={"Accept-Language": language})
    text = response.content.decode()
    assert response.status_code == 200
    shown = re.findall(r'<span class="method \w+">(\w+)</span> <code>([^<]+)</code>', text)
    assert {f"{method} {path}" for method, path in shown} == set(described())
    assert all(f'id="shape-{name}"' in text for name in document()["components"]["schemas"])
    assert "curl -s -X POST http://testserver/api/chat/" in text
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r'(?:src|href)="(?:https?:)?//', text) == []
    assert re.findall(r"\sstyle=", text) == []
