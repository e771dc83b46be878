"""Map Zhipu's error codes to actions, and read when its limits end.

The codes follow https://docs.bigmodel.cn/cn/api/api-code; v3 uses the same. The code decides and not the HTTP status,
because the status misleads: missing payment has status 429, like a rate limit. Only for codes that are not in the table
does the status decide.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from providers.wire.base import gettext_noop as _
from providers.wire.errors import Row, seconds_until_renewed
from providers.wire.openai.errors import (
    BAD_KEY,
    BAD_REQUEST,
    BLOCKED,
    CODES,
    DENIED,
    FAULT,
    NO_MONEY,
    OVERLOADED,
    RATE,
    TOO_LONG,
    UNSUPPORTED,
    Complaint,
)

EXPIRED, REPEATED = "1003", "1231"
MODERATED = frozenset({"1300", "1301"})

_HOUR_S = 3600.0
_DAILY = "1304"
_PLAN = ("1308", "1310")
# China has had no summer time since 1991.
_CHINA = timezone(timedelta(hours=8), "Asia/Shanghai")
# "... 您的限额将在 2026-08-25 07:41:44 重置。", in both languages of the vendor.
_RESET = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}")
# Seconds. Clocks may differ a little, and a plan's longest period is a month; a time outside these bounds is ignored.
_MOST_PAST_S, _MOST_AHEAD_S = 300.0, 32 * 86_400.0
# An error without an envelope: "[1214][prompt 参数非法。请检查文档。]", a request id may follow.
_LABEL = re.compile(r"\[(\d{3,4})\]\[")

LOCKED = Row(_("The upstream account is locked, inactive or unknown."), "disable", scope="key", blame="key")
PLAN_EXPIRED = Row(_("The upstream plan has expired."), "disable", scope="key", blame="key")
NO_HEADER = Row(_("The upstream got no key."), "ops")
CLOCK = Row(_("The upstream takes fresh tokens for expired; check the clock."), "ops", scope="all")
UNKNOWN_MODEL = Row(_("The upstream does not know this model."), "ops")
RETIRED = Row(_("The upstream does not offer this interface."), "ops", scope="all")
REPETITION = Row(_("The upstream takes the request for a repetition."), "ops", blame="request")
CONCURRENCY = Row(_("The upstream is busy."), "switch", cooldown_s=5.0, blame="rate")
# The cooldowns of the next two apply only when the message contains no time.
DAY_USED = Row(_("The upstream's daily limit is reached."), "switch", cooldown_s=_HOUR_S, blame="key")
PLAN_USED = Row(_("The upstream plan is used up."), "switch", cooldown_s=_HOUR_S, scope="key", blame="key")
FAIR_USE = Row(_("The upstream throttles the account."), "switch", cooldown_s=_HOUR_S, scope="key", blame="key")

ZHIPU_CODES: Mapping[str, Row] = {
    **CODES,
    **dict.fromkeys(("500", "1100", "1120", "1200", "1230", "1234"), FAULT),
    **dict.fromkeys(("1000", "1002", "1004"), BAD_KEY),
    "1001": NO_HEADER,
    EXPIRED: CLOCK,
    **dict.fromkeys(("1110", "1111", "1112", "1121"), LOCKED),
    "1113": NO_MONEY,
    **dict.fromkeys(("1212", "1213"), BAD_REQUEST),
    **dict.fromkeys(("1210", "1214", "1215"), UNSUPPORTED),
    "1211": UNKNOWN_MODEL,
    **dict.fromkeys(("1220", "1311"), DENIED),
    **dict.fromkeys(("1221", "1222"), RETIRED),
    REPEATED: REPETITION,
    "1261": TOO_LONG,
    **dict.fromkeys(sorted(MODERATED), BLOCKED),
    "1302": CONCURRENCY,
    "1303": RATE,
    _DAILY: DAY_USED,
    **dict.fromkeys(("1305", "1312"), OVERLOADED),
    **dict.fromkeys(_PLAN, PLAN_USED),
    "1309": PLAN_EXPIRED,
    "1313": FAIR_USE,
}


def with_reset(complaint: Complaint, now: float) -> Complaint:
    """Add the time of the next try, which only the message contains; `now`: epoch seconds."""
    seconds = None
    if complaint.code == _DAILY:
        seconds = seconds_until_renewed(now)
    elif complaint.code in _PLAN:
        seconds = _until_reset(complaint.text, now)
    return complaint if seconds is None else replace(complaint, retry_after=seconds)


def plain_code(text: str) -> str:
    """Return the code that an error in plain text begins with, or nothing."""
    label = _LABEL.match(text)
    return label[1] if label else ""


def _until_reset(text: str, now: float) -> float | None:
    """Return the seconds until the time in the message; None without a valid one."""
    found = _RESET.search(text)
    if found is None:
        return None
    try:
        reset = datetime.fromisoformat(found[0]).replace(tzinfo=_CHINA)
    except ValueError:
        return None
    seconds = (reset - datetime.fromtimestamp(now, UTC)).total_seconds()
    return max(seconds, 0.0) if -_MOST_PAST_S <= seconds <= _MOST_AHEAD_S else None
