"""The common behaviour of all JSON routes, read from the schema: refusals, request ids, strict bodies and 405."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from chatproject.openapi.pages import document
from tests.product import ApiUser, Product
from web.openapi import METHODS

JSON = "application/json"

pytestmark = pytest.mark.server
SAMPLES = {"key": "k", "generation_id": "0" * 32, "model_id": "demo"}
NO_ID = "999999999"


def operations(number: str = NO_ID) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the operations below /api/, /sse/ and /v1/, with values for their parameters; `number` for ids."""
    for path, found in document()["paths"].items():
        if not path.startswith(("/api/", "/sse/", "/v1/")):
            continue
        for method in METHODS:
            if method in found:
                yield (
                    method.upper(),
                    re.sub(r"{(\w+)}", lambda name: SAMPLES.get(name[1], number), path),
                    found[method],
                )


def check_envelope(response: httpx.Response) -> dict[str, Any]:
    """Check the format of a refusal; return its error."""
    assert response.headers["Content-Type"].startswith("application/json"), response.url
    body = response.json()
    assert response.headers["X-Request-ID"]
    if response.url.path.startswith("/v1/messages"):
        assert set(body) == {"type", "error", "request_id"}, response.url
        assert set(body["error"]) == {"type", "message"}, response.url
    elif response.url.path.startswith("/v1"):
        assert set(body["error"]) == {"message", "type", "param", "code"}, response.url
    else:
        assert set(body) == {"error", "request_id"}, response.url
        assert body["request_id"] == response.headers["X-Request-ID"]
        assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "details"}, response.url
    return dict(body["error"])


@pytest.mark.contract("refusal: not_authenticated", "the envelope")
def test_requests_without_credentials_are_refused(product: Product) -> None:
    """Without credentials a route responds 401; two routes send an event instead."""
    anonymous = product.client()
    for method, path, operation in operations():
        if {} in operation["security"]:
            continue
        response = anonymous.request(method, path, headers={"Content-Type": "application/json"})
        if method == "GET" and path in {"/api/chat/", "/api/chatgpt/test"}:
            assert (response.status_code, "not_authenticated" in response.text) == (200, True)
            continue
        assert response.status_code == 401, (method, path)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        error = check_envelope(response)
        named = error["type"] if path.startswith("/v1/messages") else error["code"]
        assert named in {"not_authenticated", "invalid_api_key", "authentication_error"}


@pytest.fixture(scope="module")
def admin(product: Product) -> ApiUser:
    return product.admin()


@pytest.mark.contract("the envelope")
def test_other_methods_are_refused_with_allow(admin: ApiUser) -> None:
    """Another method is refused with 405, and `Allow` names the valid ones."""
    known: dict[str, set[str]] = {}
    for method, path, _operation in operations():
        known.setdefault(path, set()).add(method)
    for path, methods in known.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            response = admin.client.request(method, path, headers={"Content-Type": "application/json"})
            assert response.status_code == 405, (method, path)
            allowed = {name.strip() for name in response.headers["Allow"].split(",")}
            assert allowed - {"HEAD", "OPTIONS"} == methods, path
            check_envelope(response)


@pytest.mark.contract("refusal: invalid_request")
def test_unknown_and_mistyped_fields_are_named(admin: ApiUser) -> None:
    """Unknown fields and wrong types are refused by name on all routes below /api/ with a body."""
    ids = _existing(admin)
    for method, path, operation in operations():
        if JSON not in media_types(operation) or path.startswith("/v1/"):
            continue
        here = _with_rows(path, ids)
        body = {"no_such_field": 1, **mistyped(operation)}
        response = admin.client.request(method, here, json=body)
        assert response.status_code == 400, (method, here, response.text)
        error = check_envelope(response)
        assert error["code"] == "invalid_request"
        if path != "/api/import/":
            assert set(body) <= set(error["details"]), (method, here, body, error["details"])


# Values of another JSON type that a lenient parser would accept.
OF_ANOTHER_TYPE = {"string": 5, "boolean": "yes", "integer": "5", "number": "5"}
# Ids may be given as digits, because clients take them from URLs.
AS_DIGITS = {"conversation", "parent"}


def mistyped(operation: dict[str, Any]) -> dict[str, Any]:
    """Return a body whose fields all have another type than in the schema."""
    found = {}
    for field, schema in fields_of(operation).items():
        kinds = schema.get("type", [""])
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind in OF_ANOTHER_TYPE and not schema.get("readOnly") and field not in AS_DIGITS:
            found[field] = OF_ANOTHER_TYPE[kind]
    return found


def fields_of(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an operation's JSON body, with their schemas."""
    name = media_types(operation).get(JSON, {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    return dict(document()["components"]["schemas"].get(name, {}).get("properties", {}))


def media_types(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the media types that an operation accepts."""
    return dict(operation.get("requestBody", {}).get("content", {}))


def _existing(admin: ApiUser) -> dict[str, int]:
    """Return the id of a row of each kind."""
    assert admin.client.post("/api/admin/redeem-codes/", json={"quota": "standard", "credits": 1, "count": 1})
    for kind, text in (("sensitive-words", "word"), ("allowed-phrases", "phrase")):
        assert admin.client.post(f"/api/admin/{kind}/", json={text: f"w{secrets.token_hex(5)}"}).status_code == 201
    pattern = {"title": "phones", "kind": "phone", "enabled": False}
    assert admin.client.post("/api/admin/sensitive-patterns/", json=pattern).status_code == 201
    refusal = {"category": f"c{secrets.token_hex(5)}", "text_en": "No."}
    assert admin.client.post("/api/admin/refusal-texts/", json=refusal).status_code == 201
    past = {"text_en": "over", "starts_at": "2000-01-01T00:00:00Z", "ends_at": "2001-01-01T00:00:00Z"}
    assert admin.client.post("/api/admin/announcements/", json=past).status_code == 201
    kinds = (
        *("upstreams", "keys", "models", "quotas", "redeem-codes", "users", "sensitive-words", "allowed-phrases"),
        *("announcements", "sensitive-patterns", "refusal-texts"),
    )
    found = {kind: admin.client.get(f"/api/admin/{kind}/").json()[-1]["id"] for kind in kinds}
    return {**found, "conversation": admin.ended(admin.ask("Hello", "plain")["id"])["conversation"]}


def _with_rows(path: str, ids: dict[str, int]) -> str:
    """Return a path with the ids of existing rows, whose routes look for the row before they read the body."""
    here = re.sub(rf"^(/api/admin/(\S+)/){NO_ID}/$", lambda found: f"{found[1]}{ids[found[2]]}/", path)
    return here.replace(f"conversations/{NO_ID}", f"conversations/{ids['conversation']}")


@pytest.mark.contract("refusal: not_found")
@pytest.mark.parametrize("number", ["0", NO_ID, "9" * 19, "9" * 30, "9" * 5_000, "-1", "1.5", "1e3", "%00", "१", "x"])
def test_ids_of_no_row_are_not_found(admin: ApiUser, number: str) -> None:
    """On every route an id that no row has is 404, malformed ones too, with a valid body; nothing is made."""
    for (method, path, operation), (_, pattern, _) in zip(operations(number), operations("one"), strict=True):
        if pattern == path or not path.startswith("/api/"):
            continue
        example = media_types(operation).get(JSON, {}).get("example", {})
        response = admin.client.request(method, path, json=None if method == "GET" else example)
        assert response.status_code == 404, (method, path, response.text)
        assert check_envelope(response)["code"] == "not_found"


# Bodies that are no JSON object.
NO_OBJECTS = [
    *(b"{", b"[]", b"null", b'"text"', b"5", b"NaN", b"[{}]", b'{"a":1}{}', b"\xff\xfe"),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000),
]


def test_bodies_must_be_json_objects(admin: ApiUser) -> None:
    """On every route other JSON than an object is refused with 400, a form with 415."""
    kinds = [*((body, JSON, 400) for body in NO_OBJECTS), (b"a=b", "application/x-www-form-urlencoded", 415)]
    ids = _existing(admin)
    for method, path, operation in operations():
        if JSON not in media_types(operation):
            continue
        for body, kind, status in kinds:
            if path.startswith("/v1/") and kind != JSON:
                continue  # some programs send JSON under another name there
            here = _with_rows(path, ids)
            response = admin.client.request(method, here, content=body, headers={"Content-Type": kind})
            assert response.status_code == status, (method, path, body[:20], response.text)
            error = check_envelope(response)
            assert "invalid_request" in (error.get("code") or error["type"]), (path, error)


def test_no_value_of_a_field_is_an_error_of_ours(admin: ApiUser) -> None:
    """Huge, malformed and nested values of each single field are refused, never a failure."""
    values = [10**30, "9" * 5_000, "\0", [None], None]
    ids = _existing(admin)
    for method, path, operation in operations():
        body = media_types(operation).get(JSON, {}).get("example", {})
        # What /v1 does not know it ignores; elsewhere an unknown field keeps everything as it is.
        body = {**body, "model": "no-such-model"} if path.startswith("/v1/") else {**body, "no_such_field": 1}
        for field, value in ((field, value) for field in fields_of(operation) for value in values):
            response = admin.client.request(method, _with_rows(path, ids), json={**body, field: value})
            assert response.status_code in {400, 404}, (method, path, field, value, response.text)
            check_envelope(response)


@pytest.mark.contract("X-Request-ID")
def test_every_response_has_its_own_request_id(api_user: ApiUser) -> None:
    """Successful responses have `X-Request-ID` too, each a different one."""
    request_ids = set()
    for method, path, _operation in operations():
        if method == "GET" and not path.startswith("/sse/"):
            with api_user.client.stream(method, path) as response:
                request_ids.add(response.headers["X-Request-ID"])
    gets = [path for method, path, _operation in operations() if method == "GET" and not path.startswith("/sse/")]
    assert len(request_ids) == len(gets)
