"""Gemini's refusals that say more than their status, and the action for each.

Source: https://ai.google.dev/gemini-api/docs/troubleshooting; reasons: google.api.ErrorReason. The wordings that other
vendors share are in `openai.meanings`.
"""

from collections.abc import Mapping
from dataclasses import replace

from providers.wire.base import ChatRequest
from providers.wire.base import gettext_noop as _
from providers.wire.errors import Row
from providers.wire.gemini.request import CONFIG_NAMES
from providers.wire.openai.errors import BAD_KEY, BAD_REGION, CODES, NO_MONEY, Complaint
from providers.wire.openai.matching import excerpt

# Seconds. The vendor renews daily quotas at midnight on its west coast; asking once an hour finds out when.
_HOUR_S = 3600.0
DAY_USED = Row(_("The upstream's daily limit is reached."), "switch", cooldown_s=_HOUR_S, blame="key")

_REGION, _LEAKED, _SPENT, _DAILY = "REGION_NOT_SUPPORTED", "API_KEY_LEAKED", "CREDITS_DEPLETED", "DAILY_QUOTA_EXCEEDED"
# Wordings of refusals whose status is a general one.
_WORDINGS: Mapping[str, str] = {
    "user location is not supported": _REGION,
    "reported as leaked": _LEAKED,
    "prepayment credits": _SPENT,
    "spending cap": _SPENT,
}
GEMINI_CODES: Mapping[str, Row] = {
    **CODES,
    _REGION: BAD_REGION,
    _SPENT: NO_MONEY,
    "BILLING_DISABLED": NO_MONEY,
    _DAILY: DAY_USED,
    **dict.fromkeys(
        (
            *(_LEAKED, "SERVICE_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID", "API_KEY_SERVICE_BLOCKED"),
            *("API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_HTTP_REFERRER_BLOCKED"),
        ),
        BAD_KEY,
    ),
}
# Wordings about a field that they do not name as it was called, and the fields that may be meant.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "penalty is not enabled": ("frequency_penalty", "presence_penalty"),
    "function calling with a response mime type": ("response_format",),
    "json mode is not enabled": ("response_format",),
    **dict.fromkeys(
        ("thinking is not enabled", "thinking is not supported", "thinking level is not supported"),
        ("reasoning_effort", "thinkingConfig"),
    ),
}
_OUR_NAMES: Mapping[str, str] = {theirs.lower(): ours for ours, theirs in CONFIG_NAMES.items()}
_NO_SIGNATURE = "missing a thought_signature"


def named(complaint: Complaint) -> Complaint:
    """Name a refusal by its most specific word.

    Because the vendor's `code` only repeats the status, it says too little.
    """
    text = excerpt(complaint.message)
    word = next((word for wording, word in _WORDINGS.items() if wording in text), "")
    if not word and complaint.status == 429 and "PerDay" in complaint.text:
        # The hint is about the limit per minute, which is not the one that was reached.
        return replace(complaint, code=_DAILY, retry_after=None)
    word = word or (complaint.reasons[-1] if complaint.reasons else complaint.code)
    return replace(complaint, code=word, param=_OUR_NAMES.get(complaint.param, complaint.param))


def with_field(complaint: Complaint, request: ChatRequest) -> Complaint:
    """Name the field of the request that a wording is about."""
    text = excerpt(complaint.message)
    meant = (name for wording, names in _FIELDS.items() if wording in text for name in names)
    field = next((name for name in meant if name in request.extras or name in request.parameters), "")
    return replace(complaint, param=field, code="unsupported_parameter") if field else complaint


def lacks_signature(complaint: Complaint) -> bool:
    """Return whether the vendor misses the signature of a call that an earlier model made."""
    return complaint.status == 400 and _NO_SIGNATURE in excerpt(complaint.message)
