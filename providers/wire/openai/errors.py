"""The refusals of OpenAI-compatible servers, and the action for each.

Reads the error envelopes in use, the hints when to come back, and the fields to send differently. The meanings of
codes and wordings are in `meanings`. Nothing is sent here.
"""

import email.utils
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from providers.wire.base import JSON, ChatRequest, TokenCapField, prompt_tokens, trim
from providers.wire.base import gettext_noop as _
from providers.wire.errors import BROKEN, ContentBlocked, OtherKind, PromptTooLong, ProviderError, Row
from providers.wire.openai.matching import by_code, by_message, excerpt, param_in
from providers.wire.openai.meanings import FIREWALL_WORDS, MODERATING_WORDS, VALUE_WORDS, Meaning
from providers.wire.openai.request_ids import request_id, stated_id

_BUSY = _("The upstream is busy.")
_FAILED = _("The upstream failed.")
_NO_KEY = _("The upstream refused the key.")

TOO_LONG = Row(_("The prompt is too long for this model."), "user", kind=PromptTooLong)
BLOCKED = Row(_("The upstream's moderation refused the prompt."), "user", kind=ContentBlocked)
BAD_REQUEST = Row(_("The upstream refused the request."), "ops", blame="request")
UNSUPPORTED = replace(BAD_REQUEST)
OTHER_KIND = Row(_("The model is not one for such requests."), "user", kind=OtherKind)
# An unknown refusal; the evidence of several users decides about the others.
UNKNOWN_REFUSAL = replace(BAD_REQUEST, blame="upstream")
# The page of a firewall says nothing about the key. Whether the prompt is at fault, a neutral probe finds out.
FIREWALL = Row(_("A firewall in front of the upstream refused the request."), "wait")
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

# The codes that say more than a meaning of `meanings`.
CODES: Mapping[str, Row] = {
    "server_is_overloaded": OVERLOADED,
    "engine_overloaded_error": OVERLOADED,
    "serveroverloaded": OVERLOADED,
    "slow_down": SLOW_DOWN,
}
MEANT: Mapping[Meaning, Row] = {
    "too_long": TOO_LONG,
    "parameter": UNSUPPORTED,
    "other_kind": OTHER_KIND,
    "money": NO_MONEY,
    "dead_key": BAD_KEY,
    "moderation": BLOCKED,
    "region": BAD_REGION,
    "no_model": NO_MODEL,
    "rate": RATE,
}
# Codes and types that servers also put beside a message that says more.
GENERAL_CODES: Mapping[str, Row] = {"rate_limit_exceeded": RATE, "server_error": FAULT}
TYPES: Mapping[str, Row] = {"requests": RATE, "tokens": RATE}
# Used only when there is no HTTP status, because servers send these general types with every status.
TYPES_WITHOUT_STATUS: Mapping[str, Row] = {
    "invalid_request_error": BAD_REQUEST,
    "overloaded_error": OVERLOADED,
    "rate_limit_error": RATE,
}
STATUSES: Mapping[int, Row] = {
    400: BAD_REQUEST,
    401: BAD_KEY,
    402: NO_MONEY,
    403: DENIED,
    404: BAD_ADDRESS,
    405: BAD_ADDRESS,
    407: BAD_PROXY,
    408: FAULT,
    409: FAULT,
    413: TOO_LONG,
    422: BAD_REQUEST,
    429: RATE,
    500: FAULT,
    503: OVERLOADED,
}
# With these a request may be denied for its content; 446 and 451 are Portkey's and StepFun's.
_DENIED_STATUSES = frozenset({403, 446, 451})
# With these web application firewalls answer. Other statuses of theirs mean what they say.
_FIREWALL_STATUSES = frozenset({403, 405, 406, 418, 444})
_OTHER_CAP: Mapping[str, TokenCapField] = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_SAFE_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# The field at the beginning of a path such as `tools[0].function.parameters`, and as much of the path as may be shown.
_FIELD = re.compile(r"([a-z_]{1,40})[A-Za-z0-9_.\[\]]{0,100}")
# Most seconds that a hint counts for: no mistake of a vendor's may cool a key for long.
MAX_HINT_SECONDS = 300.0
# "Please try again in 6m0s.", "Please retry after 20 seconds."
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|m|h|d)[a-z]{0,11}")
_WAIT = re.compile(r"(?:try again|retry) (?:in|after) ((?:\d{1,9}(?:\.\d{1,9})? ?(?:ms|[smhd])[a-z]{0,11} ?){1,4})")
_UNITS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
# Characters that may stand before the first tag of a page.
_MAX_LEADING_CHARS = 200
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
    # The other words of the refusal for machines: statuses and reasons.
    reasons: tuple[str, ...] = field(default=(), repr=False)
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
    envelope = _first(_parsed(body))
    inner = _inner(envelope)
    code = _word(inner.get("code")) or _word(inner.get("error_code"))
    if status == 200 and re.fullmatch("[45][0-9][0-9]", code):
        status = int(code)
    text = body.decode("utf-8", "replace")
    message = _message(inner)
    if not envelope and not _is_page(text):
        message = text.strip()
    details = [detail for detail in _list(inner.get("details")) if isinstance(detail, dict)]
    problem = _first(inner.get("detail") or _dict(inner.get("message")).get("detail"))
    return Complaint(
        status=status,
        code=code,
        type=_word(inner.get("type")) or _word(inner.get("error_type")),
        param=_word(inner.get("param")) or _located(problem) or param_in(excerpt(message)),
        message=message,
        text=text,
        reasons=_reasons(inner, details, problem),
        enveloped=inner is not envelope or bool(inner.get("message") or inner.get("msg")),
        request_id=request_id(headers) or stated_id((inner, envelope), message),
        retry_after=_hint(status, headers, details, message),
    )


def is_refusal(chunk: Mapping[str, Any]) -> bool:
    """Return whether an object of a stream reports a failure."""
    if chunk.get("error") or chunk.get("errors") or _dict(chunk.get("base_resp")).get("status_code"):
        return True
    bare = "choices" not in chunk and bool(chunk.get("message") or chunk.get("msg"))
    return bare and _word(chunk.get("code")) not in ("", "0", "200")


def choose_row(complaint: Complaint, codes: Mapping[str, Row] = CODES) -> Row:
    """Choose the row: by code, then by wording, then by type, then by status."""
    if (row := codes.get(complaint.code)) or (row := codes.get(complaint.type)):
        return row
    text = excerpt(complaint.message)
    found = by_code((complaint.code, complaint.type, *complaint.reasons)) or by_message(
        text, limits=complaint.status in (200, 402, 429)
    )
    if found:
        meaning, sign = found
        renews = complaint.status == 429 and complaint.retry_after is not None
        # A quota that the vendor renews by itself, as Gemini words it: a hint would be of no use for an empty account.
        return RATE if meaning == "money" and sign.field == "message" and renews else MEANT[meaning]
    if complaint.status == 402 and complaint.retry_after is not None:
        return RATE  # with a time to come back the vendor says that the limit ends by itself
    row = _row_by_text(complaint, text) or GENERAL_CODES.get(complaint.code) or TYPES.get(complaint.type)
    if row is None and complaint.status == 200:
        row = TYPES_WITHOUT_STATUS.get(complaint.type, FAULT)
    return row or STATUSES.get(complaint.status) or _row_by_range(complaint.status)


def resend(request: ChatRequest, complaint: Complaint, row: Row) -> tuple[ChatRequest, dict[str, JSON]] | None:
    """Return a better request and what to remember about it, or None."""
    # Not in the whole body, which may repeat a prompt with that word.
    named = "stream_options" in complaint.param or "stream_options" in excerpt(complaint.message)
    if complaint.status in (400, 422) and request.include_usage and named:
        return replace(request, include_usage=False), {"include_usage": False}
    if row is UNSUPPORTED:
        return _without(request, complaint)
    if row is TOO_LONG and complaint.status != 413 and not request.whole:
        shorter = trim(request.messages, int(prompt_tokens(request.messages) * _TRIM_TO))
        if len(shorter) < len(request.messages):
            return replace(request, messages=shorter), {}
    return None


def blamed_field(request: ChatRequest, complaint: Complaint, row: Row) -> str:
    """Return the field of the caller's that the upstream complains about, empty when none."""
    given = [*request.extras, *request.given, *(_OTHER_CAP if "max_tokens" in request.given else ())]
    if any(turn.parts or turn.fields for turn in request.messages):
        given.append("messages")
    if row is not UNSUPPORTED and (row.action != "ops" or complaint.status not in (400, 422)):
        return ""
    if complaint.param:
        found = _FIELD.match(complaint.param)
        return found[0] if found and found[1] in given else ""
    # Some servers name the field only in the message text. A wrong guess changes only which side is blamed.
    message = complaint.message.lower()
    return next((name for name in given if any(word in message for word in _words_for(name))), "")


def _words_for(name: str) -> tuple[str, ...]:
    return ("image", "multimodal") if name == "messages" else (name.removesuffix("s"), name.replace("_", " "))


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


def _row_by_text(complaint: Complaint, text: str) -> Row | None:
    denied = complaint.status in _DENIED_STATUSES or complaint.code == "invalid_prompt"
    if denied and any(word in text for word in MODERATING_WORDS):
        return BLOCKED
    if complaint.status in _FIREWALL_STATUSES and _is_firewall(complaint.status, complaint.text):
        return FIREWALL
    return NO_MODEL if complaint.status == 404 and complaint.enveloped else None


def _is_firewall(status: int, text: str) -> bool:
    shown = excerpt(text)
    return (status == 403 and _is_page(text)) or any(word in shown for word in FIREWALL_WORDS)


def _is_page(text: str) -> bool:
    return text[:_MAX_LEADING_CHARS].lstrip().startswith("<")


def _row_by_range(status: int) -> Row:
    if status < 300:
        return BROKEN
    if status < 400:
        return BAD_ADDRESS
    return GATEWAY if status >= 500 else UNKNOWN_REFUSAL


def _without(request: ChatRequest, complaint: Complaint) -> tuple[ChatRequest, dict[str, JSON]] | None:
    param = complaint.param
    if param == request.token_cap_field and (other := _OTHER_CAP.get(param)) and not _is_about_value(complaint):
        return replace(request, token_cap_field=other), {"token_cap_field": other}
    # The cap is `max_tokens` among the parameters, whatever it is sent as.
    if param not in request.parameters or param in {*request.extras, *request.given, "max_tokens"}:
        return None
    kept = {name: value for name, value in request.parameters.items() if name != param}
    return replace(request, parameters=kept), {"refused": {param: request.parameters[param]}}


def _is_about_value(complaint: Complaint) -> bool:
    texts = (complaint.code, complaint.type, *complaint.reasons, excerpt(complaint.message))
    return any(word in text.lower() for text in texts for word in VALUE_WORDS)


def _hint(status: int, headers: Mapping[str, str], details: Iterable[Mapping[str, Any]], message: str) -> float | None:
    """Return the seconds until the next try.

    They come from the headers, else from Gemini's `RetryInfo`, else from the message.
    """
    if (seconds := retry_after(headers)) is not None or status not in (402, 429, 503):
        return seconds
    delay = next((word for detail in details if (word := _word(detail.get("retryDelay")))), "")
    found = _WAIT.search(excerpt(f"retry in {delay}" if delay else message))
    if found is None:
        return None
    parts = _DURATION.findall(found[1])
    return min(sum(float(number) * _UNITS[unit] for number, unit in parts), MAX_HINT_SECONDS)


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _inner(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an envelope that describes the error, perhaps all of it."""
    base = _dict(envelope.get("base_resp"))
    if base.get("status_code"):
        return {
            "code": base["status_code"],
            "status": f"base_resp.{base['status_code']}",
            "message": base.get("status_msg"),
        }
    error = envelope.get("error") or envelope.get("errors")
    if not error:
        return envelope
    return _first(error) or {"code": envelope.get("code"), "message": error}


def _message(inner: Mapping[str, Any]) -> str:
    names = ("message", "msg", "error_msg", "detail")
    texts = [next((text for name in names if (text := _text(inner.get(name)))), "")]
    # OpenRouter puts the refusal of the vendor behind it here.
    texts.append(_text(_dict(inner.get("metadata")).get("raw")))
    return " ".join(filter(None, texts))


def _reasons(
    inner: Mapping[str, Any], details: Iterable[Mapping[str, Any]], problem: Mapping[str, Any]
) -> tuple[str, ...]:
    metadata = _dict(inner.get("metadata"))
    found = [
        inner.get("status"),
        _dict(inner.get("innererror") or inner.get("inner_error")).get("code"),
        *(detail.get("reason") for detail in details),
        metadata.get("limit_source"),
        problem.get("type"),
    ]
    return tuple(word for value in found if (word := _word(value)))


def _located(problem: Mapping[str, Any]) -> str:
    """Return the field that a validation error of FastAPI is about: `"loc": ["body", "tools", 0]`."""
    place = [_word(part) for part in _list(problem.get("loc"))]
    return place[1] if len(place) > 1 and place[0] == "body" else ""


def _first(value: object) -> dict[str, Any]:
    """Return an object, or the first of a list; an empty one for other values."""
    return _dict(value[0]) if isinstance(value, list) and value else _dict(value)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return orjson.dumps(value).decode() if isinstance(value, (dict, list)) and value else _word(value)


def _word(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
