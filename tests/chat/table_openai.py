"""Every row of the error table of OpenAI-compatible upstreams."""

import json
from typing import Any

import pytest

from tests.chat.outcomes import Rest
from tests.chat.verdicts import (
    HISTORY,
    HOUR,
    OPS,
    THREE,
    USER,
    Ending,
    Resend,
    Row,
    Table,
    Verdict,
    again,
    deny,
    disable,
    switch,
    wait,
)
from tests.scenarios import PLAIN, REASONING
from tests.servers import free_port
from tests.upstreams import FakeOpenAI

CAPPED = {"parameters": {"max_tokens": 5}}
QUICK = {"first_seconds": 3, "idle_seconds": 3}

GATEWAY = wait(1)
# Neither the key nor the request is accused: another key now, and the circuit opens when a probe fails too.
NEITHER = Verdict(others=True, opens=True)
SLOW_DOWN = Verdict(again(), Rest(pytest.approx(5, abs=3), True), others=True)
NOBODY = f"http://127.0.0.1:{free_port()}/v1"


def says(status: int, verdict: Verdict, told: str = "upstream_error", **error: Any) -> Row:
    """Return the row of a refusal in OpenAI's envelope, with a key among its words."""
    words = {"message": "sk-leak", "type": None, "param": None, "code": None, **error}
    vendor_code = words["code"] or words["type"] or ""
    return Row(f"body:{status}:" + json.dumps({"error": words}), verdict, vendor_code, told, "req-1")


def page(status: int, verdict: Verdict, told: str = "upstream_error") -> Row:
    """Return the row of a refusal by something in between, which is a page."""
    return Row(f"body:{status}:<html>sk-leak</html>", verdict, "", told, "req-1")


def hinted(status: int, seconds: float, verdict: Verdict, code: str) -> Row:
    """Return the row of a refusal that says when to come back."""
    return Row(f"hinted:{status}:{seconds}:{code}", verdict, code, request_id="req-1")


def broken(does: str, vendor_code: str, verdict: Verdict = GATEWAY) -> Row:
    """Return the row of a response that cannot be read."""
    return Row(does, verdict, vendor_code, request_id="" if vendor_code == "bad_http" else "req-1")


def inside(event: str, verdict: Verdict, vendor_code: str, told: str = "upstream_error") -> Row:
    """Return the row of a refusal that is the only event of a stream."""
    return Row(f"event:{event}", verdict, vendor_code, told, "req-1")


BLOCKED, TOO_LONG = "content_blocked", "prompt_too_long"
MONEY = ("credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded")
ROWS = {
    "400 context length": says(400, USER, TOO_LONG, code="context_length_exceeded"),
    "400 context length of vLLM": says(400, USER, TOO_LONG, message="This model's maximum context length is 9"),
    "400 unsupported parameter": says(400, USER, code="unsupported_parameter", param="top_k"),
    "400 unsupported value": says(400, USER, code="unsupported_value", param="top_k"),
    "400 unsafe prompt": says(400, USER, BLOCKED, code="invalid_prompt", message="violates our usage policy"),
    "400 content filter": says(400, USER, BLOCKED, code="content_filter"),
    "400 content policy": says(400, USER, BLOCKED, code="content_policy_violation"),
    "400 other": says(400, USER, type="invalid_request_error"),
    "422": says(422, USER, type="invalid_request_error"),
    "401 bad key": says(401, disable(), code="invalid_api_key"),
    "401 page": page(401, disable()),
    "402": says(402, disable(), message="Insufficient Balance sk-leak"),
    "403 region": says(403, OPS, code="unsupported_country_region_territory"),
    "403 other": says(403, deny(HOUR)),
    "403 moderation": says(403, USER, BLOCKED, message="Your input was flagged by moderation"),
    **{
        f"{status} moderation, {words}": says(status, USER, BLOCKED, message=f"{words} sk-leak")
        for status, words in (
            (400, "Content Exists Risk"),
            (403, "Content violates usage guidelines."),
            (403, "The guardrail rejected this input"),
            (403, "您的输入包含敏感信息"),
            (451, "The prompt may contain inappropriate content"),
            (500, "bad response status code 400: Content Exists Risk"),
        )
    },
    "403 firewall": page(403, NEITHER),
    "403 firewall as text": Row("body:403:Request blocked sk-leak", NEITHER, "", request_id="req-1"),
    "404 tools": says(404, USER, message="No endpoints found that support tool use"),
    "404 model": says(404, deny(HOUR), code="model_not_found"),
    "404 page": page(404, OPS),
    "405": page(405, OPS),
    "301": page(301, OPS),
    "302": Row("redirect", OPS, request_id="req-1"),
    "407": page(407, OPS),
    "408": page(408, wait()),
    "409": says(409, wait()),
    "413": page(413, USER, TOO_LONG),
    "413 limit per minute": says(413, USER, TOO_LONG, message="Request too large for m on tokens per minute"),
    "418": says(418, NEITHER),
    "429 limit per minute": says(
        429,
        USER,
        TOO_LONG,
        message="Request too large for m on tokens per min (TPM): Limit 10, Requested 99.",
        type="tokens",
        code="rate_limit_exceeded",
    ),
    "429 hint in words": says(429, switch(7), message="Rate limit reached. Please try again in 7s."),
    "429 long hint in words": says(429, switch(300), message="Please try again in 1h2m."),
    "429 suspended": says(429, disable(), message="Your account is suspended due to insufficient balance"),
    "400 low credit": says(400, disable(), message="Your credit balance is too low"),
    "400 bad key": says(400, disable(), message="API key not valid."),
    "402 in flight": says(
        402, switch(3), message="Please try again in 3s", metadata={"limit_source": "openrouter_in_flight_budget"}
    ),
    "429 requests": says(429, switch(5), code="rate_limit_exceeded", type="requests"),
    "429 tokens": says(429, switch(5), type="tokens"),
    "429 page": page(429, switch(5)),
    "429 with a short hint": Row(
        "hinted:429:3.5:rate_limit_exceeded", switch(3.5), "rate_limit_exceeded", request_id="req-1"
    ),
    "429 with a long hint": Row(
        "hinted:429:120:rate_limit_exceeded", switch(120), "rate_limit_exceeded", request_id="req-1"
    ),
    "429 slow down": says(429, SLOW_DOWN, code="slow_down", type="rate_limit_error"),
    "429 quota as type": says(429, disable(), type="insufficient_quota"),
    "429 quota as code": says(429, disable(), code="insufficient_quota", type="requests"),
    **{f"429 {code}": says(429, disable(), code=code) for code in (*MONEY, "organization_usage_limit_exceeded")},
    "500": says(500, wait(), type="server_error"),
    **{str(status): page(status, GATEWAY) for status in (502, 504, 520, 524)},
    "503 overloaded": says(503, wait(others=False), code="server_is_overloaded"),
    "503 with a hint": Row(
        "hinted:503:2:server_is_overloaded",
        Verdict(((2, 2),) * 2, opens=True),
        "server_is_overloaded",
        request_id="req-1",
    ),
    "503 with a long hint": hinted(503, 11, OPS, "server_is_overloaded"),
    "no first event": Row("hang_after_headers", wait(1), "first_timeout", "upstream_timeout", "req-1", QUICK),
    "no head": Row("hang", wait(1), "first_timeout", "upstream_timeout", upstream=QUICK),
    "nobody listens": Row(
        "", wait(others=False), "network", upstream={"base_url": f"http://127.0.0.1:{free_port()}/v1"}, reached=False
    ),
    "200 with a page": broken("html_200", "not_a_stream"),
    "200 with JSON": broken("json_200", "not_a_stream"),
    "200 with an end only": broken("only_end", "empty"),
    "200 without an end": broken("eof", "truncated"),
    "garbage": broken("garbage", "bad_http"),
    "200 with an error": Row("json_error_200:insufficient_quota", disable(), "insufficient_quota", request_id="req-1"),
    "429 in an event": inside('{"error":{"code":429,"message":"sk-leak"}}', switch(5), "429"),
    "rate in an event": inside('{"choices":null,"base_resp":{"status_code":1002}}', switch(5), "1002"),
    "money in an event": inside(
        '{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}', disable(), "1008"
    ),
    "login in an event": inside('{"code":401,"msg":"token invalid","data":null}', disable(), "401"),
    "moderation in an event": inside('{"base_resp":{"status_code":1026}}', USER, "1026", BLOCKED),
    "errors in an event": inside('{"errors":[{"message":"model not loaded"}]}', wait(), ""),
    "error as a field": Row("error_field", USER, "400", TOO_LONG, "req-1"),
    "error as a string": Row("error_string", wait(), "", request_id="req-1"),
    "error with its finish reason": Row("error_finish", wait(), "server_error", request_id="req-1"),
    **{
        f"finish reason {reason}": Row(f"finish:{reason}:", GATEWAY, reason, request_id="req-1")
        for reason in ("network_error", "insufficient_system_resource", "error")
    },
}
ENDINGS = {
    "length": Ending("finish:length", "done length", PLAIN),
    "context window": Ending("finish:model_context_window_exceeded", "done length", PLAIN),
    "content filter": Ending("finish:content_filter", "done content_filter", PLAIN),
    "content filter before text": Ending("finish:content_filter:", "done content_filter", charged=0, moderated=True),
    "nothing": Ending("empty", "done stop", charged=0),
    "white space": Ending("whitespace", "done stop", " \n\t\n", charged=0),
    "nothing at the cap": Ending("finish:length:", "done length", charged=0),
    "thinking at the cap": Ending("thinking:length", "done length", reasoning=REASONING),
    "thinking only": Ending("thinking", "done stop", reasoning=REASONING),
    "tools": Ending("finish:tool_calls", "done stop", PLAIN),
    "unknown": Ending("finish:new_in_2027", "done stop", PLAIN),
    "network error": Ending("finish:network_error", "error upstream_error", PLAIN),
    "error": Ending("error_mid_stream", "error upstream_error", THREE),
    "cut": Ending("cut_mid_stream", "error upstream_error", THREE),
    "end of file": Ending("eof_mid_stream", "error upstream_error", THREE),
    "reset": Ending("reset_mid_stream", "error upstream_error", THREE),
    "no JSON": Ending("bad_json", "error upstream_error", "Hel"),
    "moderation": Ending("error_after:data_inspection_failed", "done content_filter", "Hel"),
    "silence": Ending("hang_mid_stream", "error upstream_timeout", THREE, upstream=QUICK),
}


RESENDS = {
    "token cap": Resend(
        "unsupported_max_tokens", "done stop", model=CAPPED, learned={"token_cap_field": "max_completion_tokens"}
    ),
    "usage": Resend("needs_no_stream_options", "done stop", learned={"include_usage": False}),
    "parameter": Resend(
        "http_400:unsupported_value:top_p",
        "error upstream_error",
        model={"parameters": {"top_p": 1}},
    ),
    "cap refused": Resend(
        "http_400:unsupported_parameter:max_tokens",
        "error upstream_error",
        model=CAPPED,
    ),
    "shorter": Resend("context:6", "done stop", history=HISTORY),
    "still too long": Resend("http_400:context_length_exceeded", "error prompt_too_long", history=HISTORY),
    "body too large": Resend("body:413:", "error prompt_too_long", 1, history=HISTORY),
}
TABLE = Table(FakeOpenAI, "openai", ROWS, ENDINGS, RESENDS)
