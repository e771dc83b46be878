"""Map Anthropic's errors to actions, and read from them how to send a request differently.

The types follow https://platform.claude.com/docs/en/api/errors; `details.error_code` names the cause more precisely.
Wordings are those of `openai.meanings`, because relays of other shapes repeat them.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from providers.wire.base import JSON, json_object
from providers.wire.base import gettext_noop as _
from providers.wire.errors import Row
from providers.wire.openai.errors import (
    BAD_KEY,
    BAD_REGION,
    CODES,
    GATEWAY,
    NO_MONEY,
    OVERLOADED,
    RATE,
    TOO_LONG,
    UNSUPPORTED,
    Complaint,
)

# The status of each type of error. A stream has begun with 200, so an error inside it is judged by this one.
STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
ENCRYPTION = Row(_("The upstream cannot use the account's own encryption key."), "ops", scope="key")

ANTHROPIC_CODES: Mapping[str, Row] = {
    **CODES,
    "overloaded_error": OVERLOADED,
    "timeout_error": GATEWAY,
    "billing_error": NO_MONEY,
    "request_too_large": TOO_LONG,
    # "Request not allowed" comes from the network in front of the vendor, to addresses in regions without service.
    "forbidden": BAD_REGION,
    "contract_spend_limit_reached": NO_MONEY,
    "enforced_spend_limit_reached": NO_MONEY,
    "organization_on_hold": BAD_KEY,
    "ramp_limit_exceeded": RATE,
    "request_body_too_large_after_decoding": TOO_LONG,
    "image_dimensions_too_large": UNSUPPORTED,
    **dict.fromkeys(("cmek_key_disabled", "cmek_key_network_blocked", "cmek_key_unreachable"), ENCRYPTION),
    "cmek_context_unavailable": ENCRYPTION,
}
# The field at the beginning of "messages.1.content.0.type: Expected ...", and our name for it where it differs.
_PATH = re.compile(r"([a-z_]{1,40})(?:\.[A-Za-z0-9_.]{1,200})?: ")
_OUR_NAMES: Mapping[str, str] = {
    "stop_sequences": "stop",
    "output_config": "response_format",
    "output_format": "response_format",
}
_NO_PREFILL = re.compile(r"does not support assistant message prefill|conversation must end with a user message")
# "max_tokens: 200000 > 64000, which is the maximum allowed number of output tokens for ..."
_LARGEST_CAP = re.compile(r"max_tokens: \d{1,12} > (\d{1,12}), which is the maximum")
# "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length or ..."
_CONTEXT = re.compile(r"exceed context limit: (\d{1,12}) \+ \d{1,12} > (\d{1,12})")
# "messages.1.content.0: Invalid `signature` in `thinking` block", "... `thinking` ... blocks ... cannot be modified".
_BAD_BLOCK = re.compile(r"messages\.\d{1,6}\.content\.\d{1,6}[^:]{0,60}: [^:]{0,80}thinking`")
# Fewest tokens for which a request is sent again; with less room the prompt is too long.
_MIN_ROOM_TOKENS = 256


def as_meant(complaint: Complaint) -> Complaint:
    """Return a complaint with the status, code and field that its body names."""
    body = json_object(complaint.text)
    error = body.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    code = details.get("error_code") if isinstance(details, dict) else None
    return replace(
        complaint,
        status=STATUSES.get(complaint.type, 200) if complaint.status == 200 else complaint.status,
        code=code if isinstance(code, str) else complaint.code,
        param=complaint.param or _field(complaint.message, code),
    )


def room(message: str, cap: JSON) -> int | None:
    """Return the smaller token cap that a refusal asks for.

    None: it does not complain about `cap`.
    """
    largest = None
    if found := _LARGEST_CAP.search(message):
        largest = int(found[1])
    elif found := _CONTEXT.search(message):
        largest = int(found[2]) - int(found[1])
    fits = largest is not None and isinstance(cap, int) and _MIN_ROOM_TOKENS <= largest < cap
    return largest if fits else None


def names_largest_cap(message: str) -> bool:
    """Return whether a refusal names the model's largest token cap, which no prompt changes."""
    return _LARGEST_CAP.search(message) is not None


def refuses_blocks(message: str) -> bool:
    """Return whether the vendor refuses thinking blocks of earlier turns."""
    return "Expected `thinking`" not in message and _BAD_BLOCK.match(message) is not None


def refuses_type(message: str, kind: JSON) -> bool:
    """Return whether the model does not know a way of thinking."""
    return f'"thinking.type.{kind}" is not supported' in message


def _field(message: str, code: object) -> str:
    if "tool_choice forces tool use" in message:
        return "tool_choice"
    if code == "image_dimensions_too_large" or _NO_PREFILL.search(message):
        return "messages"
    found = _PATH.match(message)
    return _OUR_NAMES.get(found[1], found[1]) if found else ""
