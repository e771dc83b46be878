"""The outcome of each refusal of an OpenAI-compatible server."""

import email.utils
import json
import time
from typing import Any

import pytest

from providers.wire.base import PromptMessage
from providers.wire.errors import ContentBlocked, PromptTooLong, ProviderError, UpstreamFailed
from providers.wire.openai.errors import blamed_field, choose_row, read_complaint, resend, retry_after
from tests.providers.streams import request

HOUR = 3600.0


def body(**error: Any) -> bytes:
    """Return OpenAI's envelope."""
    return json.dumps({"error": {"message": "m", "type": "invalid_request_error", **error}}).encode()


def verdict(status: int, raw: bytes, **headers: str) -> ProviderError:
    """Return the failure for a refused request."""
    complaint = read_complaint(status, raw, {name.replace("_", "-"): value for name, value in headers.items()})
    return choose_row(complaint).error(vendor_code=complaint.vendor_code, retry_after=complaint.retry_after)


def test_refused_key_is_disabled() -> None:
    """A refused key is disabled, and the failure carries the vendor's code."""
    failure = verdict(401, body(code="invalid_api_key"))

    assert (failure.action, failure.scope, failure.vendor_code) == ("disable", "key", "invalid_api_key")


@pytest.mark.parametrize(
    ("status", "raw", "kind", "action", "attempts", "cooldown_s", "scope"),
    [
        (400, body(code="context_length_exceeded"), PromptTooLong, "user", 0, 0, "key_model"),
        (400, body(code="400", message="This model's maximum context length is 9"), PromptTooLong, "user", 0, 0, None),
        (400, body(code="unsupported_parameter", param="top_k"), UpstreamFailed, "ops", 0, 0, None),
        (400, body(code="unsupported_value", param="temperature"), UpstreamFailed, "ops", 0, 0, None),
        (400, body(code="invalid_prompt", message="violates our usage policy"), ContentBlocked, "user", 0, 0, None),
        (400, body(code="invalid_prompt", message="no messages"), UpstreamFailed, "ops", 0, 0, None),
        (400, body(code="content_filter"), ContentBlocked, "user", 0, 0, None),
        (400, body(code="content_policy_violation"), ContentBlocked, "user", 0, 0, None),
        (400, body(), UpstreamFailed, "ops", 0, 0, None),
        (422, b'{"detail": "what"}', UpstreamFailed, "ops", 0, 0, None),
        (401, b"", UpstreamFailed, "disable", 0, 0, "key"),
        (402, body(message="Insufficient Balance"), UpstreamFailed, "disable", 0, 0, "key"),
        (403, body(code="unsupported_country_region_territory"), UpstreamFailed, "ops", 0, 0, "all"),
        (403, body(message="Your input was flagged by moderation", code=403), ContentBlocked, "user", 0, 0, None),
        (403, body(message="no access"), UpstreamFailed, "switch", 0, HOUR, "key_model"),
        (404, body(code="model_not_found"), UpstreamFailed, "switch", 0, HOUR, "key_model"),
        (404, b'{"error": "model \'x\' not found"}', UpstreamFailed, "switch", 0, HOUR, "key_model"),
        (404, b'{"detail": "Not Found"}', UpstreamFailed, "ops", 0, 0, "all"),
        (404, b"<html>", UpstreamFailed, "ops", 0, 0, "all"),
        (405, b"", UpstreamFailed, "ops", 0, 0, "all"),
        (301, b"", UpstreamFailed, "ops", 0, 0, "all"),
        (407, b"", UpstreamFailed, "ops", 0, 0, "all"),
        (408, b"", UpstreamFailed, "wait", 2, 0, None),
        (409, b"", UpstreamFailed, "wait", 2, 0, None),
        (413, b"<html>", PromptTooLong, "user", 0, 0, None),
        (429, body(code="rate_limit_exceeded"), UpstreamFailed, "switch", 0, 5, "key_model"),
        (429, body(type="tokens"), UpstreamFailed, "switch", 0, 5, "key_model"),
        (429, b"", UpstreamFailed, "switch", 0, 5, "key_model"),
        (429, body(type="rate_limit_error", code="slow_down"), UpstreamFailed, "wait", 2, 0, "all"),
        (429, body(code="insufficient_quota"), UpstreamFailed, "disable", 0, 0, "key"),
        (429, body(type="insufficient_quota", code="new_in_2027"), UpstreamFailed, "disable", 0, 0, "key"),
        (429, body(type="requests", code="credit_balance_exhausted"), UpstreamFailed, "disable", 0, 0, "key"),
        (429, body(code="organization_spend_limit_exceeded"), UpstreamFailed, "disable", 0, 0, "key"),
        (429, body(code="project_spend_limit_exceeded"), UpstreamFailed, "disable", 0, 0, "key"),
        (429, body(code="organization_usage_limit_exceeded"), UpstreamFailed, "disable", 0, 0, "key"),
        (500, body(type="server_error"), UpstreamFailed, "wait", 2, 0, None),
        (502, b"<html>", UpstreamFailed, "wait", 1, 0, None),
        (504, b"<html>", UpstreamFailed, "wait", 1, 0, None),
        (522, b"<html>", UpstreamFailed, "wait", 1, 0, None),
        (503, body(code="server_is_overloaded"), UpstreamFailed, "wait", 2, 0, "all"),
        (503, body(type="server_error", message="engine overloaded"), UpstreamFailed, "wait", 2, 0, "all"),
        (204, b"", UpstreamFailed, "wait", 1, 0, None),
        (418, b"", UpstreamFailed, "ops", 0, 0, None),
        (200, body(code=429), UpstreamFailed, "switch", 0, 5, None),
        (200, body(code="503", type="server_error"), UpstreamFailed, "wait", 2, 0, "all"),
        (200, body(type="overloaded_error"), UpstreamFailed, "wait", 2, 0, "all"),
        (200, body(), UpstreamFailed, "ops", 0, 0, None),
        (200, b'{"error": "it broke"}', UpstreamFailed, "wait", 2, 0, None),
        (400, b'{"code": 30011, "message": "m", "data": null}', UpstreamFailed, "ops", 0, 0, None),
        (500, b"[1]", UpstreamFailed, "wait", 2, 0, None),
    ],
)
def test_table(
    status: int,
    raw: bytes,
    kind: type[ProviderError],
    action: str,
    attempts: int,
    cooldown_s: float,
    scope: str | None,
) -> None:
    """Each row of the table leads to its failure, its action and its cooldown."""
    failure = verdict(status, raw)

    assert type(failure) is kind
    assert (failure.action, failure.attempts, failure.cooldown_s) == (action, attempts, cooldown_s)
    assert scope is None or failure.scope == scope


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1790000000000"}, 300.0),
        ({"retry-after-ms": "1790000000000"}, 300.0),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
        ({"retry-after-ms": ""}, None),
        ({"retry-after": "Tue, 02 Jan 2024 03:04:05 GMT"}, 0.0),
    ],
)
def test_hints(headers: dict[str, str], seconds: float | None) -> None:
    """A hint is read as seconds from now, and dropped when it makes no sense."""
    assert retry_after(headers) == seconds


def test_hint_as_a_date() -> None:
    """An HTTP date counts from now."""
    ends_at = int(time.time()) + 90
    before = time.time()
    seconds = retry_after({"retry-after": email.utils.formatdate(ends_at, usegmt=True)})

    assert seconds is not None
    assert ends_at - time.time() <= seconds <= ends_at - before


def test_hint_becomes_the_cooldown() -> None:
    """The hint of a 429 replaces the default cooldown, from one second upwards."""
    assert verdict(429, b"", retry_after="120").cooldown_s == 120
    assert verdict(429, b"", retry_after="0").cooldown_s == 1
    assert verdict(503, b"", retry_after="3").retry_after == 3


@pytest.mark.parametrize("code", ["sk-secret key", "x" * 65, "<b>", ""])
def test_odd_codes_stay_out_of_logs(code: str) -> None:
    """A code that does not look like one is not repeated."""
    assert read_complaint(400, body(code=code, type="t"), {}).vendor_code == "t"


def test_complaints_do_not_show_texts() -> None:
    """The vendor's words do not appear where a complaint is printed."""
    assert "sk-" not in repr(read_complaint(400, body(message="sk-secret"), {}))


def test_resend_with_another_token_cap() -> None:
    """A refused `max_tokens` becomes `max_completion_tokens`, and the other way round."""
    refused = read_complaint(400, body(code="unsupported_parameter", param="max_tokens"), {})
    better = resend(request(parameters={"max_tokens": 5}), refused, choose_row(refused))

    assert better is not None
    assert better[0].token_cap_field == "max_completion_tokens"
    assert better[1] == {"token_cap_field": "max_completion_tokens"}
    refused = read_complaint(400, body(code="unsupported_parameter", param="max_completion_tokens"), {})
    again = resend(better[0], refused, choose_row(refused))
    assert again is not None
    assert again[1] == {"token_cap_field": "max_tokens"}


def test_resend_without_a_refused_parameter() -> None:
    """A parameter the model does not take is left out; one that was not sent leads nowhere."""
    refused = read_complaint(400, body(code="unsupported_value", param="temperature"), {})

    better = resend(request(parameters={"temperature": 0.5, "top_p": 1}), refused, choose_row(refused))

    assert better is not None
    assert (dict(better[0].parameters), better[1]) == ({"top_p": 1}, {"refused": {"temperature": 0.5}})
    assert resend(request(), refused, choose_row(refused)) is None


def test_resend_without_stream_options() -> None:
    """A server that names `stream_options` in whatever envelope gets the request without."""
    refused = read_complaint(422, b'{"detail":[{"loc":["body","stream_options"]}]}', {})

    better = resend(request(), refused, choose_row(refused))

    assert better is not None
    assert (better[0].include_usage, better[1]) == (False, {"include_usage": False})
    assert resend(better[0], refused, choose_row(refused)) is None


def test_a_repeated_prompt_is_no_complaint_about_stream_options() -> None:
    """A body that repeats a prompt with `stream_options` beside its message does not change the request."""
    raw = body(message="Invalid request", param="messages", input={"content": "What does stream_options do?"})
    refused = read_complaint(400, raw, {})
    assert resend(request(), refused, choose_row(refused)) is None


@pytest.mark.parametrize(
    "error",
    [
        {"code": "unsupported_value", "param": "max_tokens"},
        {"message": "Unsupported value: 'max_tokens' does not support 9000000 with this model."},
        {"message": "invalid max_tokens: only 1 is allowed for this model"},
    ],
)
def test_a_refused_value_teaches_no_other_name(error: dict[str, Any]) -> None:
    """A cap that is refused for its value is the caller's field, or ours; its name is right."""
    refused = read_complaint(400, body(**error), {})
    row = choose_row(refused)
    assert resend(request(parameters={"max_tokens": 9_000_000}), refused, row) is None
    assert blamed_field(request(parameters={"max_tokens": 5}, given=frozenset({"max_tokens"})), refused, row)


def test_resend_with_fewer_turns() -> None:
    """A prompt that is too long loses its oldest turns; a lone message cannot."""
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(7)]
    refused = read_complaint(400, body(code="context_length_exceeded"), {})

    better = resend(request("m", *turns), refused, choose_row(refused))

    assert better is not None
    assert better[0].messages == tuple(turns[4:])
    assert better[1] == {}
    assert resend(request("m", turns[0]), refused, choose_row(refused)) is None
