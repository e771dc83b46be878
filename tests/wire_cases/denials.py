"""Kinds 3, 5 and 6: moderation, and keys that are dead, empty or limited, in all words."""

from typing import Any

from tests.wire_cases.shapes import PLAIN, Case, body, error, stream, text

BLOCKED: dict[str, Any] = {"text": "", "ends": "content_blocked", "charge": 0}
TOO_LONG: dict[str, Any] = {"text": "", "ends": "prompt_too_long", "charge": 0}
FAILED: dict[str, Any] = {"text": "", "ends": "upstream_error", "charge": 0}
CUT: dict[str, Any] = {"ends": "content_filter"}
# The first key refuses, the second one answers.
SECOND: dict[str, Any] = {"accuses_key": True, "calls": (2,), "usage": (9, 2)}
DEAD: dict[str, Any] = {**SECOND, "keys": ("quarantined",)}
COOLING: dict[str, Any] = {**SECOND, "keys": ("cooling",)}
# The only key refuses.
ONLY: dict[str, Any] = {**FAILED, "accuses_key": True, "pool": 1, "keys": ("quarantined",), "served": False}
INAPPROPRIATE = "data may contain inappropriate content."

MODERATION_403 = [
    Case(
        "usage guidelines",
        [body({"code": "permission-denied", "error": "Content violates usage guidelines. "}, 403)],
        **BLOCKED,
    ),
    Case(
        "flagged",
        [
            error(
                403,
                'Your chosen model requires moderation and your input was flagged for "violence"',
                code=403,
                metadata={"reasons": ["violence"]},
            )
        ],
        **BLOCKED,
    ),
    Case(
        "a failed safety check",
        [
            body(
                {
                    "code": "The caller does not have permission to execute the specified operation",
                    "error": "Content violates usage guidelines. Team: t, API key ID: k, Model: grok-4-0709, "
                    "Failed check: SAFETY_CHECK_TYPE_BIO",
                },
                403,
            )
        ],
        source="https://github.com/UKGovernmentBEIS/inspect_ai/pull/2267",
        **BLOCKED,
    ),
    Case(
        "a gateway's guardrail",
        [
            body(
                {
                    "success": False,
                    "error": [{"code": 2016, "message": "Prompt blocked due to security configurations"}],
                },
                424,
            )
        ],
        source="https://developers.cloudflare.com/ai-gateway/guardrails/set-up-guardrail/",
        **BLOCKED,
    ),
]

KEYS = [
    Case(
        "in a list",
        [
            body(
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
                400,
            )
        ],
        **DEAD,
    ),
    Case(
        "a delay in the body",
        [
            body(
                [
                    {
                        "error": {
                            "code": 429,
                            "message": "You exceeded your current quota, please check your plan.",
                            "status": "RESOURCE_EXHAUSTED",
                            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39s"}],
                        }
                    }
                ],
                429,
            )
        ],
        **COOLING,
    ),
    Case(
        "suspended",
        [
            error(
                429,
                "Your account org-x<ak-x> is suspended due to insufficient balance, please recharge your account",
                type="exceeded_current_quota_error",
            )
        ],
        **DEAD,
    ),
    Case(
        "arrears",
        [
            error(
                400,
                "Access denied, please make sure your account is in good standing.",
                code="Arrearage",
                type="Arrearage",
            )
        ],
        **DEAD,
    ),
    Case(
        "low credit",
        [
            body(
                {
                    "type": "error",
                    "error": {
                        "type": "invalid_request_error",
                        "message": "Your credit balance is too low to access the API. Please go to Plans & Billing.",
                    },
                },
                400,
            )
        ],
        **DEAD,
    ),
    Case(
        "a relay's own quota",
        [
            error(
                403,
                "用户额度不足, 剩余额度: ＄0.000000",
                type="new_api_error",
                code="insufficient_user_quota",
            )
        ],
        **DEAD,
    ),
    Case("money with 200", [body({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}})], **DEAD),
    Case("a login with 200", [body({"code": 401, "msg": "token invalid", "data": None})], **DEAD),
    Case("deactivated", [error(401, "The account x has been deactivated.", code="account_deactivated")], **DEAD),
    Case(
        "401 in a list",
        [body({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "result": None}, 401)],
        **DEAD,
    ),
    Case(
        "a rate",
        [
            body(
                {
                    "error": {
                        "code": "RateLimitReached",
                        "message": "Rate limit of 10 per 60s exceeded.",
                    }
                },
                429,
                Retry_After="30",
            )
        ],
        **COOLING,
    ),
    Case(
        "spending in flight",
        [
            body(
                {
                    "error": {
                        "code": 402,
                        "message": "In-flight spending budget exhausted",
                        "metadata": {"limit_source": "openrouter_in_flight_budget"},
                    }
                },
                402,
                Retry_After="2",
            ),
            PLAIN,
        ],
        pool=1,
        calls=(2,),
        usage=(9, 2),
    ),
    Case(
        "the key's limit",
        [
            error(
                403,
                "Key limit exceeded (total limit). Manage it in the settings.",
                code=403,
                metadata={"limit_source": "openrouter_key_limit"},
            )
        ],
        **ONLY,
    ),
    Case("Zhipu", [error(429, "余额不足或无可用资源包,请充值。", code="1113")], kind="zhipu", **ONLY),
    Case(
        "never bought credits",
        [
            error(
                402,
                "Insufficient credits. This account never purchased credits. Make sure your key is on the correct "
                "account or org, and if so, purchase more at https://openrouter.ai/settings/credits",
                code=402,
            )
        ],
        source="https://github.com/Alishahryar1/free-claude-code/issues/772",
        **DEAD,
    ),
    Case(
        "a code of its own for a bad key",
        [error(401, "Invalid API key", type="authentication_error", code="api_key_invalid")],
        source="https://github.com/Gitlawb/openclaude/issues/1303",
        **DEAD,
    ),
    Case(
        "plan and billing",
        [
            error(
                429,
                "You exceeded your current quota, please check your plan and billing details. For more information on "
                "this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
                type="insufficient_quota",
                code="insufficient_quota",
            )
        ],
        source="https://github.com/dev-hato/hato-bot/pull/4552",
        **DEAD,
    ),
]

MODERATION = [
    Case(
        "a general code",
        [error(400, "Content Exists Risk", type="invalid_request_error", code="invalid_request_error")],
        **BLOCKED,
    ),
    Case(
        "by type",
        [
            error(
                400,
                "The request was rejected because it was considered high risk",
                code=400,
                param="prompt",
                type="content_filter",
            )
        ],
        **BLOCKED,
    ),
    Case(
        "inspection",
        [error(400, f"Input {INAPPROPRIATE}", type="data_inspection_failed", code="data_inspection_failed")],
        **BLOCKED,
    ),
    Case(
        "inspection after text",
        [stream(text("Part"), {"error": {"code": "data_inspection_failed", "message": f"Output {INAPPROPRIATE}"}})],
        text="Part",
        **CUT,
    ),
    Case(
        "by code",
        [
            error(
                400,
                "The response was filtered due to the prompt triggering our content management policy.",
                param="prompt",
                code="content_filter",
                innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            )
        ],
        **BLOCKED,
    ),
    Case(
        "moderation with 200",
        [
            body(
                {
                    "choices": None,
                    "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"},
                    "input_sensitive": True,
                }
            )
        ],
        **BLOCKED,
    ),
    Case(
        "Zhipu's prompt",
        [
            body(
                {
                    "contentFilter": [{"level": 1, "role": "user"}],
                    "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"},
                },
                400,
            )
        ],
        kind="zhipu",
        **BLOCKED,
    ),
    Case(
        "Zhipu's text",
        [stream(text("bad text"), {"error": {"code": "1301", "message": "系统检测到"}})],
        kind="zhipu",
        text="bad text",
        withdrawn=True,
        **CUT,
    ),
    Case("Spark's prompt", [body({"code": 10013, "message": "m", "sid": "cha1"})], kind="spark_http", **BLOCKED),
    Case(
        "Spark's text",
        [stream(text("bad text"), {"code": 10014, "message": "m", "sid": "cha1"})],
        kind="spark_http",
        text="bad text",
        withdrawn=True,
        **CUT,
    ),
    Case(
        "Spark's dialogue",
        [stream(text("Part"), {"code": 10019, "message": "m", "sid": "cha1"})],
        kind="spark_http",
        text="Part",
        **CUT,
    ),
    Case(
        "an inspection's name in the message",
        [error(400, f"<400> InternalError.Algo.DataInspectionFailed: Input text {INAPPROPRIATE}", code=400)],
        source="https://github.com/QwenLM/qwen-code/issues/3119",
        **BLOCKED,
    ),
    Case(
        "a relay's words",
        [
            error(
                400,
                "input contains sensitive words: [test] (request id: 1)",
                type="new_api_error",
                param="",
                code="sensitive_words_detected",
            )
        ],
        source="https://github.com/openai/openai-cookbook/issues/1224",
        **BLOCKED,
    ),
    Case(
        "a guardrail after text",
        [
            stream(
                text("Part"),
                {"error": [{"code": 2017, "message": "Response blocked due to security configurations"}]},
            )
        ],
        text="Part",
        source="https://developers.cloudflare.com/ai-gateway/guardrails/set-up-guardrail/",
        **CUT,
    ),
]

CASES = [*MODERATION_403, *KEYS, *MODERATION]
