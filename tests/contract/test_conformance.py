"""Every route, called with valid and invalid values, responds as its schema says.

schemathesis makes the calls. No response is 500 or 501, and 502 to 504 have their own codes.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from tests.contract import test_events as events
from tests.product import ApiUser, Product

pytestmark = [pytest.mark.server, pytest.mark.soak]

# Of each operation and kind of values. Most of the time is spent on making them.
SOAK = os.environ.get("SOAK") == "1"
EXAMPLES = 50 if SOAK else 2

# A channel stays open until staff end it, so these are called with the key of an ended one.
READING_CHANNELS = {"/sse/{key}/", "/sse/{key}"}
# Routes that respond to staff in another way than to users.
FOR_STAFF = ("/api/admin/", "/api/channels/")
CODES = {502: {"upstream_error"}, 503: {"service_unavailable", "model_unavailable"}, 504: {"upstream_timeout"}}
CHECKS = [
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
]
SHAPE = openapi_checks.response_schema_conformance


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A separate product, because staff may change and delete everything in it."""
    # The examples take longer than the default retention of an ended channel, and a deleted channel would start again.
    variables = {"DAILY_LIMIT_STANDARD": "100000", "CHANNEL_RETENTION_SECONDS": "86400"}
    with Product(tmp_path_factory.mktemp("conformance"), **variables) as running:
        yield running


def known_ids(api_user: ApiUser) -> dict[str, Any]:
    """Return the ids of what this user owns."""
    made = api_user.ended(api_user.ask("Hello")["id"])
    admin = api_user.product.admin()
    for action, body in (("messages", {"data": {"a": 1}}), ("complete", {})):
        ended = admin.client.post(f"/api/channels/ended:1/{action}/", json={"user": api_user.name, **body})
        assert ended.status_code in {200, 202}, ended.text
    token = api_user.client.post("/api/tokens/", json={"name": "one"}).json()
    attachment = api_user.client.post("/api/attachments/", files={"file": ("a.txt", b"x")}).json()
    return {
        "attachment_id": attachment["id"],
        "generation_id": made["id"],
        "message_id": made["message"],
        "conversation_id": made["conversation"],
        "token_id": token["id"],
        "model_id": "demo",
        "key": "order:1",
    }


def create_rows(admin: ApiUser) -> dict[str, int]:
    """Create a row of each kind of staff rows; return their ids by path."""
    rows: dict[str, Any] = {
        "/api/admin/upstreams/": {"slug": "own", "kind": "scripted"},
        "/api/admin/models/": {"slug": "own", "title": "Own", "routes": []},
        "/api/admin/quotas/": {"slug": "own", "title": "Own", "daily_limit": 1},
        "/api/admin/users/": {"username": "own", "email": "own@example.org"},
        "/api/admin/credits/": {"user": "admin", "quota": "standard", "amount": 1, "reason": "gift"},
        "/api/admin/keys/": {"upstream": "own", "secret": "sk-0123456789abcdef"},
        "/api/admin/sensitive-words/": {"word": "own"},
        "/api/admin/allowed-phrases/": {"phrase": "own"},
        "/api/admin/sensitive-patterns/": {"title": "own", "kind": "phone", "action": "flag"},
        "/api/admin/refusal-texts/": {"category": "own", "text_en": "No."},
        "/api/admin/announcements/": {"text_en": "own"},
    }
    made = {}
    for path, body in rows.items():
        response = admin.client.post(path, json=body)
        assert response.status_code == 201, response.text
        made[path + "{id}/"] = response.json()["id"]
    return made


def problems(api_user: ApiUser, known: dict[str, Any]) -> Iterator[str]:
    """Call every operation with many examples; yield what does not match the schema."""
    url = api_user.product.url
    schema = schemathesis.openapi.from_url(f"{url}/api/schema/?format=json")
    for found in schema.get_all_operations():
        operation = found.ok()
        # Other users are always refused staff rows: tests.contract.test_access shows it.
        if api_user.name != "admin" and operation.path.startswith("/api/admin/"):
            continue
        # All other routes respond to staff as to users.
        if api_user.name == "admin" and not SOAK and not operation.path.startswith(FOR_STAFF):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                call_many(operation, mode, api_user, known)
            except Unsatisfiable:
                continue
            except Exception as error:
                yield f"{operation.label}: {'; '.join(reasons(error))}"[:3000]


def reasons(error: BaseException | None) -> Iterator[str]:
    """Yield the messages of an error and its causes, because hypothesis wraps them."""
    if error is not None:
        yield f"{type(error).__name__}: {error}"[:600]
        for inner in getattr(error, "exceptions", ()):
            yield from reasons(inner)
        yield from reasons(error.__cause__ or error.__context__)


def call_many(operation: Any, mode: GenerationMode, api_user: ApiUser, known: dict[str, Any]) -> None:
    # Hypothesis reads the text of this function for each operation, so it is short.
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not SOAK,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), mine=st.booleans())
    def call(case: Any, mine: bool) -> None:
        check_call(operation, case, api_user, known if mine else {})

    call()


def check_call(operation: Any, case: Any, api_user: ApiUser, known: dict[str, Any]) -> None:
    """Make one call with the known ids; its response is as the schema says."""
    ids = {**known, "id": known.get(operation.path)}
    if operation.path in READING_CHANNELS:
        ids["key"] = "ended:1"
    case.path_parameters.update({name: ids[name] for name in case.path_parameters if ids.get(name)})
    headers = {"Authorization": f"Bearer {api_user.access}"}
    response = case.call(base_url=api_user.product.url, headers=headers, timeout=30)
    # The schema of a stream is a string; its events have their own components.
    streamed = "text/event-stream" in response.headers.get("content-type", [""])[0]
    if streamed:
        events.check(operation.method, operation.path, response.content.decode())
    case.validate_response(response, checks=CHECKS if streamed else [*CHECKS, SHAPE])
    assert response.status_code not in {500, 501}, response.text
    if response.status_code in CODES and not operation.path.startswith(("/v1/", "/readyz")):
        assert response.json()["error"]["code"] in CODES[response.status_code]


def test_responses_to_a_user_match_the_schema(own: Product) -> None:
    """An ordinary user gets responses that match the schema."""
    user = own.register("user")
    assert list(problems(user, known_ids(user))) == []


def test_responses_to_staff_match_the_schema(own: Product) -> None:
    """Staff with all rights get responses that match the schema."""
    admin = own.admin()
    assert list(problems(admin, known_ids(admin) | create_rows(admin))) == []
