"""What Anthropic's refusals name: the field, the cause, and how much room is left; each row is in `tests/chat`."""

import json
from typing import Any

import pytest

from providers.wire.anthropic.errors import STATUSES, as_meant, refuses_blocks, refuses_type, room
from providers.wire.openai.errors import Complaint, read_complaint


def complaint(message: str, kind: str = "invalid_request_error", status: int = 400, **error: Any) -> Complaint:
    body = {"type": "error", "error": {"type": kind, "message": message, **error}, "request_id": "req_1"}
    return as_meant(read_complaint(status, json.dumps(body).encode(), {}))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ('messages: first message must use the "user" role', "messages"),
        ("messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6 bytes > 5 bytes", "messages"),
        ("This model does not support assistant message prefill. The conversation must end …", "messages"),
        ("tools.0.custom.input_schema: JSON schema is invalid", "tools"),
        ("stop_sequences: each stop sequence must contain non-whitespace", "stop"),
        ("output_config.format.schema: For 'object' type, 'additionalProperties' must be false", "response_format"),
        ("Thinking may not be enabled when tool_choice forces tool use.", "tool_choice"),
        ("`temperature` and `top_p` cannot both be specified for this model.", "temperature"),
        ("`temperature` may only be set to 1 when thinking is enabled.", "temperature"),
        ("Error: something else", ""),
        ("no", ""),
    ],
)
def test_the_field_that_a_refusal_is_about(message: str, field: str) -> None:
    """The field at the beginning of a path comes under the caller's name for it."""
    assert complaint(message).param == field


def test_the_cause_and_the_id_of_the_request() -> None:
    """The error code names the cause; the id of the request is in the body when no header has it."""
    found = complaint("no", details={"error_code": "image_dimensions_too_large", "paths": []})
    assert (found.code, found.param, found.request_id) == ("image_dimensions_too_large", "messages", "req_1")
    assert complaint("no", details=[7]).code == complaint("no", details={"error_code": 7}).code == ""


@pytest.mark.parametrize("kind", STATUSES)
def test_an_error_in_a_stream_has_its_own_status(kind: str) -> None:
    """Inside a stream, which began with 200, an error counts as the status of its type."""
    assert complaint("no", kind, 200).status == STATUSES[kind]
    assert complaint("no", kind, 503).status == 503
    assert complaint("no", "new_error", 200).status == 200


@pytest.mark.parametrize(
    ("message", "cap", "left"),
    [
        ("max_tokens: 9000 > 4096, which is the maximum allowed number of output tokens for m", 9_000, 4_096),
        ("max_tokens: 9000 > 4096, which is the maximum allowed number of output tokens for m", 4_096, None),
        ("input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease", 32_000, 10_000),
        ("input length and `max_tokens` exceed context limit: 199999 + 32000 > 200000, decrease", 32_000, None),
        ("input length and `max_tokens` exceed context limit: 210000 + 32000 > 200000, decrease", 32_000, None),
        ("prompt is too long: 210000 tokens > 200000 maximum", 32_000, None),
    ],
)
def test_room(message: str, cap: int, left: int | None) -> None:
    """A refusal of the token cap says how many tokens there is room for."""
    assert room(message, cap) == left


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("messages.1.content.0: Invalid `signature` in `thinking` block", True),
        (
            "messages.3.content.12: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot …",
            True,
        ),
        ("messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When …", False),
        ("messages.1.content.0: unexpected `tool_use_id` found in `tool_result` blocks: a", False),
        ("`temperature` may only be set to 1 when thinking is enabled", False),
    ],
)
def test_refused_thinking_blocks(message: str, refused: bool) -> None:
    """Thinking blocks that the vendor refuses are not confused with those that it misses."""
    assert refuses_blocks(message) is refused


def test_refused_ways_of_thinking() -> None:
    """Only the way that was asked for counts."""
    message = '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and …'
    assert (refuses_type(message, "enabled"), refuses_type(message, "adaptive")) == (True, False)
