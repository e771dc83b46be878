"""What all JSON routes have in common, taken from the schema: envelope, request id, strict bodies, 405 with Allow."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from chatproject.openapi.document import document
from tests.product import Person, Product
from web.openapi import METHODS

JSON = "application/json"

pytestmark = pytest.mark.server
SAMPLES = {"key": "k", "generation_id": "0" * 32, "model_id": "demo"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the operations below /api/, /sse/ and /v1/, their parameters filled in."""
    for path, found in document()["paths"].items():
        if not path.startswith(("/api/", "/sse/", "/v1/")):
            continue
        for method in METHODS:
            if method in found:
                yield (
                    method.upper(),
                    re.sub(r"{(\w+)}", lambda name: SAMPLES.get(name[1], "999999999"), path),
                    found[method],
                )


def check_envelope(answer: httpx.Response) -> dict[str, Any]:
    """Return the error of a refusal that has the form of its surface."""
    assert answer.headers["Content-Type"].startswith("application/json"), answer.url
    body = answer.json()
    assert answer.headers["X-Request-ID"]
    if answer.url.path.startswith("/v1"):
        assert set(body["error"]) == {"message", "type", "param", "code"}, answer.url
    else:
        assert set(body) == {"error", "request_id"}, answer.url
        assert body["request_id"] == answer.headers["X-Request-ID"]
        assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "details"}, answer.url
    return dict(body["error"])


@pytest.mark.contract("refusal: not_authenticated", "the envelope")
def test_without_a_proof_the_envelope_says_401(product: Product) -> None:
    """Without a proof every route that needs one says 401 in the envelope; on two routes as an event."""
    nobody = product.client()
    for method, path, operation in operations():
        if {} in operation["security"]:
            continue
        answer = nobody.request(method, path, headers={"Content-Type": "application/json"})
        if method == "GET" and path in {"/api/chat/", "/api/chatgpt/test"}:
            assert (answer.status_code, "not_authenticated" in answer.text) == (200, True)
            continue
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert check_envelope(answer)["code"] in {"not_authenticated", "invalid_api_key"}


@pytest.fixture(scope="module")
def admin(product: Product) -> Person:
    return product.admin()


@pytest.mark.contract("the envelope")
def test_wrong_methods(admin: Person) -> None:
    """A method that a route has not is refused with 405, and `Allow` names those that it has."""
    known: dict[str, set[str]] = {}
    for method, path, _operation in operations():
        known.setdefault(path, set()).add(method)
    for path, methods in known.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            answer = admin.client.request(method, path, headers={"Content-Type": "application/json"})
            assert answer.status_code == 405, (method, path)
            allowed = {name.strip() for name in answer.headers["Allow"].split(",")}
            assert allowed - {"HEAD", "OPTIONS"} == methods, path
            check_envelope(answer)


@pytest.mark.contract("refusal: invalid_request")
def test_unknown_and_mistyped_fields(admin: Person) -> None:
    """A field that does not exist, or is of another type, is refused by name on every route below /api/ with a body."""
    ids = _existing(admin)
    for method, path, operation in operations():
        if JSON not in taken(operation) or path.startswith("/v1/"):
            continue
        here = re.sub(r"^(/api/admin/(\S+)/)999999999/$", lambda found: f"{found[1]}{ids[found[2]]}/", path)
        here = here.replace("conversations/999999999", f"conversations/{ids['conversation']}")
        body = {"no_such_field": 1, **mistyped(operation)}
        answer = admin.client.request(method, here, json=body)
        assert answer.status_code == 400, (method, here, answer.text)
        error = check_envelope(answer)
        assert error["code"] == "invalid_request"
        if path != "/api/import/":
            assert set(body) <= set(error["details"]), (method, here, body, error["details"])


# Values of another JSON type that a careless parser would take all the same.
OF_ANOTHER_TYPE = {"string": 5, "boolean": "yes", "integer": "5", "number": "5"}
# Ids may come out of a URL, so their digits will do.
AS_DIGITS = {"conversation", "parent"}


def mistyped(operation: dict[str, Any]) -> dict[str, Any]:
    """Return a body whose fields are all of another type than the schema says."""
    name = taken(operation)[JSON]["schema"].get("$ref", "").rpartition("/")[2]
    fields = document()["components"]["schemas"].get(name, {}).get("properties", {})
    found = {}
    for field, schema in fields.items():
        kinds = schema.get("type", [""])
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind in OF_ANOTHER_TYPE and not schema.get("readOnly") and field not in AS_DIGITS:
            found[field] = OF_ANOTHER_TYPE[kind]
    return found


def taken(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the media types that an operation takes."""
    return dict(operation.get("requestBody", {}).get("content", {}))


def _existing(admin: Person) -> dict[str, int]:
    """Return the id of a row of each kind."""
    assert admin.client.post("/api/admin/redeem-codes/", json={"quota": "standard", "credits": 1, "count": 1})
    for kind, text in (("sensitive-words", "word"), ("allowed-phrases", "phrase")):
        assert admin.client.post(f"/api/admin/{kind}/", json={text: f"w{secrets.token_hex(5)}"}).status_code == 201
    kinds = ("upstreams", "keys", "models", "quotas", "redeem-codes", "users", "sensitive-words", "allowed-phrases")
    found = {kind: admin.client.get(f"/api/admin/{kind}/").json()[-1]["id"] for kind in kinds}
    return {**found, "conversation": admin.ended(admin.ask("Hello", "plain")["id"])["conversation"]}


def test_bodies_that_are_no_object(admin: Person) -> None:
    """Broken JSON, and JSON that is no object, is refused with 400; a form with 415."""
    kinds: list[tuple[bytes, str, int]] = [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"a=b", "application/x-www-form-urlencoded", 415),
    ]
    for method, path, operation in operations():
        if method != "POST" or JSON not in taken(operation) or path.startswith("/v1/"):
            continue
        for body, kind, status in kinds:
            answer = admin.client.request(method, path, content=body, headers={"Content-Type": kind})
            assert answer.status_code == status, (method, path, body, answer.text)
            assert check_envelope(answer)["code"] == "invalid_request"


@pytest.mark.contract("X-Request-ID")
def test_every_answer_has_a_request_id(person: Person) -> None:
    """Answers that are no refusal bear `X-Request-ID` too, each another."""
    seen = set()
    for method, path, _operation in operations():
        if method == "GET" and not path.startswith("/sse/"):
            with person.client.stream(method, path) as answer:
                seen.add(answer.headers["X-Request-ID"])
    gets = [path for method, path, _operation in operations() if method == "GET" and not path.startswith("/sse/")]
    assert len(seen) == len(gets)
