"""Kinds 9, 16 and 17: prompts that are too long, routes, and parameters that a model refuses."""

from dataclasses import replace
from typing import Any

from tests.wire_cases.shapes import WORKS, Case, Reply, body, error, frames, page

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


def too_long(name: str, refusal: Reply, source: str = "wire-cases", **fields: Any) -> Case:
    return Case(name, [refusal], source=source, **fields, **TOO_LONG)


LENGTH = [
    too_long(
        "a list",
        body(
            [
                {
                    "error": {
                        "code": 400,
                        "message": "The input token count (1200000) exceeds the maximum number of tokens allowed "
                        "(1048576).",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ],
            400,
        ),
    ),
    too_long(
        "by message",
        error(400, "prompt is too long: 210000 tokens > 200000 maximum", code="invalid_request_error"),
    ),
    too_long(
        "too long, by type",
        error(
            400,
            "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
            code=400,
            type="exceed_context_size_error",
        ),
    ),
    too_long(
        "token limit",
        error(
            400,
            "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
            type="invalid_request_error",
        ),
    ),
    too_long(
        "an error that is a string",
        body(
            {
                "code": "Client specified an invalid argument",
                "error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",
            },
            400,
        ),
    ),
    too_long(
        "a number for code",
        body(
            {
                "code": 20015,
                "message": "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
                "data": None,
            },
            400,
        ),
    ),
    too_long(
        "a list of errors",
        body(
            {
                "errors": [
                    {
                        "message": "AiError: The estimated number of input tokens exceeded this model context window "
                        "limit (7968). ",
                        "code": 5021,
                    }
                ],
                "success": False,
            },
            400,
        ),
    ),
    too_long(
        "known wording", error(400, "This model's maximum context length is 4096 tokens. However, you asked for 9")
    ),
    too_long(
        "known wording, Mistral's",
        body({"message": "Prompt contains 9 tokens, too large for model with 32768 maximum context length"}, 400),
    ),
    too_long("known code, Zhipu's", error(400, "Prompt 超长", code="1261"), kind="zhipu"),
    too_long(
        "known code, Spark's",
        frames({"header": {"code": 10907, "message": "token total exceeded", "sid": "cht1", "status": 2}}),
        kind="spark",
    ),
    too_long(
        "in a stream, as a field",
        Reply(((0.0, b'error: {"code":400,"message":"the request exceeds the available context size. try"}\n\n'),)),
    ),
    too_long(
        "the limit in brackets",
        error(400, "Input length (265330) exceeds model's maximum context length (262144).", code=400),
        source="https://github.com/earendil-works/pi/issues/5677",
    ),
    too_long(
        "behind a relay",
        error(
            400,
            "Provider returned error",
            code=400,
            metadata={
                "raw": '{"error":{"message":"This model\'s maximum context length is 262144 tokens. However, your '
                'messages resulted in 262897 tokens. Please reduce the length of the messages."}}',
                "provider_name": "Nvidia",
            },
        ),
        source="https://github.com/cline/cline/issues/13194",
    ),
    too_long(
        "Zhipu, in English",
        error(400, "Prompt exceeds max length", code="1261"),
        source="https://github.com/tashfeenahmed/freellmapi/issues/873",
        kind="zhipu",
    ),
    too_long(
        "cannot be cut",
        error(
            400,
            "[original: beyond::dependency::INVALID_ARGUMENT] Cannot truncate to 89998, required 355220",
            code=400,
            status="INVALID_ARGUMENT",
        ),
        source="https://github.com/iBUHub/AIStudioToAPI/issues/268",
    ),
]

# The same from the third message on: the older turns are left out.
IN_CONVERSATIONS = [
    replace(
        case,
        name=f"in a conversation: {case.name}",
        fits=2,
        text=WORKS,
        ends="stop",
        charge=1,
        calls=(2,),
        usage=(9, 2),
        surfaces=("chat",),
    )
    for case in LENGTH
]

SECOND_ROUTE: dict[str, Any] = {"second_route": True, "usage": (9, 2)}
ROUTES = [
    Case("a wrong address first", [page(404, "<html>Not Found</html>")], calls=(2, 3), **SECOND_ROUTE),
    Case("a busy vendor first", [page(503, "<html>Service Unavailable</html>")], calls=(2, 3), **SECOND_ROUTE),
    Case(
        "a closed region first",
        [
            error(
                403,
                "Country, region, or territory not supported",
                code="unsupported_country_region_territory",
                type="request_forbidden",
            )
        ],
        calls=(2, 3),
        source="https://github.com/openai/openai-python/issues/1520",
        **SECOND_ROUTE,
    ),
    Case(
        "an unknown model first",
        [error(404, "The model `m` does not exist or you do not have access to it.", code="model_not_found")],
        calls=(2, 3),
        keys=("cooling", "cooling"),
        source="https://platform.openai.com/docs/guides/error-codes",
        **SECOND_ROUTE,
    ),
    Case("a redirect first", [page(302, Location="/login")], calls=(2, 3), source="operators", **SECOND_ROUTE),
]

MENDED: dict[str, Any] = {"calls": (2,), "usage": (9, 2)}
ONLY_ONE = error(400, "invalid temperature: only 1 is allowed for this model", type="invalid_request_error")
NAMED: dict[str, Any] = {"text": "", "ends": "invalid_request", "charge": 0}
PARAMETERS = [
    Case(
        "one temperature, in words",
        [ONLY_ONE],
        refuses="temperature",
        parameters={"temperature": 0.5},
        **MENDED,
    ),
    Case(
        "the cap's name",
        [error(400, "m", code="unsupported_parameter", param="max_tokens")],
        refuses="max_tokens",
        parameters={"max_tokens": 100},
        **MENDED,
    ),
    Case(
        "a value",
        [error(400, "m", code="unsupported_value", param="temperature")],
        refuses="temperature",
        parameters={"temperature": 0.5},
        **MENDED,
    ),
    Case(
        "an unknown field",
        [
            body(
                {
                    "object": "error",
                    "message": {
                        "detail": [
                            {
                                "type": "extra_forbidden",
                                "loc": ["body", "stream_options"],
                                "msg": "Extra inputs are not permitted",
                            }
                        ]
                    },
                    "type": "invalid_request_error",
                },
                422,
            )
        ],
        refuses="stream_options",
        **MENDED,
    ),
    Case(
        "a value, with the default named",
        [error(400, "Unsupported value: 'temperature' does not support 0.16 with this model. Only the default (1)")],
        refuses="temperature",
        parameters={"temperature": 0.16},
        source="https://github.com/decolua/9router/issues/560",
        **MENDED,
    ),
    Case(
        "a validation error in the message",
        [
            body(
                {
                    "object": "error",
                    "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'top_k'), 'msg': 'Extra inputs are not "
                    "permitted', 'input': 8192}]",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                },
                400,
            )
        ],
        refuses="top_k",
        parameters={"top_k": 20},
        source="https://github.com/voideditor/void/issues/128",
        **MENDED,
    ),
    Case(
        "a validation error with arrows",
        [
            body(
                {
                    "type": "urn:inference-service:problem-details:unprocessable-entity",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "detail": "body -> frequency_penalty\n  Extra inputs are not permitted (type=extra_forbidden)",
                    "instance": "/v2/nvcf/pexec/functions/b0fc",
                },
                422,
            )
        ],
        refuses="frequency_penalty",
        parameters={"frequency_penalty": 0.1},
        source="https://github.com/NVIDIA/garak/issues/748",
        **MENDED,
    ),
    Case(
        "a cap of the caller's",
        [error(400, "m", code="unsupported_parameter", param="max_tokens")],
        refuses="max_tokens",
        asks={"max_tokens": 100},
        **MENDED,
    ),
    Case(
        "a value of the caller's",
        [error(400, "Unsupported value: 'seed' does not support 7 with this model.", code="unsupported_value")],
        refuses="seed",
        asks={"seed": 7},
        param="seed",
        surfaces=("streamed", "whole"),
        source="https://github.com/decolua/9router/issues/560",
        **NAMED,
    ),
]

CASES = [*LENGTH, *IN_CONVERSATIONS, *ROUTES, *PARAMETERS]
