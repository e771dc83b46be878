"""Refusals: their codes and their order; a refused question costs nothing and leaves nothing behind."""

import json
from typing import Any

import pytest

from tests.product import ApiUser, Product, post_many
from tests.readers import wait_until

CHAT = "/api/chat/"


def refused(api_user: ApiUser, status: int, code: str, **request: Any) -> dict[str, Any]:
    """Post and return the error, which has the envelope and no trace of ours."""
    answer = api_user.client.post(CHAT, **request)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "request_id"}
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert body["error"]["code"] == code
    assert body["error"]["message"]
    assert "Traceback" not in answer.text
    return dict(body["error"])


def test_an_unknown_model_is_named(api_user: ApiUser) -> None:
    """An unknown model is `invalid_request` and named; nothing was charged or kept."""
    error = refused(api_user, 400, "invalid_request", json={"model": "nope", "prompt": "Hello"})
    assert list(error["details"]) == ["model"]
    assert api_user.quota()["used_today"] == 0
    assert api_user.client.get("/api/conversations/").json() == {"results": [], "next": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x"}, "model"),
        ({"model": "plain"}, "prompt"),
        ({"model": "plain", "prompt": ""}, "prompt"),
        ({"model": "plain", "prompt": " \n\t "}, "prompt"),
        ({"model": "plain", "prompt": None}, "prompt"),
        ({"model": "plain", "prompt": 5}, "prompt"),
        ({"model": "plain", "prompt": "a\0b"}, "prompt"),
        ({"model": ["plain"], "prompt": "x"}, "model"),
        ({"model": "plain", "prompt": "x", "colour": "red"}, "colour"),
        ({"model": "plain", "prompt": "x", "temperature": 9}, "temperature"),
        ({"model": "plain", "prompt": "x", "temperature": "hot"}, "temperature"),
        ({"model": "plain", "prompt": "x", "max_tokens": 0}, "max_tokens"),
        ({"model": "plain", "prompt": "x", "max_tokens": True}, "max_tokens"),
        ({"model": "plain", "prompt": "x", "parent": 1}, "parent"),
        ({"model": "plain", "prompt": "x", "conversation": "abc"}, "conversation"),
        ({"model": "plain", "prompt": "x", "conversation": 2**70}, "conversation"),
        ({"model": "plain", "prompt": "x", "text_tool": "nope"}, "text_tool"),
    ],
)
def test_bad_fields_are_named(api_user: ApiUser, body: dict[str, Any], field: str) -> None:
    """A field that is missing, wrong or unknown is named in `details`."""
    error = refused(api_user, 400, "invalid_request", json=body)
    assert list(error["details"]) == [field]
    assert api_user.quota()["used_today"] == 0


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model": NaN}', b'{"prompt": "\\ud800"}', b"[" * 100_000, b""],
)
def test_broken_json(api_user: ApiUser, content: bytes) -> None:
    """A body that is no JSON object is `invalid_request`, however broken it is."""
    refused(api_user, 400, "invalid_request", content=content, headers={"Content-Type": "application/json"})


@pytest.mark.contract("refusal: prompt_too_long", "setting: MAX_PROMPT_CHARS")
def test_too_long(api_user: ApiUser) -> None:
    """A prompt over MAX_PROMPT_CHARS, or a body over MAX_BODY_MIB, is `prompt_too_long`; one of just that is not."""
    refused(api_user, 413, "prompt_too_long", json={"model": "plain", "prompt": "x" * 32_001})
    refused(api_user, 413, "prompt_too_long", json={"model": "plain", "prompt": "x", "system_prompt": "x" * 32_001})
    limits = b'{"prompt": "' + b"x" * 20 * 2**20 + b'"}'
    message = refused(api_user, 413, "prompt_too_long", content=limits)["message"]
    assert "20 MiB" in message
    assert "MAX_BODY_MIB" in message
    api_user.ask("字" * 32_000, "plain")


@pytest.mark.contract("the order of refusals")
def test_nobody_is_refused_before_too_much(product: Product) -> None:
    """Authentication comes first: a stranger with a huge body is asked to log in."""
    answer = product.client().post(CHAT, content=b"x" * (20 * 2**20 + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_other_peoples_things_are_not_there(product: Product, api_user: ApiUser) -> None:
    """An object of another user gives 404, with every method."""
    other = product.register("stranger" + api_user.name)
    start = api_user.answer("Hello", "plain")[0].data
    generation, conversation = start["generation"], start["conversation"]
    message = api_user.messages(conversation)[1]["id"]
    refused(other, 404, "not_found", json={"model": "plain", "prompt": "x", "conversation": conversation})
    mine = other.answer("Mine", "plain")[0].data["conversation"]
    refused(other, 404, "not_found", json={"model": "plain", "prompt": "x", "conversation": mine, "parent": message})
    for method, path in [
        ("GET", f"/api/generations/{generation}/"),
        ("GET", f"/api/generations/{generation}/events/"),
        ("POST", f"/api/generations/{generation}/stop/"),
        ("POST", f"/api/messages/{message}/regenerate/"),
        ("GET", f"/api/conversations/{conversation}/"),
        ("PATCH", f"/api/conversations/{conversation}/"),
        ("DELETE", f"/api/conversations/{conversation}/"),
        ("GET", f"/api/conversations/{conversation}/messages/"),
    ]:
        answer = other.client.request(method, path, json={} if method != "GET" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
        nobody = product.client().request(method, path)
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (401, "not_authenticated"), path


@pytest.mark.parametrize(
    "path", ["/api/generations/../", "/api/generations/%00/", "/api/shares/99999999999999999999999/copy/"]
)
def test_strange_paths(api_user: ApiUser, path: str) -> None:
    """A path that leads nowhere is a JSON 404."""
    answer = api_user.client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("model", "m" * 101, "This value is too long."),
        ("model", "", "This field may not be empty."),
        ("attachments", [1] * 11, "These are too many."),
    ],
)
def test_lengths_are_named(api_user: ApiUser, field: str, value: Any, text: str) -> None:
    """A text is too long or empty, and a list has too many items."""
    error = refused(api_user, 400, "invalid_request", json={"model": "plain", "prompt": "x", field: value})
    assert error["details"] == {field: [text]}


def test_huge_ids(api_user: ApiUser) -> None:
    """An id that no database could hold is not there."""
    huge = 10**30
    assert api_user.client.post(f"/api/messages/{huge}/regenerate/").status_code == 404
    assert api_user.client.get(f"/api/conversations/{huge}/").status_code == 404


def test_wrong_method(api_user: ApiUser) -> None:
    """A method that a route does not know is 405, in the same envelope."""
    for path in (CHAT, "/api/models/"):
        answer = api_user.client.put(path, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "invalid_request")


@pytest.mark.contract("a refused request keeps its key")
def test_a_refused_request_does_not_use_up_its_key(api_user: ApiUser) -> None:
    """After a refusal the same key may be used for what then succeeds."""
    refused(
        api_user, 400, "invalid_request", json={"model": "nope", "prompt": "x"}, headers={"Idempotency-Key": "again"}
    )
    api_user.ask("Hello", "plain", key="again")


@pytest.mark.contract("a known key answers whatever else holds")
def test_the_same_key_answers_whatever_else_holds(api_user: ApiUser) -> None:
    """A known key returns its generation even when the quota is used up and its conversation is gone."""
    question = {"model": "gpt-4-echo", "prompt": "Hello"}
    first = api_user.ask("Hello", "gpt-4-echo", key="k")
    api_user.ended(first["id"])
    post_many(api_user, [(question, {})] * api_user.quota("premium")["remaining"])
    refused(api_user, 429, "quota_exhausted", json=question)
    api_user.client.delete(f"/api/conversations/{first['conversation']}/")
    again = api_user.client.post(CHAT, json=question, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["generation"]["id"]) == (202, first["id"])
    assert "X-Quota-Remaining" not in again.headers


@pytest.mark.contract("the caller's language")
def test_languages(api_user: ApiUser) -> None:
    """Messages are in the caller's language."""
    bodies = [
        api_user.client.post(CHAT, json={"model": "nope", "prompt": "x"}, headers={"Accept-Language": language}).json()
        for language in ("en", "zh-CN")
    ]
    english, chinese = (body["error"]["message"] for body in bodies)
    assert english.isascii()
    assert not chinese.isascii()


@pytest.mark.contract("logs say nothing")
def test_no_text_in_the_log(api_user: ApiUser, product: Product) -> None:
    """One line for each request and generation; never a prompt, a completion, a token or a key."""
    start = api_user.answer("SECRET-PROMPT", "echo")[0].data
    api_user.client.get("/api/me/?ticket=SECRET-TICKET")

    def is_logged() -> bool:
        lines = [json.loads(line) for line in product.output.splitlines() if line.startswith("{")]
        return any(line.get("generation") == start["generation"] and line["event"] == "generation" for line in lines)

    wait_until(is_logged)  # the line follows `done`
    for secret in ("SECRET-PROMPT", "SECRET-TICKET", api_user.access, "sk-test-0123456789abcdef"):
        assert secret not in product.output
