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
    "Ark": (400, {"error": {"message": "The input text may contain sensitive information."}}),
    "only inside": (400, {"error": {"message": "m", "inner_error": {"code": "ResponsibleAIPolicyViolation"}}}),
}
TOO_LONG: dict[str, Case] = {
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
    "a login without words": (200, {"code": "401", "msg": "Unauthorized", "data": None}),
    "401 in a list with 200": (200, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}),
    "Payment Required": (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    "a string": (401, {"error": "Unauthorized"}),
    "a string with 200": (200, {"error": "Invalid API key"}),
    "expired": (400, {"error": {"message": "The API key has expired"}}),
    "out of credits": (429, {"error": {"message": "You have run out of credits, please purchase more"}}),
}
RATES: dict[str, tuple[int, Any, dict[str, str]]] = {
    "spending in flight, in words": (
        402,
        {"error": {"code": 402, "message": "In-flight spending budget exhausted"}},
        {"retry-after": "2"},
    ),
    "spending in flight, without a hint": (402, {"error": {"message": "In-flight spending budget exhausted"}}, {}),
    "a hint with 402": (402, {"error": {"code": 402, "message": "Wait for running requests"}}, {"retry-after": "2"}),
    "a string with 200": (200, {"error": "Too Many Requests"}, {}),
}
PARAMETERS: dict[str, tuple[int, Any, str]] = {
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


@pytest.mark.parametrize("name", [name for name in DEAD if DEAD[name][0] == 200])
def test_refusals_in_streams(name: str) -> None:
    """A refusal in a 200 is seen as one."""
    assert is_refusal(DEAD[name][1])
