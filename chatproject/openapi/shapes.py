"""The JSON that is answered, as schemas of OpenAPI 3.1, in the words of docs/api.md."""

from typing import Any

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
WHOLE: Shape = {"type": "integer"}
COUNT: Shape = {"type": "integer", "minimum": 0}
FLAG: Shape = {"type": "boolean"}
TIME: Shape = {"type": "string", "format": "date-time"}
ANYTHING: Shape = {}

# Codes of refusals, and of failures that are told inside of a stream.
CODES = (
    *("invalid_request", "invalid_code", "not_authenticated", "account_incomplete", "forbidden", "not_found"),
    *("conflict", "prompt_too_long", "content_blocked", "quota_exhausted", "too_many_requests", "internal_error"),
    *("model_unavailable", "service_unavailable", "upstream_error", "upstream_timeout", "interrupted"),
)


def record(**fields: Shape) -> Shape:
    """Return an object of just these fields; one whose name ends with an underscore may be absent."""
    names = {name.removesuffix("_"): shape for name, shape in fields.items()}
    required = [name for name in fields if not name.endswith("_")]
    return {"type": "object", "properties": names, "required": required, "additionalProperties": False}


def many(shape: Shape) -> Shape:
    return {"type": "array", "items": shape}


def maybe(shape: Shape) -> Shape:
    """Return the shape or null."""
    return {"anyOf": [shape, {"type": "null"}]}


def one_of(*values: str) -> Shape:
    return {"type": "string", "enum": list(values)}


def ref(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


def page(name: str) -> Shape:
    """Return one page of a list: `next` is the URL of the next one."""
    return record(results=many(ref(name)), next=maybe(TEXT))


_DETAILS: Shape = {"type": "object", "description": "What is wrong with each field, or facts from the vendor."}
_PROBLEM = {"code": one_of(*CODES), "message": TEXT, "details_": _DETAILS}
_FINISH = one_of("stop", "length", "content_filter", "cancelled")
_EMPTY = record()

COMPONENTS: dict[str, Shape] = {
    "Refusal": record(error=ref("Problem"), request_id=TEXT),
    "Problem": record(**_PROBLEM),
    "OpenAIRefusal": record(error=record(message=TEXT, type=TEXT, param=maybe(TEXT), code=maybe(TEXT))),
    "Tokens": record(access=TEXT, refresh=TEXT),
    "Account": record(id=WHOLE, username=TEXT, email=TEXT),
    "Registered": record(user=ref("Account"), access=TEXT, refresh=TEXT),
    "Me": record(id=WHOLE, username=TEXT, email=TEXT, invite_code=TEXT, invite_url=TEXT, quotas=many(ref("Quota"))),
    "ApiToken": record(id=WHOLE, name=TEXT, created_at=TIME, last_used_at=maybe(TIME)),
    "NewApiToken": record(id=WHOLE, name=TEXT, created_at=TIME, last_used_at=maybe(TIME), token=TEXT),
    "Ticket": record(ticket=TEXT, expires_in=COUNT),
    "Quota": record(
        slug=TEXT,
        title=TEXT,
        models=many(TEXT),
        daily_limit=maybe(COUNT),
        used_today=COUNT,
        credits=COUNT,
        remaining=maybe(COUNT),
        resets_at=TIME,
    ),
    "LedgerRow": record(
        id=WHOLE,
        quota=TEXT,
        amount=WHOLE,
        source=one_of("daily", "credit"),
        reason=TEXT,
        generation=maybe(TEXT),
        created_at=TIME,
    ),
    "UsageOfDay": record(
        date={"type": "string", "format": "date"}, model=TEXT, answers=COUNT, input_tokens=COUNT, output_tokens=COUNT
    ),
    "Invitations": record(
        code=TEXT,
        url=TEXT,
        invited=many(record(username=TEXT, joined_at=TIME, credited=FLAG)),
        pending=COUNT,
        earned=COUNT,
    ),
    "Redeemed": record(quota=TEXT, credits=COUNT),
    "Model": record(slug=TEXT, title=TEXT, description=TEXT, quota=TEXT, available=FLAG),
    "TextTool": record(slug=TEXT, title=TEXT, needs_target_language=FLAG),
    "Conversation": record(
        id=WHOLE, title=TEXT, pinned=FLAG, archived=FLAG, system_prompt=TEXT, created_at=TIME, updated_at=TIME
    ),
    "Message": record(
        id=WHOLE,
        parent=maybe(WHOLE),
        role=one_of("user", "assistant"),
        content=TEXT,
        reasoning=TEXT,
        model=maybe(TEXT),
        generation=maybe(TEXT),
        created_at=TIME,
    ),
    "TokensUsed": record(input_tokens=COUNT, output_tokens=COUNT, estimated=FLAG),
    "Charge": record(amount=COUNT, source=one_of("daily", "credit", "none"), reason=TEXT),
    "Generation": record(
        id=TEXT,
        status=one_of("running", "completed", "interrupted", "failed"),
        model=TEXT,
        conversation=maybe(WHOLE),
        message=maybe(WHOLE),
        finish_reason=maybe(_FINISH),
        content=TEXT,
        reasoning=TEXT,
        usage=maybe(ref("TokensUsed")),
        charge=maybe(ref("Charge")),
        error=maybe(ref("Problem")),
        created_at=TIME,
        finished_at=maybe(TIME),
    ),
    "Begun": record(generation=ref("Generation"), events=TEXT),
    "Export": {
        **record(format=one_of("rivulet"), version=WHOLE, exported_at_=TIME, conversations=many({"type": "object"})),
        "additionalProperties": True,
    },
    "Imported": record(conversations=COUNT, messages=COUNT),
    "Pushed": record(id=TEXT),
    "Playing": record(events=TEXT),
    "Health": record(status=one_of("ok", "degraded", "unavailable"), redis_=TEXT, reason_=TEXT),
    # --- events of /api/chat/ and /api/generations/<id>/events/ ---
    "ChatStartEvent": record(generation=TEXT, conversation=maybe(WHOLE), model=TEXT, title=TEXT),
    "ChatMessageEvent": record(role=one_of("assistant"), content=TEXT),
    "ChatReasoningEvent": record(content=TEXT),
    "ChatNoticeEvent": record(code=TEXT, message=TEXT),
    "ChatResetEvent": record(content=TEXT, reasoning=TEXT),
    "ChatDoneEvent": record(
        finish_reason=_FINISH,
        message=maybe(WHOLE),
        usage=ref("TokensUsed"),
        charge=ref("Charge"),
        quota=ref("Quota"),
    ),
    "ChatErrorEvent": record(**_PROBLEM, retry_after_={"type": "number"}, charge=ref("Charge")),
    # --- events of push channels ---
    "PushMessageEvent": {"description": "What was pushed: a text as it was given, or one line of JSON."},
    "PushCompleteEvent": _EMPTY,
    "PushErrorEvent": record(message=TEXT),
    "PushResetEvent": _EMPTY,
    # --- events of the classic example ---
    "ClassicErrorEvent": record(code=one_of(*CODES), message=TEXT),
    # --- /v1 ---
    "OpenAIModel": record(id=TEXT, object=one_of("model"), created=COUNT, owned_by=TEXT),
    "OpenAIModels": record(object=one_of("list"), data=many(ref("OpenAIModel"))),
    "OpenAIUsage": record(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT),
    "Completion": record(
        id=TEXT,
        object=one_of("chat.completion"),
        created=COUNT,
        model=TEXT,
        choices=many(
            record(
                index=COUNT,
                message={"type": "object", "required": ["role", "content"]},
                logprobs=maybe(ANYTHING),
                finish_reason=TEXT,
            )
        ),
        usage=ref("OpenAIUsage"),
    ),
    "CompletionChunk": record(
        id=TEXT,
        object=one_of("chat.completion.chunk"),
        created=COUNT,
        model=TEXT,
        choices=many(
            record(index=COUNT, delta={"type": "object"}, logprobs_=maybe(ANYTHING), finish_reason=maybe(TEXT))
        ),
        usage_=maybe(ref("OpenAIUsage")),
    ),
}
