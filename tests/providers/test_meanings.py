"""Meanings of refusals: each sign of the tables, and whole refusals of vendors and relays."""

import json
import time
from typing import Any

import pytest

from providers.wire.base import Endpoint, PromptMessage
from providers.wire.errors import BadParameter, Blame, ProviderError, Retry
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.errors import FIREWALL, MEANT, choose_row, read_complaint
from providers.wire.openai.meanings import FIREWALL_WORDS, TABLES, Meaning, Sign
from tests.providers.streams import request
from tests.readers import until_below

SIGNS = [(meaning, sign) for meaning, signs in TABLES.items() for sign in signs]
BLAMES: dict[Meaning, Blame] = {
    "too_long": "request",
    "parameter": "request",
    "other_kind": "request",
    "money": "key",
    "dead_key": "key",
    "moderation": "request",
    "region": "upstream",
    "no_model": "key",
    "rate": "rate",
}
# Whole refusals: HTTP status, body, and what they mean.
REFUSALS: dict[str, tuple[int, Any, Meaning]] = {
    "OpenAI, a completion of an embeddings model": (
        404,
        {
            "error": {
                "message": "This is not a chat model and thus not supported in the v1/chat/completions endpoint. "
                "Did you mean to use v1/completions?",
                "type": "invalid_request_error",
                "param": "model",
                "code": None,
            }
        },
        "other_kind",
    ),
    "OpenAI, a sample of an embeddings model": (
        403,
        {"error": {"message": "You are not allowed to sample from this model", "type": "invalid_request_error"}},
        "other_kind",
    ),
    "OpenAI, embeddings of a chat model": (
        403,
        {
            "error": {
                "message": "You are not allowed to generate embeddings from this model",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
        "other_kind",
    ),
    "xAI": (403, {"code": "permission-denied", "error": "Content violates usage guidelines. "}, "moderation"),
    "OpenRouter": (
        403,
        {
            "error": {
                "code": 403,
                "message": "Your chosen model requires moderation and your input was flagged",
                "metadata": {"reasons": ["violence"]},
            }
        },
        "moderation",
    ),
    "DeepSeek": (
        400,
        {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}},
        "moderation",
    ),
    "Moonshot": (
        400,
        {
            "error": {
                "code": 400,
                "message": "The request was rejected because it was considered high risk",
                "param": "prompt",
                "type": "content_filter",
            }
        },
        "moderation",
    ),
    "Azure": (
        400,
        {
            "error": {
                "message": "... content management policy.",
                "param": "prompt",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        "moderation",
    ),
    "Azure, only inside": (
        400,
        {"error": {"message": "m", "code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        "moderation",
    ),
    "MiniMax": (
        200,
        {
            "choices": None,
            "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"},
            "input_sensitive": True,
        },
        "moderation",
    ),
    "StepFun": (451, {"error": {"message": "has been blocked", "type": "censorship_blocked"}}, "moderation"),
    "Portkey": (446, {"error": {"message": "The guardrail checks failed", "type": "hooks_failed"}}, "moderation"),
    "a guardrail": (403, {"error": {"message": "The guardrail rejected this input"}}, "moderation"),
    "a guardrail of Bedrock": (400, {"message": "Request blocked by the configured guardrail"}, "moderation"),
    "moderation behind a relay": (
        500,
        {"error": {"message": "bad response status code 400 (Content Exists Risk)", "type": "upstream_error"}},
        "moderation",
    ),
    "moderation behind OpenRouter": (
        400,
        {"error": {"message": "Provider returned error", "metadata": {"raw": "Content Exists Risk"}}},
        "moderation",
    ),
    "Chinese": (403, {"error": {"message": "您的输入包含敏感信息，请修改后重试"}}, "moderation"),
    "Gemini in a list": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (9000) exceeds the maximum number of tokens allowed (4096).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "too_long",
    ),
    "Anthropic": (
        400,
        {"error": {"code": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}},
        "too_long",
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
                "type": "exceed_context_size_error",
            }
        },
        "too_long",
    ),
    "Moonshot's limit": (
        400,
        {
            "error": {
                "message": "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
                "type": "invalid_request_error",
            }
        },
        "too_long",
    ),
    "xAI's limit": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",
        },
        "too_long",
    ),
    "SiliconFlow": (
        400,
        {
            "code": 20015,
            "message": "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
            "data": None,
        },
        "too_long",
    ),
    "Cloudflare": (
        400,
        {
            "errors": [
                {
                    "message": "AiError: The tokens exceeded this model context window limit (7968). ",
                    "code": 5021,
                }
            ],
            "success": False,
        },
        "too_long",
    ),
    "too long behind a relay": (
        500,
        {"error": {"message": "This model's maximum context length is 4096 tokens", "code": "server_error"}},
        "too_long",
    ),
    "OpenAI's limit per minute": (
        429,
        {
            "error": {
                "message": "Request too large for m on tokens per min (TPM): Limit 30000, Requested 342389.",
                "type": "tokens",
                "param": None,
                "code": "rate_limit_exceeded",
            }
        },
        "too_long",
    ),
    "more than the limit": (
        429,
        {
            "error": {
                "message": "Rate limit reached on tokens per min: Limit 10000, Used 0, Requested 12000.",
                "type": "tokens",
                "code": "rate_limit_exceeded",
            }
        },
        "too_long",
    ),
    "less than the limit": (
        429,
        {
            "error": {
                "message": "Limit reached: Limit 10000, Used 9000, Requested 1200. Please try again in 1.2s.",
                "type": "tokens",
                "code": "rate_limit_exceeded",
            }
        },
        "rate",
    ),
    "no tools": (
        404,
        {
            "error": {
                "message": "No endpoints found that support tool use. To learn more, visit: https://openrouter.ai/docs",
                "code": 404,
            }
        },
        "parameter",
    ),
    "Moonshot's temperature": (
        400,
        {
            "error": {
                "message": "invalid temperature: only 1 is allowed for this model",
                "type": "invalid_request_error",
            }
        },
        "parameter",
    ),
    "Mistral": (
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
                ]
            },
            "type": "invalid_request_error",
        },
        "parameter",
    ),
    "Gemini's key": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            }
        ],
        "dead_key",
    ),
    "a login with 200": (200, {"code": 401, "msg": "token invalid", "data": None}, "dead_key"),
    "deactivated": (
        401,
        {"error": {"message": "The account has been deactivated.", "code": "account_deactivated"}},
        "dead_key",
    ),
    "401 in a list": (
        401,
        {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "result": None},
        "dead_key",
    ),
    "One API": (403, {"error": {"message": "无效的令牌 (request id: 1)", "type": "one_api_error"}}, "dead_key"),
    "Moonshot's money": (
        429,
        {
            "error": {
                "message": "Your account org-x<ak-x> is suspended due to insufficient balance, please recharge",
                "type": "exceeded_current_quota_error",
            }
        },
        "money",
    ),
    "DashScope": (
        400,
        {
            "error": {
                "code": "Arrearage",
                "message": "Access denied, please make sure your account is in good standing.",
                "type": "Arrearage",
            }
        },
        "money",
    ),
    "Anthropic's money": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the API. Please go to Plans & Billing",
            },
        },
        "money",
    ),
    "New API": (
        403,
        {
            "error": {
                "message": "用户额度不足, 剩余额度: ＄0.000000",
                "type": "new_api_error",
                "code": "insufficient_user_quota",
            }
        },
        "money",
    ),
    "MiniMax's money": (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "money"),
    "OpenRouter's key": (
        403,
        {
            "error": {
                "code": 403,
                "message": "Key limit exceeded (total limit).",
                "metadata": {"limit_source": "openrouter_key_limit"},
            }
        },
        "money",
    ),
    "OpenAI's money with 200": (
        200,
        {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}},
        "money",
    ),
    "money in words": (429, {"error": {"message": "You exceeded your current quota, please check"}}, "money"),
    "Gemini's quota": (
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39s"}],
                }
            }
        ],
        "rate",
    ),
    "Gemini's region": (
        400,
        [{"error": {"code": 400, "message": "User location is not supported for the API use.", "status": "F"}}],
        "region",
    ),
    "DeepSeek's model": (
        400,
        {"error": {"message": "Model Not Exist", "type": "invalid_request_error", "param": None}},
        "no_model",
    ),
    "vLLM's model": (
        404,
        {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404},
        "no_model",
    ),
    "New API's model": (
        503,
        {"error": {"code": "model_not_found", "message": "分组 default 下模型 m 无可用渠道", "type": "new_api_error"}},
        "no_model",
    ),
    "Azure's rate": (
        429,
        {"error": {"code": "RateLimitReached", "message": "Rate limit of 10 per 60s exceeded"}},
        "rate",
    ),
    "spending in flight": (
        402,
        {
            "error": {
                "code": 402,
                "message": "In-flight spending budget exhausted",
                "metadata": {"limit_source": "openrouter_in_flight_budget"},
            }
        },
        "rate",
    ),
    "a rate in an event": (
        200,
        {"id": "x", "choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}},
        "rate",
    ),
    "429 in an event": (200, {"error": {"code": 429, "message": "Rate limited"}}, "rate"),
    "Bedrock": (429, {"title": "Too Many Requests", "detail": "Wait a bit and try again.", "status": 429}, "rate"),
}
# Faults of no key and no request: the class of unknown failures.
OTHERS: dict[str, tuple[int, str]] = {
    "a firewall's page": (403, "<html>Request blocked by the web application firewall</html>"),
    "a page": (403, "\r\n<!DOCTYPE html><title>403 Forbidden</title>"),
    "a firewall's text": (403, "Access denied: request blocked"),
    "a firewall's page with 405": (
        405,
        "<title>405</title>Your request has been blocked as it may cause potential threats",
    ),
    "unknown": (418, '{"error":{"message":"I am a teapot"}}'),
    "unknown, a page": (410, "<html>gone</html>"),
    "a region": (403, '{"error":{"code":"unsupported_country_region_territory","message":"m"}}'),
    "an overload": (429, '{"error":{"type":"engine_overloaded_error","message":"m"}}'),
    "a fault": (500, '{"error":{"message":"m"}}'),
    "a string": (200, '{"error":"model not loaded"}'),
    "Zhipu's 500": (200, '{"code":500,"msg":"404 NOT_FOUND","success":false}'),
}


def failure(status: int, body: str, **headers: str) -> ProviderError:
    """Return the failure for a refusal."""
    complaint = read_complaint(status, body.encode(), headers)
    return complaint.failure(choose_row(complaint))


def wording(sign: Sign) -> str:
    """Return a message with the wording of a sign in its middle, in other letters."""
    text = sign.pattern.replace(" … ", " certain words ").replace("{}", "top_p")
    return f"Error (request 7): {text.capitalize()}. Sorry."


@pytest.mark.parametrize(("meaning", "sign"), SIGNS, ids=[sign.pattern for _meaning, sign in SIGNS])
def test_every_sign(meaning: Meaning, sign: Sign) -> None:
    """Each sign alone leads to its meaning and its class, as code, as type and as message."""
    status = 429 if meaning == "rate" else 400
    errors: list[dict[str, Any]] = [{"message": wording(sign)}]
    if sign.field == "code":
        errors = [{"code": sign.pattern.upper(), "message": "m"}, {"type": sign.pattern, "message": "m"}]
    for error in errors:
        complaint = read_complaint(status, json.dumps({"error": error}).encode(), {})
        row = choose_row(complaint)
        assert row is MEANT[meaning]
        assert row.blame == BLAMES[meaning]
        if meaning == "parameter" and sign.field == "message":
            assert complaint.param == (sign.param or "top_p")


def test_no_sign_is_there_twice() -> None:
    """No two signs match by the same words, and all are in lower case, as the texts they are looked for in."""
    patterns = [(sign.field, sign.pattern) for _meaning, sign in SIGNS]
    assert len(set(patterns)) == len(patterns)
    assert all(pattern == pattern.lower() for _field, pattern in patterns)
    assert all(word == word.lower() for word in FIREWALL_WORDS)


@pytest.mark.parametrize("name", REFUSALS)
def test_whole_refusals(name: str) -> None:
    """Each refusal, as its vendor sends it, has its meaning and its class."""
    status, body, meaning = REFUSALS[name]
    complaint = read_complaint(status, json.dumps(body).encode(), {})
    assert choose_row(complaint) is MEANT[meaning]
    assert complaint.failure(choose_row(complaint)).blame == BLAMES[meaning]
    assert complaint.enveloped or complaint.status != 200


@pytest.mark.parametrize("name", OTHERS)
def test_other_failures(name: str) -> None:
    """Pages, unknown refusals and faults are the upstream's: evidence and a probe decide about others."""
    assert failure(*OTHERS[name]).blame == "upstream"


def test_a_firewall_is_no_dead_key() -> None:
    """A firewall's page with 403 does not accuse the key, and is not waited for; a refusal in JSON accuses it."""
    complaint = read_complaint(403, b"<html>blocked</html>", {})
    assert choose_row(complaint) is FIREWALL
    assert failure(403, '{"error":{"message":"no access to this model"}}').blame == "key"
    assert failure(403, "").blame == "key"


@pytest.mark.parametrize("echo", ["rate limit exceeded", "too many requests", "please try again in 300s"])
def test_repeated_words_cool_no_key(echo: str) -> None:
    """A message that repeats the words of a prompt makes no limit of a request's fault, whatever the words are."""
    error = failure(400, json.dumps({"error": {"message": f"Invalid content: {echo}"}}))
    assert (error.blame, error.retry_after) == ("request", None)


@pytest.mark.parametrize(
    ("status", "message", "seconds"),
    [
        (429, "Rate limit reached. Please try again in 20s.", 20.0),
        (429, "Please try again in 6m0s. Visit", 300.0),
        (429, "Please try again in 120ms.", 0.12),
        (429, "Please try again in 1m26.4s.", 86.4),
        (429, "please try again after 1 seconds", 1.0),
        (429, "Please retry after 86400 seconds.", 300.0),
        (503, "Overloaded, retry in 2 minutes", 120.0),
        (429, "Please try again later", None),
        (400, "Please try again in 20s.", None),
    ],
)
def test_hints_in_messages(status: int, message: str, seconds: float | None) -> None:
    """A documented hint in the message counts, up to five minutes; a header wins over it."""
    body = json.dumps({"error": {"message": message}})
    assert failure(status, body).retry_after == (None if seconds is None else pytest.approx(seconds))
    if seconds is not None:
        assert read_complaint(status, body.encode(), {"retry-after": "7"}).retry_after == 7


def test_a_delay_in_the_body() -> None:
    """Gemini's `RetryInfo` is the hint."""
    status, body, _meaning = REFUSALS["Gemini's quota"]
    assert failure(status, json.dumps(body)).cooldown_s == 39


def test_a_quota_that_renews_is_a_limit() -> None:
    """A used-up quota with a hint is a limit, without one it is missing money; a vendor's code decides alone."""
    exceeded = {"message": "You exceeded your current quota"}
    body, coded = (json.dumps({"error": error}) for error in (exceeded, {**exceeded, "code": "insufficient_quota"}))
    assert failure(429, body, **{"retry-after": "7"}).blame == "rate"
    assert failure(429, body).blame == "key"
    assert failure(429, coded, **{"retry-after": "7"}).blame == "key"


PARTS = (PromptMessage("user", "What is this?", parts=({"type": "image_url", "image_url": {"url": "data:,"}},)),)


@pytest.mark.parametrize(
    ("status", "message", "param"),
    [
        (404, "No endpoints found that support tool use.", "tools"),
        (404, "No endpoints found that support image input", "messages"),
        (404, "No endpoints found that support the provided 'tool_choice' value.", "tool_choice"),
        (400, "registry.ollama.ai/library/gemma:2b does not support tools", "tools"),
        (500, "unknown variant `image_url`, expected `text` at line 1", "messages"),
        (400, "Unsupported parameter: 'top_p' is not supported with this model.", "top_p"),
    ],
)
def test_the_caller_hears_of_its_own_field(status: int, message: str, param: str) -> None:
    """A field of the caller's that the model does not take is named, whatever the status; keys are not blamed."""
    extras: dict[str, Any] = {"tools": [], "tool_choice": "required", "top_p": 0.5}
    complaint = read_complaint(status, json.dumps({"error": {"message": message}}).encode(), {})
    adapter = OpenAICompatible(Endpoint("http://vendor.example/v1"))
    refused = adapter.refusal(request("m", *PARTS, extras=extras), complaint)
    assert isinstance(refused, BadParameter)
    assert (refused.param, refused.blame) == (param, "request")


def test_a_model_of_another_kind_is_the_callers_choice() -> None:
    """The caller hears that the model is not one for its request; no configured field is left out for that."""
    status, body, _meaning = REFUSALS["OpenAI, a completion of an embeddings model"]
    complaint = read_complaint(status, json.dumps(body).encode(), {})
    refused = OpenAICompatible(Endpoint("http://vendor.example/v1")).refusal(request("m"), complaint)
    assert isinstance(refused, BadParameter)
    assert (refused.param, refused.action) == ("model", "user")


def test_a_configured_field_is_left_out() -> None:
    """A parameter of the model's row that the message names is left out of the next request."""
    status, body, _meaning = REFUSALS["Moonshot's temperature"]
    complaint = read_complaint(status, json.dumps(body).encode(), {})
    adapter = OpenAICompatible(Endpoint("http://vendor.example/v1"))
    better = adapter.refusal(request("m", parameters={"temperature": 0.5, "top_p": 1}), complaint)
    assert isinstance(better, Retry)
    assert dict(better.request.parameters) == {"top_p": 1}


@pytest.mark.parametrize(
    "piece",
    ["a", "limit 1, ", "try again in 1s 1s 1s ", "invalid ", "`", "api key ", "'top_p' ", "1", "<", "[", '{"a":'],
)
def test_long_messages_cost_little(piece: str) -> None:
    """64 KiB of any text, such as a prompt that is repeated, are read within a tenth of a second."""
    text = piece * (65_536 // len(piece))
    costs: list[float] = []
    for _ in until_below(0.1, costs):
        began = time.thread_time()
        for body in (json.dumps({"error": {"message": text}}), text):
            assert failure(429, body).blame in {"rate", "request"}
        costs.append(time.thread_time() - began)
    assert min(costs) < 0.1
