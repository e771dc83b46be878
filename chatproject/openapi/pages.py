"""`/api/schema/` and `/api/docs/`: the OpenAPI document as a file and as a page, without login."""

import json
import re
from functools import cache
from typing import Any, Literal

import yaml
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import get_resolver
from django.utils.decorators import method_decorator
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views import View
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.vary import vary_on_headers

from web import openapi
from web.openapi import JSON, METHODS, Content, Operation
from web.refusals import InvalidRequest, MethodNotAllowed

# The groups of the page, in its order: those for most users first, those for staff last.
_GROUPS = (
    *(gettext_noop("Accounts"), gettext_noop("Models and quotas"), gettext_noop("Chat")),
    *(
        gettext_noop("Attachments"),
        gettext_noop("Conversations"),
        gettext_noop("Sharing"),
        gettext_noop("Presets"),
        gettext_noop("Push channels"),
    ),
    *(
        gettext_noop("OpenAI-compatible"),
        gettext_noop("Anthropic-compatible"),
        gettext_noop("Operations"),
        gettext_noop("Staff"),
    ),
)
_YAML, _JSON = "application/vnd.oai.openapi", "application/vnd.oai.openapi+json"


@cache
def document() -> dict[str, Any]:
    """Return the document of all our routes, the same for all callers."""
    return openapi.document(get_resolver().url_patterns)


# Without `csrf_exempt`, POST would be refused for its CSRF token and not for its method.
@method_decorator(csrf_exempt, name="dispatch")
class Page(View):
    """A page that refuses all methods but GET in the format of /api/."""

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        raise MethodNotAllowed(["GET"])

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return self.http_method_not_allowed(request)


@method_decorator([cache_control(max_age=300), vary_on_headers("Accept")], name="get")
class Document(Page):
    """`GET /api/schema/`."""

    @Operation(
        "Operations",
        "This description",
        "YAML, or JSON with `Accept: application/json` or `?format=json`.",
        returns=Content(Any, (JSON, _JSON, "application/yaml", _YAML)),
        query={"format": Literal["json", "yaml"]},
        proof="open",
    )
    def get(self, request: HttpRequest) -> HttpResponse:
        form = request.GET.get("format") or ("json" if "json" in request.headers.get("Accept", "") else "yaml")
        if form not in {"json", "yaml"}:
            raise InvalidRequest(details={"format": [_("Expected json or yaml.")]})
        kind = f"{_YAML}; charset=utf-8"
        if form == "json":
            kind = "application/json" if "application/json" in request.headers.get("Accept", "") else _JSON
        return HttpResponse(_serialized(form), content_type=kind)


@cache
def _serialized(form: str) -> str:
    """Return the document as text, once, because writing YAML takes seconds."""
    text = json.dumps(document(), ensure_ascii=False)
    return text if form == "json" else yaml.safe_dump(json.loads(text), allow_unicode=True, sort_keys=False)


class Docs(Page):
    """`GET /api/docs/`."""

    @Operation("Operations", "This description as a page", returns=Content(str, ("text/html",)), proof="open")
    def get(self, request: HttpRequest) -> HttpResponse:
        schema, base = document(), request.build_absolute_uri("/")[:-1]
        groups: dict[str, list[dict[str, Any]]] = {group: [] for group in _GROUPS}
        for path, operations in schema["paths"].items():
            for method in METHODS:
                if operation := operations.get(method):
                    groups[operation["tags"][0]].append(_operation_row(method, path, operation, base))
        shapes = [
            {"name": name, "fields": _field_rows(shape), "kind": _linked(_kind(shape))}
            for name, shape in sorted(schema["components"]["schemas"].items())
        ]
        return render(request, "api.html", {"groups": groups, "shapes": shapes})


def _linked(kind: str) -> SafeString:
    """Return the text of a type as HTML, with links to the named schemas."""
    shapes = document()["components"]["schemas"]
    words = re.split(r"(\w+)", kind)
    shown = (format_html('<a href="#shape-{0}">{0}</a>', word) if word in shapes else escape(word) for word in words)
    return mark_safe("".join(shown))  # noqa: S308  (every word is escaped)


def _operation_row(method: str, path: str, operation: dict[str, Any], base: str) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    responses = [_response_row(status, response) for status, response in operation["responses"].items()]
    return {
        "method": method.upper(),
        "path": path,
        "anchor": operation["operationId"],
        "summary": _worded(operation["summary"]),
        "description": _worded(operation.get("description", "")),
        "parameters": [
            (each["name"], each["in"], _linked(_kind(each["schema"]))) for each in operation.get("parameters", [])
        ],
        "body": _field_rows(_resolved(content["schema"])) if content else [],
        "body_name": _linked(_kind(content["schema"])) if content else "",
        "responses": [each for each in responses if each["status"] < "4"],
        "refusals": [each for each in responses if each["status"] >= "4"],
        "example": _curl(method, base + path, operation, content.get("example")),
    }


def _response_row(status: str, response: dict[str, Any]) -> dict[str, Any]:
    content = response.get("content", {})
    kinds = [(media, _linked(_kind(each["schema"]))) for media, each in content.items()]
    events = [
        (name, _linked(_kind(shape))) for each in content.values() for name, shape in each.get("x-events", {}).items()
    ]
    return {"status": status, "description": _worded(response["description"]), "kinds": kinds, "events": events}


def _worded(text: str) -> SafeString:
    """Return a text as HTML, with parts in backticks as code."""
    return mark_safe(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S308  (the text is escaped)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the component that a schema refers to, or the schema itself."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return document()["components"]["schemas"][name] if name else schema


def _kind(schema: dict[str, Any]) -> str:
    """Return a schema as a short text; named components by their names."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if alternatives := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " | ".join(_kind(each) for each in alternatives)
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_kind(schema.get('items', {}))}]"
    if kind == "object" and "properties" in schema:
        return "{" + ", ".join(schema["properties"]) + "}"
    return " | ".join(kind) if isinstance(kind, list) else str(schema.get("format", kind))


def _field_rows(schema: dict[str, Any]) -> list[tuple[str, SafeString, bool]]:
    """Return the fields of an object: name, type, and whether the field is required."""
    required = schema.get("required", [])
    return [(name, _linked(_kind(each)), name in required) for name, each in schema.get("properties", {}).items()]


def _curl(method: str, url: str, operation: dict[str, Any], example: Any) -> str:
    words = ["curl -s"] if method == "get" else [f"curl -s -X {method.upper()}"]
    words.append(url)
    if {} not in operation.get("security", []):
        words.append('-H "Authorization: Bearer $TOKEN"')
    if example is not None:
        words.append(f"-H 'Content-Type: application/json' -d '{json.dumps(example, ensure_ascii=False)}'")
    return " ".join(words)
