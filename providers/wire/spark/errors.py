"""Map the refusals of iFlytek Spark to actions, for handshakes and frames.

The rows follow the error codes of https://www.xfyun.cn/doc/spark/Web.html, and refusals that other clients have
published. The HTTP variant uses the same codes.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from providers.wire.base import gettext_noop as _
from providers.wire.base import json_object
from providers.wire.errors import ProviderError, Row, broken_stream, seconds_until_renewed
from providers.wire.openai.errors import (
    BAD_ADDRESS,
    BAD_KEY,
    BAD_PROXY,
    BAD_REQUEST,
    BLOCKED,
    DENIED,
    FAULT,
    RATE,
    TOO_LONG,
)
from providers.wire.openai.request_ids import request_id

HISTORY_NOT_CLEARED = 10017
OUTPUT_BLOCKED = 10014
TENDS_TO_VIOLATE = 10019

_BUSY = _("The upstream is busy.")
_FAILED = _("The upstream failed.")

BUSY = Row(_BUSY, "wait", attempts=2)
SAME_USER = Row(_BUSY, "wait", attempts=2, blame="request")
NO_CAPACITY = Row(_("The upstream has no capacity left."), "switch", cooldown_s=60.0)
NO_ENGINE = Row(_FAILED, "wait", attempts=2)
NO_VOLUME = Row(_("The key has no licence or no volume left for this model."), "disable", blame="key")
NO_VOLUME_TODAY = Row(_("The key has no volume left today."), "switch", blame="key")
EACH_SECOND = Row(_BUSY, "switch", cooldown_s=2.0, waits=(2.0, 8.0, 30.0), blame="rate")
AT_ONCE = Row(_BUSY, "switch", cooldown_s=5.0, blame="rate")
BAD_SIGNATURE = replace(BAD_KEY, message=_("The upstream refused the signature."))
CLOSED = replace(BLOCKED, ends_conversation=True)
UNKNOWN = Row(_FAILED, "wait", attempts=1)
BAD_CLOCK = Row(_("Our clock is wrong: the upstream refused the date."), "ops", scope="all")
BAD_DOMAIN = Row(_("The model's domain and the upstream's path do not fit together."), "ops")

# The codes are strings, because the HTTP variant looks them up together with OpenAI's.
CODES: Mapping[str, Row] = {
    **dict.fromkeys(("10000", "10001", "10002"), FAULT),
    **dict.fromkeys(("10003", "10004", "10005"), BAD_REQUEST),
    **dict.fromkeys(("10006", "10007"), SAME_USER),
    "10008": NO_CAPACITY,
    **dict.fromkeys(("10009", "10010", "10011", "10012"), FAULT),
    **dict.fromkeys(("10013", "10014", "10021"), BLOCKED),
    "10019": CLOSED,
    "10015": BAD_KEY,
    "10016": DENIED,
    "10018": BAD_REQUEST,
    "10110": BUSY,
    "10163": BAD_REQUEST,
    **dict.fromkeys(("10222", "10223"), NO_ENGINE),
    "10404": BAD_DOMAIN,
    "10907": TOO_LONG,
    "11200": NO_VOLUME,
    "11201": NO_VOLUME_TODAY,
    "11202": EACH_SECOND,
    "11203": AT_ONCE,
}

# Seconds to wait for the end of the same user's previous request. The random part spreads the waiting requests.
_SAME_USER_S = (1.0, 3.0)
_MAX_SID_CHARS = 128

# The gateway's refusals have no code. Those with the same status differ only in their text.
_HANDSHAKES: tuple[tuple[int, str, Row, str], ...] = (
    (401, "signature does not match", BAD_SIGNATURE, "bad_signature"),
    (401, "signature cannot be verified", BAD_KEY, "unknown_key"),
    (401, "", Row(_("The upstream saw no signature."), "ops", scope="all"), "unauthorized"),
    (403, "valid date", BAD_CLOCK, "bad_clock"),
    (403, "", DENIED, "forbidden"),
    (407, "", BAD_PROXY, "proxy_refused"),
    (429, "", RATE, "rate_limit"),
)


def failure(code: object, sid: str = "", *, status: int | None = None) -> ProviderError:
    """Return the failure for the code of a frame, or of a response over HTTP."""
    word = str(code) if isinstance(code, (int, str)) and str(code).isdecimal() else ""
    row = CODES.get(word, UNKNOWN)
    return row.error(vendor_code=word[:16], vendor_request_id=sid, retry_after=_hint(row), status=status)


def refused(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Return the failure for a handshake that ended with another status than 101."""
    message = _word(body, "message").lower()
    for wanted, words, row, vendor_code in _HANDSHAKES:
        if status == wanted and words in message:
            return row.error(vendor_code=vendor_code, vendor_request_id=request_id(headers), status=status)
    if status < 300:
        return broken_stream("not_a_websocket", status=status)
    row = FAULT if status >= 500 else BAD_ADDRESS
    return row.error(vendor_request_id=request_id(headers), status=status)


def number(value: object) -> object:
    """Return the number that a gateway wrote as a string, anything else unchanged."""
    return int(value) if isinstance(value, str) and len(value) < 10 and value.isdecimal() else value


def sid_of(body: Mapping[str, Any] | bytes | str) -> str:
    """Return the vendor's id of a request for logs, at most 128 characters."""
    return _word(body, "sid")[:_MAX_SID_CHARS]


def _hint(row: Row) -> float | None:
    if row is NO_VOLUME_TODAY:
        return seconds_until_renewed(time.time())
    return random.uniform(*_SAME_USER_S) if row is SAME_USER else None  # noqa: S311


def _word(body: Mapping[str, Any] | bytes | str, name: str) -> str:
    word = (body if isinstance(body, Mapping) else json_object(body)).get(name)
    return word if isinstance(word, str) else ""
