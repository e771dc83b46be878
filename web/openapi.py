"""The OpenAPI document: the decorator that describes operations, and the generator that reads it.

Views carry `@Operation(...)`. pydantic describes types, and drf-spectacular describes serializers. This module does not
name any of our routes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Annotated, Any, Literal, TypeVar

from django.urls import URLPattern, URLResolver
from django.urls.converters import IntConverter, PathConverter, StringConverter
from django.utils import translation
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from rest_framework.serializers import BaseSerializer

from web.schemas import Refusal

JSON, STREAM = "application/json", "text/event-stream"
METHODS = ("get", "post", "put", "patch", "delete")

Shape = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
# Who may call: any caller, a user with any proof, a user with a token only, or with a ticket too.
Proof = Literal["open", "any", "bearer", "ticket"]

_SECURITY: dict[str, Shape] = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "Unsafe methods need the header X-CSRFToken with the value of the cookie csrftoken.",
    },
    "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "apiToken": {"type": "http", "scheme": "bearer", "bearerFormat": "sk-…"},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "From POST /api/tickets/; one use."},
}
_PROOFS: dict[Proof, list[Shape]] = {
    "open": [{}],
    "any": [{"session": []}, {"accessToken": []}, {"apiToken": []}],
    "bearer": [{"accessToken": []}, {"apiToken": []}],
    "ticket": [{name: []} for name in _SECURITY],
}
_DONE = {200: "Done.", 201: "Created.", 202: "Accepted.", 204: "Done; there is no content."}
_REFUSED = {
    400: "`invalid_request`, `invalid_code`: body or parameters are wrong; `details` names each field",
    401: "`not_authenticated`: no proof, a bad one, or a disabled user",
    403: "`forbidden`, `account_incomplete`, `terms_required`, `reauthentication_required`: not allowed, no CSRF token,"
    " cross-site GET",
    404: "`not_found`: unknown, or not yours",
    409: "`conflict`: conflicts with what is stored",
    413: "`prompt_too_long`: the prompt or the body is too large; `storage_full`: the user keeps too much",
    415: "`invalid_request`: a wrong content type",
    422: "`content_blocked`: the prompt was refused by moderation",
    429: "`quota_exhausted`, `too_many_requests`; `Retry-After` is in seconds",
    500: "`server_error`: an internal error; nothing was charged",
    502: "`upstream_error`: the upstream failed",
    503: "`service_unavailable`, `model_unavailable`; `Retry-After` is in seconds",
    504: "`upstream_timeout`: the upstream did not respond in time",
}


@dataclass(frozen=True)
class Content:
    """A body that is not plain JSON, with its media types and a stream's events."""

    kind: Any
    media: tuple[str, ...]
    # By event name; "" is an event without one.
    events: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Operation:
    """Decorate the handler of one method of one route with its description.

    `returns` is the type of a 200, or a mapping from status to type: None is no content, a tuple several media types.
    Where it is left out, the serializer of the view set is returned. `body` and types may be anything that pydantic
    describes, a `Content`, and for bodies a serializer. `refuses` are statuses beside those that all routes share.
    """

    group: str
    summary: str
    description: str = ""
    returns: Any = ...
    body: Any = None
    example: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    # Types of path parameters that say more than the route's converters.
    path: Mapping[str, Any] = field(default_factory=dict)
    refuses: tuple[int, ...] = ()
    refusal: Any = Refusal
    proof: Proof = "any"

    def __call__(self, view: View) -> View:
        vars(view)["operation"] = self
        return view


@dataclass(frozen=True)
class Route:
    """One method of one path, as OpenAPI writes it, with the types of its parameters."""

    method: str
    path: str
    parameters: Mapping[str, Any]
    operation: Operation


def routes(patterns: Iterable[URLPattern | URLResolver], before: str = "/") -> Iterator[Route]:
    """Yield each method of each route whose view has an operation."""
    for pattern in patterns:
        path = before + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)).replace("{pk}", "{id}")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
            continue
        converters = pattern.pattern.converters
        parameters = {name.replace("pk", "id"): _converted(converter) for name, converter in converters.items()}
        for method, operation in operations(pattern.callback).items():
            yield Route(method, path, {**parameters, **operation.path}, operation)


def operations(view: Any) -> dict[str, Operation]:
    """Return the operations of a function view, view class or view set, by method."""
    owner = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if owner is None:
        named = getattr(view, "views", {"GET": view})
        found = {name.lower(): getattr(each, "operation", None) for name, each in named.items()}
    else:
        actions = getattr(view, "actions", None) or {method: method for method in METHODS}
        found = {method: _operation_of(owner, action) for method, action in actions.items() if method in METHODS}
    return {method: operation for method, operation in found.items() if operation}


def _operation_of(owner: Any, action: str) -> Operation | None:
    """Return the operation of a method, or the one that its class states for it."""
    stated: Operation | None = getattr(getattr(owner, action, None), "operation", None)
    return stated or getattr(owner, "operations", {}).get(action)


def _converted(converter: Any) -> Any:
    if isinstance(converter, IntConverter):
        return int
    plain = type(converter) in {StringConverter, PathConverter}
    return str if plain else Annotated[str, Field(pattern=f"^(?:{converter.regex})$")]


def document(patterns: Iterable[URLPattern | URLResolver]) -> dict[str, Any]:
    """Return the document of all routes that are described, in English."""
    with translation.override("en"):
        generator: Any = SchemaGenerator  # it has no types
        made: dict[str, Any] = generator().get_schema(request=None, public=True)
        writer = _Writer(made.pop("components").get("schemas", {}))
        read: Shape = made.pop("paths")
        paths: dict[str, dict[str, Shape]] = {}
        for route in routes(patterns):
            from_serializers = read.get(route.path, {}).get(route.method, {})
            paths.setdefault(route.path, {})[route.method] = writer.operation(route, from_serializers)
    components = {"schemas": writer.schemas, "securitySchemes": _SECURITY}
    return {**made, "paths": dict(sorted(paths.items())), "components": components}


class Schema(AutoSchema):
    """Read the serializers of a DRF view; `_Writer` writes the rest."""

    def get_operation_id(self) -> str:
        return _id(self.method.lower(), self.path)

    def get_request_serializer(self) -> Any:
        stated = self._stated()
        if stated is None or stated.returns is ...:
            return super().get_request_serializer()
        return stated.body if _is_serializer(stated.body) else None

    def get_response_serializers(self) -> Any:
        stated = self._stated()
        return super().get_response_serializers() if stated is None or stated.returns is ... else {}

    def get_auth(self) -> list[Shape]:
        return []  # our own authenticator; `_Writer` writes its security schemes

    def _stated(self) -> Operation | None:
        return _operation_of(type(self.view), getattr(self.view, "action", None) or self.method.lower())


class _Types(GenerateJsonSchema):
    """Describe types as we return them: without titles and without additional fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def typed_dict_schema(self, schema: Any) -> Shape:
        return {"additionalProperties": False, **super().typed_dict_schema(schema)}


class _Writer:
    """Write operations, and collect the named schemas that they refer to."""

    def __init__(self, schemas: dict[str, Shape]) -> None:
        self.schemas = schemas
        for name, schema in schemas.items():
            if name.endswith("Request"):  # our serializers refuse unknown fields
                schema["additionalProperties"] = False

    def operation(self, route: Route, read: Shape) -> Shape:
        """Return one operation; `read` is what drf-spectacular knows of it."""
        stated = route.operation
        resource = [part for part in route.path.split("/") if part and "{" not in part][-1].replace("-", " ")
        operation = {
            "operationId": _id(route.method, route.path),
            "tags": [stated.group],
            "summary": stated.summary.format(resource=resource),
            "description": stated.description,
            "parameters": [
                *(self._parameter("path", name, kind) for name, kind in route.parameters.items()),
                *(self._parameter("query", name, kind) for name, kind in stated.query.items()),
                *(self._parameter("header", name, str) for name in stated.headers),
            ],
            "requestBody": self._body(stated, read),
            "security": _PROOFS[stated.proof],
            "responses": self._responses(route, read),
        }
        return {name: value for name, value in operation.items() if value}

    def _parameter(self, place: str, name: str, kind: Any) -> Shape:
        parameter = {"in": place, "name": name, "schema": self._schema(kind)}
        return {**parameter, "required": True} if place == "path" else parameter

    def _body(self, stated: Operation, read: Shape) -> Shape:
        if stated.body is None or _is_serializer(stated.body):
            body = dict(read.get("requestBody", {}))
            body |= {"content": {JSON: body["content"][JSON]}} if body else {}
        else:
            body = {"content": self._content(stated.body), "required": True}
        if stated.example is not None:
            body["content"][JSON]["example"] = stated.example
        return body

    def _responses(self, route: Route, read: Shape) -> Shape:
        stated = route.operation
        if stated.returns is ...:
            returned = {int(status): each.get("content", {}) for status, each in read["responses"].items()}
        else:
            kinds = stated.returns if isinstance(stated.returns, Mapping) else {200: stated.returns}
            returned = {status: self._content(kind) for status, kind in kinds.items()}
        refused = dict.fromkeys(_refusals(route) - returned.keys(), self._content(stated.refusal))
        texts = _REFUSED | _DONE
        return {
            str(status): {"description": texts[status]} | ({"content": content} if content else {})
            for status, content in sorted((returned | refused).items())
        }

    def _content(self, kind: Any) -> dict[str, Shape]:
        if kind is None:
            return {}
        if isinstance(kind, tuple):
            return {media: each for part in kind for media, each in self._content(part).items()}
        content = kind if isinstance(kind, Content) else Content(kind, (JSON,))
        events = {name or "(unnamed)": self._schema(each) for name, each in content.events.items()}
        described = {"schema": self._schema(content.kind)} | ({"x-events": events} if events else {})
        return {media: dict(described) for media in content.media}

    def _schema(self, kind: Any) -> Shape:
        """Return the schema of a type: a reference for a named one."""
        # As an item of a list even the outermost type becomes a reference.
        listed: Any = GenericAlias(list, (kind,))
        made = TypeAdapter(listed).json_schema(ref_template="#/components/schemas/{model}", schema_generator=_Types)
        for name, schema in made.pop("$defs", {}).items():
            schema.pop("title", None)
            if self.schemas.setdefault(name, schema) != schema:
                raise ValueError(f"Two types of the API have the name {name}")
        shape: Shape = made["items"]
        return shape


def _refusals(route: Route) -> set[int]:
    """Return the statuses with which a route may refuse."""
    shared = {400, 503} | ({401, 403} if route.operation.proof != "open" else set())
    missing = {404} if route.parameters else set()
    of_bodies = {413, 415} if route.method in {"post", "patch", "delete"} else set()
    return shared | missing | of_bodies | set(route.operation.refuses)


def _id(method: str, path: str) -> str:
    words = re.sub(r"\W+", "_", path.removeprefix("/api/")).strip("_")
    # A route may stand with and without a slash at its end.
    return f"{words}_{method}" if path.endswith("/") or not path.startswith("/sse/") else f"{words}_bare_{method}"


def _is_serializer(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseSerializer)
