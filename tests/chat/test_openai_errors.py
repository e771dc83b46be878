"""chat/openai/errors.py: each of our codes in OpenAI's envelope."""

import json
from typing import Any

import pytest
from django.http import HttpRequest
from django.utils import translation

from accounts.errors import AccountIncomplete
from chat import errors
from chat.errors import with_text
from chat.openai import errors as openai_errors
from chat.openai.errors import KINDS, Failed
from providers.errors import ModelUnavailable
from quotas.errors import QuotaExhausted
from web.refusals import (
    Forbidden,
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    Refusal,
    ServiceUnavailable,
    TooLarge,
    TooManyRequests,
)


def told(refusal: Refusal) -> tuple[int, Any, Any]:
    """Return status, error and headers."""
    answer = openai_errors.response(HttpRequest(), refusal)
    return answer.status_code, json.loads(answer.content)["error"], answer.headers


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (NotAuthenticated(), 401, "invalid_api_key"),
        (AccountIncomplete(), 403, "account_incomplete"),
        (Forbidden(), 403, "forbidden"),
        (InvalidRequest(), 400, None),
        (TooLarge(), 413, "context_length_exceeded"),
        (QuotaExhausted(), 429, "insufficient_quota"),
        (TooManyRequests(retry_after=3), 429, "rate_limit_exceeded"),
        (ModelUnavailable(retry_after=3), 503, "server_error"),
        (ServiceUnavailable(), 503, "server_error"),
        (InternalError(), 500, "server_error"),
        (errors.Conflict(), 409, "conflict"),
    ],
)
def test_a_refusal_has_the_status_and_code_of_openai(refusal: Refusal, status: int, code: str | None) -> None:
    """A refusal has the status and the code that OpenAI's clients know, and keeps its headers."""
    answered, error, headers = told(refusal)
    assert (answered, error["code"]) == (status, code)
    assert error["type"]
    assert error["message"]
    assert refusal.headers().items() <= dict(headers).items()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("upstream_error", 502),
        ("upstream_timeout", 504),
        ("model_unavailable", 503),
        ("interrupted", 503),
        ("internal_error", 500),
        ("content_blocked", 400),
        ("prompt_too_long", 400),
        ("invalid_request", 400),
    ],
)
def test_failures_before_anything_was_sent(code: str, status: int) -> None:
    """A failure that came before the first words has a status, and the upstream's hint when to come back."""
    answered, error, headers = told(Failed(with_text({"code": code, "retry_after": 1.2, "details": {}})))
    assert (answered, headers["Retry-After"]) == (status, "2")
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")


def test_no_code_is_forgotten() -> None:
    """Every code that a generation may fail with has its place in the table."""
    assert set(errors._TEXTS) <= set(KINDS)


def test_the_field_is_named() -> None:
    """The first field that is wrong is `param`, and its reason the message."""
    _status, error, _headers = told(InvalidRequest(details={"messages[0].role": ["Bad."], "n": ["Worse."]}))
    assert (error["param"], error["message"]) == ("messages[0].role", "messages[0].role: Bad.")
    _status, error, _headers = told(Failed(with_text({"code": "invalid_request", "details": {"param": "seed"}})))
    assert error["param"] == "seed"
    assert error["message"].startswith("seed: ")


def test_clients_are_told_not_to_try_again() -> None:
    """The header that forbids a retry stands only where a retry is of no use."""
    codes = {code for code, kind in KINDS.items() if kind.headers.get("x-should-retry") == "false"}
    assert codes == {"quota_exhausted", "content_blocked", "conflict"}


def test_events() -> None:
    """In a stream the same error is one event."""
    with translation.override("en"):
        event = openai_errors.event(with_text({"code": "upstream_error"})).decode()
    assert event.startswith("data: ")
    assert event.endswith("\n\n")
    assert json.loads(event[6:])["error"]["code"] == "server_error"
