"""The whole document: staff rows from their serializers, everything else from the table of routes."""

import re
from functools import cache
from typing import Any

from django.utils import translation
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from pydantic import BaseModel

from chat.channels import push
from chatproject.openapi.routes import JSON, ROUTES, Answer, Route
from chatproject.openapi.shapes import COMPONENTS, TEXT, WHOLE, Shape, ref

STAFF = "Staff"
METHODS = ("get", "post", "put", "patch", "delete")

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
_PROOFS = {
    "open": [],
    "any": ["session", "accessToken", "apiToken"],
    "bearer": ["accessToken", "apiToken"],
    "ticket": ["session", "accessToken", "apiToken", "ticket"],
}
_PATH_SHAPES: dict[str, Shape] = {
    "generation_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "key": {"type": "string", "pattern": f"^(?:{push.KEY.pattern})$"},
    "model_id": TEXT,
}
_STAFF_QUERIES = {("get", "/api/admin/credits/"): "user", ("get", "/api/admin/redeem-codes/"): "batch"}
_REFUSED = {
    400: "`invalid_request`, `invalid_code`: body or parameters are wrong; `details` names each field",
    401: "`not_authenticated`: no proof, a bad one, or a disabled user",
    403: "`forbidden`, `account_incomplete`: not allowed, a failed CSRF check, a cross-site GET",
    404: "`not_found`: unknown, or not yours",
    405: "`invalid_request`: a wrong method; `Allow` names the right ones",
    409: "`conflict`: does not go together with what is stored",
    413: "`prompt_too_long`: the prompt or the body is too large",
    415: "`invalid_request`: a wrong content type",
    422: "`content_blocked`: the prompt was refused by moderation",
    429: "`quota_exhausted`, `too_many_requests`; `Retry-After` is in seconds",
    500: "`server_error`: a fault of ours; nothing was charged",
    502: "`upstream_error`: the upstream failed",
    503: "`service_unavailable`, `model_unavailable`; `Retry-After` is in seconds",
    504: "`upstream_timeout`: the upstream did not answer in time",
}


class Schema(AutoSchema):
    """What drf-spectacular reads from a DRF view; answers and parameters of described routes come from the table."""

    def get_operation_id(self) -> str:
        return _operation_id(self.method, self.path)

    def get_request_serializer(self) -> Any:
        route = ROUTES.get((self.method, self.path))
        return (None if isinstance(route.body, dict) else route.body) if route else super().get_request_serializer()

    def get_response_serializers(self) -> Any:
        return {} if (self.method, self.path) in ROUTES else super().get_response_serializers()

    def get_auth(self) -> list[Shape]:
        return []  # said for all routes alike, below

    def get_tags(self) -> list[str]:
        return [STAFF]


@cache
def document() -> dict[str, Any]:
    """Return the document; the same for all callers, so it is made once, in English."""
    with translation.override("en"):
        generator: Any = SchemaGenerator  # it has no types
        made: dict[str, Any] = generator().get_schema(request=None, public=True)
    return made


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add to drf-spectacular's document what it cannot read: a postprocessing hook of its settings."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(COMPONENTS | _pydantic())
    components["securitySchemes"] = _SECURITY
    paths: dict[str, Any] = result["paths"]
    for (method, path), route in ROUTES.items():
        found = paths.setdefault(path, {}).get(method.lower(), {})
        paths[path][method.lower()] = _operation(method, path, route, found)
    for path, operations in paths.items():
        for method, operation in operations.items():
            if (method.upper(), path) not in ROUTES:
                _complete_staff(method, path, operation)
    _forbid_unknown_fields(components["schemas"])
    result["paths"] = dict(sorted(paths.items()))
    return result


def _pydantic() -> dict[str, Shape]:
    """Return the bodies that are pydantic models, and the models within them."""
    found: dict[str, Shape] = {}
    for route in ROUTES.values():
        if isinstance(route.body, type) and issubclass(route.body, BaseModel):
            schema = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
            found |= schema.pop("$defs", {})
            found[route.body.__name__] = schema
    return found


def _operation(method: str, path: str, route: Route, found: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(method, path),
        "tags": [route.group],
        "summary": route.summary,
        "parameters": _parameters(path, route),
        "security": [{name: []} for name in _PROOFS[route.proof]] or [{}],
        "responses": _answers(route) | _refusals(path, _statuses(method, path, route)),
    }
    if isinstance(route.body, type) and issubclass(route.body, BaseModel):
        operation["requestBody"] = _body(ref(route.body.__name__))
    elif isinstance(route.body, dict):
        operation["requestBody"] = _body(route.body, route.media)
    elif route.body is not None:
        operation["requestBody"] = found["requestBody"]
    if route.example is not None:
        operation["requestBody"]["content"][JSON]["example"] = route.example
    operation["responses"] = dict(sorted(operation["responses"].items()))
    return operation


def _operation_id(method: str, path: str) -> str:
    words = re.sub(r"\W+", "_", path.removeprefix("/api/")).strip("_")
    bare = "_bare" if path == "/sse/{key}" else ""
    return f"{words}{bare}_{method.lower()}"


def _body(schema: Shape, media: tuple[str, ...] = (JSON,)) -> dict[str, Any]:
    return {"content": {each: {"schema": schema} for each in media}, "required": True}


def _parameters(path: str, route: Route) -> list[dict[str, Any]]:
    named = [
        {"in": "path", "name": name, "required": True, "schema": _PATH_SHAPES.get(name, WHOLE)}
        for name in re.findall(r"{(\w+)}", path)
    ]
    queried = [{"in": "query", "name": name, "schema": shape} for name, shape in route.query.items()]
    sent = [{"in": "header", "name": name, "schema": TEXT} for name in route.headers]
    return [*named, *queried, *sent]


def _answers(route: Route) -> dict[str, Any]:
    return {str(status): _answer(status, answers) for status, answers in route.answers.items()}


def _answer(status: int, answers: tuple[Answer, ...]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for answer in answers:
        if answer.shape is not None:
            content[answer.media] = {"schema": answer.shape}
        if answer.events:
            content[answer.media]["x-events"] = {name or "(unnamed)": ref(to) for name, to in answer.events.items()}
    described = {"description": "Nothing more to say." if status == 204 else "Done."}
    return {**described, "content": content} if content else described


def _statuses(method: str, path: str, route: Route) -> set[int]:
    """Return with which statuses a route may refuse."""
    usual = {400, 503} | ({401, 403} if route.proof != "open" else set())
    missing = {404} if "{" in path else set()
    bodily = {413, 415} if method in {"POST", "PATCH", "DELETE"} else set()
    return (usual | missing | bodily | set(route.refused)) - set(route.answers)


def _refusals(path: str, statuses: set[int]) -> dict[str, Any]:
    shape = ref("OpenAIRefusal" if path.startswith("/v1/") else "Refusal")
    return {str(status): {"description": _REFUSED[status], "content": {JSON: {"schema": shape}}} for status in statuses}


def _complete_staff(method: str, path: str, operation: dict[str, Any]) -> None:
    statuses = {400, 401, 403, 409, 413, 415, 503} | ({404} if "{" in path else set())
    operation["responses"] = dict(sorted({**operation["responses"], **_refusals(path, statuses)}.items()))
    for status, answer in operation["responses"].items():
        answer["description"] = answer["description"] or ("Nothing more to say." if status == "204" else "Done.")
    operation["security"] = [{name: []} for name in _PROOFS["any"]]
    operation.pop("description", None)
    operation.setdefault("summary", _staff_summary(method, path))
    if name := _STAFF_QUERIES.get((method, path)):
        operation.setdefault("parameters", []).append({"in": "query", "name": name, "schema": TEXT})
    if body := operation.get("requestBody"):
        body["content"] = {JSON: body["content"][JSON]}


def _staff_summary(method: str, path: str) -> str:
    row = path.split("/")[3].replace("-", " ")
    if "{" in path:
        return {"get": "One of the", "patch": "Change one of the", "delete": "Delete one of the"}[method] + f" {row}"
    return {"get": "All", "post": "Add to the"}[method] + f" {row}"


def _forbid_unknown_fields(schemas: dict[str, Any]) -> None:
    for name, schema in schemas.items():
        if name.endswith("Request"):
            schema["additionalProperties"] = False
