"""Refusals as vendors and relays really word them, and what comes of each."""

import json
from typing import Any

import pytest

from providers.wire.base import Endpoint
from providers.wire.errors import BadParameter, ContentBlocked, PromptTooLong, ProviderError, Retry
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.errors import is_refusal, read_complaint
from tests.providers.streams import request

Case = tuple[int, Any]

BLOCKED: dict[str, Case] = {
    "usage guidelines": (403, {"code": "permission-denied", "error": "Content violates usage guidelines. "}),
    "flagged": (
        403,
        {
            "error": {
                "code": 403,
                "message": 'Your chosen model requires moderation and your input was flagged for "violence"',
                "metadata": {"reasons": ["violence"]},
            }
        },
    ),
    "a general code": (400, {"error": {"message": "Content Exists Risk", "code": "invalid_request_error"}}),
    "by type": (400, {"error": {"message": "considered high risk", "param": "prompt", "type": "content_filter"}}),
    "inspection": (
        400,
        {"error": {"message": "Input data may contain inappropriate content.", "code": "data_inspection_failed"}},
    ),
    "by code": (400, {"error": {"message": "m", "param": "prompt", "code": "content_filter", "innererror": {}}}),
    "Ark": (400, {"error": {"message": "The input text may contain sensitive information."}}),
    "only inside": (400, {"error": {"message": "m", "inner_error": {"code": "ResponsibleAIPolicyViolation"}}}),
    "with 200": (200, {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
}
TOO_LONG: dict[str, Case] = {
    "a list": (
        400,
        [{"error": {"code": 400, "message": "The input token count (9) exceeds the maximum number of tokens allowed"}}],
    ),
    "by message": (400, {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
    "by type": (400, {"error": {"message": "m", "type": "exceed_context_size_error"}}),
    "a token limit": (400, {"error": {"message": "Your request exceeded model token limit: 8192 (requested: 9000)"}}),
    "an error that is a string": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",
        },
    ),
    "a number for code": (
        400,
        {
            "code": 20015,
            "message": "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
            "data": None,
        },
    ),
    "a list of errors": (
        400,
        {"errors": [{"message": "AiError: exceeded this model context window limit (7968). ", "code": 5021}]},
    ),
    "known": (400, {"error": {"message": "This model's maximum context length is 4096 tokens"}}),
    "Mistral": (400, {"message": "Prompt is too large for model with 32768 maximum context length", "code": "3051"}),
    "a field of a stream": (200, {"code": 400, "message": "the request exceeds the available context size. try"}),
    "vLLM's engine": (
        400,
        {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model length of 4096."}},
    ),
    "SGLang": (
        400,
        {"error": {"message": "The input (9000 tokens) is longer than the model's context length (4096 tokens)."}},
    ),
    "Together": (
        422,
        {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097"}},
    ),
    "Bedrock": (400, {"message": "Input is too long for requested model."}),
    "Groq": (400, {"error": {"message": "Please reduce the length of the messages or completion."}}),
}
DEAD: dict[str, Case] = {
    "in a list": (
        400,
        [{"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}],
    ),
    "suspended": (
        429,
        {
            "error": {
                "message": "Your account org-x<ak-x> is suspended due to insufficient balance, please recharge",
                "type": "exceeded_current_quota_error",
            }
        },
    ),
    "arrears": (400, {"error": {"code": "Arrearage", "message": "Access denied", "type": "Arrearage"}}),
    "low credit": (400, {"type": "error", "error": {"message": "Your credit balance is too low to access the API."}}),
    "a relay's own quota": (403, {"error": {"message": "用户额度不足", "code": "insufficient_user_quota"}}),
    "money with 200": (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
    "a login with 200": (200, {"code": 401, "msg": "token invalid", "data": None}),
    "a login without words": (200, {"code": "401", "msg": "Unauthorized", "data": None}),
    "deactivated": (401, {"error": {"message": "x has been deactivated.", "code": "account_deactivated"}}),
    "401 in a list": (401, {"errors": [{"code": 10000, "message": "Authentication error"}], "result": None}),
    "401 in a list with 200": (200, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}),
    "the key's limit": (
        403,
        {"error": {"code": 403, "message": "Key limit exceeded", "metadata": {"limit_source": "openrouter_key_limit"}}},
    ),
    "Zhipu": (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}),
    "bare JSON": (200, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}),
    "Spark": (200, {"code": 11200, "message": "AppIdNoAuthError", "sid": "cha@dx"}),
    "Payment Required": (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    "a string": (401, {"error": "Unauthorized"}),
    "a string with 200": (200, {"error": "Invalid API key"}),
    "expired": (400, {"error": {"message": "The API key has expired"}}),
    "out of credits": (429, {"error": {"message": "You have run out of credits, please purchase more"}}),
}
RATES: dict[str, tuple[int, Any, dict[str, str]]] = {
    "a delay in the body": (
        429,
        [{"error": {"message": "You exceeded your current quota", "details": [{"retryDelay": "39s"}]}}],
        {},
    ),
    "a rate": (429, {"error": {"code": "RateLimitReached", "message": "Rate limit of 10"}}, {"retry-after": "30"}),
    "spending in flight": (
        402,
        {"error": {"code": 402, "message": "x", "metadata": {"limit_source": "openrouter_in_flight_budget"}}},
        {"retry-after": "2"},
    ),
    "spending in flight, in words": (
        402,
        {"error": {"code": 402, "message": "In-flight spending budget exhausted"}},
        {"retry-after": "2"},
    ),
    "spending in flight, without a hint": (402, {"error": {"message": "In-flight spending budget exhausted"}}, {}),
    "a hint with 402": (402, {"error": {"code": 402, "message": "Wait for running requests"}}, {"retry-after": "2"}),
    "a rate in an event": (200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}}, {}),
    "429 in an event": (200, {"error": {"code": 429, "message": "Rate limited"}}, {}),
    "a string with 200": (200, {"error": "Too Many Requests"}, {}),
}
PARAMETERS: dict[str, tuple[int, Any, str]] = {
    "one temperature": (400, {"error": {"message": "invalid temperature: only 1 is allowed"}}, "temperature"),
    "a value": (400, {"error": {"code": "unsupported_value", "param": "temperature", "message": "m"}}, "temperature"),
    "an unknown field": (
        422,
        {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": "m"}]}},
        "temperature",
    ),
    "Bedrock": (400, {"message": "`temperature` and `top_p` cannot both be specified for this model."}, "temperature"),
    "Anthropic": (
        400,
        {"error": {"message": "`temperature` may only be set to 1 when thinking is enabled."}},
        "temperature",
    ),
    "LiteLLM": (400, {"error": {"message": "o1 does not support parameters: {'temperature': 0.5}"}}, "temperature"),
    "a deprecation": (400, {"error": {"message": "`temperature` is deprecated for this model."}}, "temperature"),
    "DashScope": (400, {"error": {"message": "parameter temperature is not supported"}}, "temperature"),
}
NOBODY: dict[str, Case] = {
    "a string": (200, {"error": "model not loaded"}),
    "Zhipu's 500": (200, {"code": 500, "msg": "404 NOT_FOUND", "success": False}),
    "a wrong address": (404, "<html>Not Found</html>"),
    "busy": (503, "<html>Service Unavailable</html>"),
}


def outcome(status: int, body: Any, headers: dict[str, str] | None = None, **fields: Any) -> ProviderError | Retry:
    """Return what a refusal comes to."""
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    adapter = OpenAICompatible(Endpoint("http://vendor.example/v1"))
    return adapter.refusal(request("m", **fields), read_complaint(status, raw, headers or {}))


@pytest.mark.parametrize("name", BLOCKED)
def test_moderation(name: str) -> None:
    """A prompt that moderation refused is blocked, whatever the status."""
    assert isinstance(outcome(*BLOCKED[name]), ContentBlocked)


@pytest.mark.parametrize("name", TOO_LONG)
def test_too_long(name: str) -> None:
    """A prompt that does not fit is too long, in whatever words."""
    assert isinstance(outcome(*TOO_LONG[name]), PromptTooLong)


@pytest.mark.parametrize("name", DEAD)
def test_dead_or_empty_keys(name: str) -> None:
    """A key that is dead or out of money is accused and left out."""
    found = outcome(*DEAD[name])
    assert isinstance(found, ProviderError)
    assert (found.action, found.blame) == ("disable", "key")


@pytest.mark.parametrize("name", RATES)
def test_rates(name: str) -> None:
    """A limit that passes cools the key down, and accuses it of nothing."""
    found = outcome(*RATES[name])
    assert isinstance(found, ProviderError)
    assert (found.action, found.blame) == ("switch", "rate")


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    """A refused parameter of ours is left out; one of the caller's is named."""
    status, body, param = PARAMETERS[name]
    better = outcome(status, body, parameters={param: 0.5})
    assert isinstance(better, Retry)
    assert not better.request.parameters
    refused = outcome(status, body, extras={param: 0.5})
    assert isinstance(refused, BadParameter)
    assert refused.param == param


def test_the_other_name_of_the_cap() -> None:
    """A refused name of the token cap is replaced by the other one."""
    better = outcome(400, {"error": {"code": "unsupported_parameter", "param": "max_tokens", "message": "m"}})
    assert isinstance(better, Retry)
    assert better.learned == {"token_cap_field": "max_completion_tokens"}


def test_no_usage_wanted() -> None:
    """A server that forbids `stream_options` is asked without it."""
    detail = [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "m"}]
    better = outcome(422, {"object": "error", "message": {"detail": detail}})
    assert isinstance(better, Retry)
    assert better.learned == {"include_usage": False}


@pytest.mark.parametrize("name", NOBODY)
def test_nobodys_fault(name: str) -> None:
    """A fault of the vendor's accuses neither the key nor the request."""
    found = outcome(*NOBODY[name])
    assert isinstance(found, ProviderError)
    assert found.blame == "upstream" or found.status == 404
    assert found.action != "disable"


@pytest.mark.parametrize("name", [name for name in DEAD if DEAD[name][0] == 200])
def test_refusals_in_streams(name: str) -> None:
    """A refusal in a 200 is seen as one."""
    assert is_refusal(DEAD[name][1])
