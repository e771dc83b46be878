"""The refusals of OpenAI-compatible servers, and the action for each.

Reads the error envelopes in use, the hints when to come back, and the fields to send differently. Rows follow
https://platform.openai.com/docs/guides/error-codes and what other servers were seen to send. Nothing is sent here.
"""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from providers.wire.base import JSON, ChatRequest, TokenCapField, json_object, prompt_tokens, trim
from providers.wire.base import gettext_noop as _
from providers.wire.errors import BROKEN, ContentBlocked, PromptTooLong, ProviderError, Row

_BUSY = _("The upstream is busy.")
_FAILED = _("The upstream failed.")
_NO_KEY = _("The upstream refused the key.")

TOO_LONG = Row(_("The prompt is too long for this model."), "user", kind=PromptTooLong)
BLOCKED = Row(_("The upstream's moderation refused the prompt."), "user", kind=ContentBlocked)
BAD_REQUEST = Row(_("The upstream refused the request."), "ops", blame="request")
BAD_ADDRESS = Row(_("The upstream's address is not that of a chat service."), "ops", scope="all")
BAD_REGION = Row(_("The upstream does not serve our network address."), "ops", scope="all")
BAD_PROXY = Row(_("The proxy refused our credentials."), "ops", scope="all")
BAD_KEY = Row(_NO_KEY, "disable", scope="key", blame="key")
NO_MONEY = Row(_("The upstream account is exhausted."), "disable", scope="key", blame="key")
DENIED = Row(_NO_KEY, "switch", cooldown_s=3600.0, blame="key")
NO_MODEL = Row(_("The upstream does not know this model."), "switch", cooldown_s=3600.0, blame="key")
RATE = Row(_BUSY, "switch", cooldown_s=5.0, blame="rate")
SLOW_DOWN = Row(_BUSY, "wait", attempts=2, scope="all", blame="rate")
OVERLOADED = Row(_BUSY, "wait", attempts=2, scope="all")
FAULT = Row(_FAILED, "wait", attempts=2)
GATEWAY = Row(_FAILED, "wait", attempts=1)

MONEY = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    }
)
CODES: Mapping[str, Row] = {
    "context_length_exceeded": TOO_LONG,
    "content_filter": BLOCKED,
    "content_policy_violation": BLOCKED,
    "invalid_api_key": BAD_KEY,
    "model_not_found": NO_MODEL,
    "rate_limit_exceeded": RATE,
    "server_error": FAULT,
    "server_is_overloaded": OVERLOADED,
    "slow_down": SLOW_DOWN,
    "unsupported_country_region_territory": BAD_REGION,
    "unsupported_parameter": BAD_REQUEST,
    "unsupported_value": BAD_REQUEST,
}
TYPES: Mapping[str, Row] = {"requests": RATE, "tokens": RATE, "authentication_error": BAD_KEY}
# Used only when there is no HTTP status, because servers send these general types with every status.
TYPES_WITHOUT_STATUS: Mapping[str, Row] = {
    "invalid_request_error": BAD_REQUEST,
    "overloaded_error": OVERLOADED,
    "rate_limit_error": RATE,
}
STATUSES: Mapping[int, Row] = {
    401: BAD_KEY,
    402: NO_MONEY,
    403: DENIED,
    404: BAD_ADDRESS,
    405: BAD_ADDRESS,
    407: BAD_PROXY,
    408: FAULT,
    409: FAULT,
    413: TOO_LONG,
    429: RATE,
    500: FAULT,
    503: OVERLOADED,
}
_MODERATION = re.compile(r"moderat|flagged|safety|content policy|usage policy", re.IGNORECASE)
# vLLM has no code for this: openai/protocol sends a plain 400 whose message begins "This model's maximum ...".
_CONTEXT = "maximum context length"
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value"})
_OTHER_CAP: Mapping[str, TokenCapField] = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_SAFE_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# The field at the beginning of a path such as `tools[0].function.parameters`, and as much of the path as may be shown.
_FIELD = re.compile(r"([a-z_]{1,40})[A-Za-z0-9_.\[\]]{0,100}")
# Most seconds that a hint counts for: no mistake of a vendor's may cool a key for long.
MAX_HINT_SECONDS = 300.0
# Share of the estimate to which a refused prompt is cut. Local estimates are wrong by up to a quarter.
_TRIM_TO = 0.7


@dataclass(frozen=True, slots=True)
class Complaint:
    """A refusal as the upstream worded it; its texts may hold keys and stay here."""

    status: int
    code: str = ""
    type: str = ""
    param: str = ""
    message: str = field(default="", repr=False)
    text: str = field(default="", repr=False)
    enveloped: bool = False
    request_id: str = ""
    retry_after: float | None = None

    @property
    def vendor_code(self) -> str:
        """The code, or else the type, if it looks like one: it goes to logs."""
        return next((word for word in (self.code, self.type) if _SAFE_CODE.fullmatch(word)), "")

    def failure(self, row: Row) -> ProviderError:
        return row.error(
            vendor_code=self.vendor_code,
            vendor_request_id=self.request_id,
            retry_after=self.retry_after,
            status=self.status,
        )


def read_complaint(status: int, body: bytes, headers: Mapping[str, str]) -> Complaint:
    """Read an error body in any of the envelopes in use, or none.

    A numeric `code` of an HTTP error inside a 200 response counts as its status, as OpenRouter means it.
    """
    envelope = json_object(body)
    inner = envelope.get("error") or envelope
    if not isinstance(inner, dict):
        inner = {"message": inner}
    code = _word(inner.get("code"))
    if status == 200 and re.fullmatch("[45][0-9][0-9]", code):
        status = int(code)
    return Complaint(
        status=status,
        code=code,
        type=_word(inner.get("type")),
        param=_word(inner.get("param")),
        message=_word(inner.get("message")) or _word(inner.get("msg")) or _word(inner.get("detail")),
        text=body.decode("utf-8", "replace"),
        enveloped=bool(envelope.get("error") or envelope.get("message") or envelope.get("msg")),
        request_id=request_id(headers),
        retry_after=retry_after(headers),
    )


def choose_row(complaint: Complaint, codes: Mapping[str, Row] = CODES) -> Row:
    """Choose the row: by code, then by type, then by status."""
    if MONEY & {complaint.code, complaint.type}:
        return NO_MONEY
    row = codes.get(complaint.code) or TYPES.get(complaint.type) or _row_by_text(complaint)
    if row is None and complaint.status == 200:
        row = TYPES_WITHOUT_STATUS.get(complaint.type, FAULT)
    return row or STATUSES.get(complaint.status) or _row_by_range(complaint.status)


def resend(request: ChatRequest, complaint: Complaint, row: Row) -> tuple[ChatRequest, dict[str, JSON]] | None:
    """Return a better request and what to remember about it, or None."""
    if complaint.status in (400, 422) and request.include_usage and "stream_options" in complaint.text:
        return replace(request, include_usage=False), {"include_usage": False}
    if complaint.code in _UNSUPPORTED:
        return _without(request, complaint.param)
    if row is TOO_LONG and complaint.status != 413 and not request.whole:
        shorter = trim(request.messages, int(prompt_tokens(request.messages) * _TRIM_TO))
        if len(shorter) < len(request.messages):
            return replace(request, messages=shorter), {}
    return None


def blamed_field(request: ChatRequest, complaint: Complaint, row: Row) -> str:
    """Return the field of the caller's that the upstream complains about, empty when none."""
    given = [*request.extras, *(["messages"] if any(turn.parts or turn.fields for turn in request.messages) else [])]
    if row.action != "ops" or complaint.status not in (400, 422):
        return ""
    if complaint.param:
        found = _FIELD.match(complaint.param)
        return found[0] if found and found[1] in given else ""
    # Some servers name the field only in the message text. A wrong guess changes only which side is blamed.
    message = complaint.message.lower()
    return next((name for name in given if any(word in message for word in _words_for(name))), "")


def _words_for(name: str) -> tuple[str, ...]:
    return ("image", "multimodal") if name == "messages" else (name.removesuffix("s"), name.replace("_", " "))


def request_id(headers: Mapping[str, str]) -> str:
    """Return the upstream's id of a request, for logs; at most 128 characters."""
    return headers.get("x-request-id", "")[:128]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms` or `Retry-After` (seconds, possibly fractional, or an HTTP date) as seconds from now."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return min(milliseconds / 1000, MAX_HINT_SECONDS)
    value = headers.get("retry-after", "")
    if (seconds := _number(value)) is not None:
        return min(seconds, MAX_HINT_SECONDS)
    try:
        moment = email.utils.parsedate_tz(value)
        if moment is None:
            return None
        return min(max(0.0, email.utils.mktime_tz(moment) - time.time()), MAX_HINT_SECONDS)
    except (ValueError, OverflowError):  # a date that no calendar has
        return None


def _row_by_text(complaint: Complaint) -> Row | None:
    # Only these two refusals are recognised by their text, because they have no code.
    if complaint.code == "invalid_prompt" or complaint.status == 403:
        return BLOCKED if _MODERATION.search(complaint.message) else None
    if complaint.status == 400 and _CONTEXT in complaint.message:
        return TOO_LONG
    if complaint.status == 404 and complaint.enveloped:
        return NO_MODEL
    return None


def _row_by_range(status: int) -> Row:
    if status < 300:
        return BROKEN
    if status < 400:
        return BAD_ADDRESS
    return GATEWAY if status >= 500 else BAD_REQUEST


def _without(request: ChatRequest, param: str) -> tuple[ChatRequest, dict[str, JSON]] | None:
    if param == request.token_cap_field and (other := _OTHER_CAP.get(param)):
        return replace(request, token_cap_field=other), {"token_cap_field": other}
    # The cap is `max_tokens` among the parameters, whatever it is sent as.
    if param not in request.parameters or param in request.extras or param == "max_tokens":
        return None
    kept = {name: value for name, value in request.parameters.items() if name != param}
    return replace(request, parameters=kept), {}


def _word(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
