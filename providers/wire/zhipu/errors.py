"""Map Zhipu's error codes to actions, and read when its limits end.

The codes follow https://docs.bigmodel.cn/cn/api/api-code; v3 uses the same. The code decides and not the HTTP status,
because the status misleads: missing payment has status 429, like a rate limit. Only for codes that are not in the table
does the status decide.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from providers.wire.errors import Row, UpstreamFailed
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
    Complaint,
)

EXPIRED, REPEATED = "1003", "1231"
MODERATED = frozenset({"1300", "1301"})

_HOUR_S = 3600.0
_DAILY = "1304"
_PLAN = frozenset({"1308", "1310"})
# China has had no summer time since 1991.
_CHINA = timezone(timedelta(hours=8), "Asia/Shanghai")
_NEW_DAY = timedelta(minutes=5)
# "... 您的限额将在 2026-08-25 07:41:44 重置。", in both languages of the vendor.
_RESET = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}")
# Seconds. Clocks may differ a little, and a plan's longest period is a month; a time outside these bounds is ignored.
_MOST_PAST_S, _MOST_AHEAD_S = 300.0, 32 * 86_400.0
# An error without an envelope: "[1214][prompt 参数非法。请检查文档。]", a request id may follow.
_LABEL = re.compile(r"\[(\d{3,4})\]\[")

LOCKED = Row(UpstreamFailed, "The upstream account is locked, inactive or unknown.", "disable", scope="key")
PLAN_EXPIRED = Row(UpstreamFailed, "The upstream plan has expired.", "disable", scope="key")
NO_HEADER = Row(UpstreamFailed, "The upstream got no key.", "ops")
CLOCK = Row(UpstreamFailed, "The upstream takes fresh tokens for expired; check the clock.", "ops", scope="all")
UNKNOWN_MODEL = Row(UpstreamFailed, "The upstream does not know this model.", "ops")
RETIRED = Row(UpstreamFailed, "The upstream does not offer this interface.", "ops", scope="all")
REPETITION = Row(UpstreamFailed, "The upstream takes the request for a repetition.", "ops")
CONCURRENCY = Row(UpstreamFailed, "The upstream is busy.", "switch", cooldown_s=5.0, crowded=True)
# The cooldowns of the next two apply only when the message contains no time.
DAY_USED = Row(UpstreamFailed, "The upstream's daily limit is reached.", "switch", cooldown_s=_HOUR_S)
PLAN_USED = Row(UpstreamFailed, "The upstream plan is used up.", "switch", cooldown_s=_HOUR_S, scope="key")
FAIR_USE = Row(
    UpstreamFailed, "The upstream throttles the account.", "switch", cooldown_s=_HOUR_S, scope="key", alerts=True
)

ZHIPU_CODES: Mapping[str, Row] = {
    **CODES,
    "500": FAULT,
    "1000": BAD_KEY,
    "1001": NO_HEADER,
    "1002": BAD_KEY,
    EXPIRED: CLOCK,
    "1004": BAD_KEY,
    "1100": FAULT,
    "1110": LOCKED,
    "1111": LOCKED,
    "1112": LOCKED,
    "1113": NO_MONEY,
    "1120": FAULT,
    "1121": LOCKED,
    "1200": FAULT,
    "1210": BAD_REQUEST,
    "1211": UNKNOWN_MODEL,
    "1212": BAD_REQUEST,
    "1213": BAD_REQUEST,
    "1214": BAD_REQUEST,
    "1215": BAD_REQUEST,
    "1220": DENIED,
    "1221": RETIRED,
    "1222": RETIRED,
    "1230": FAULT,
    REPEATED: REPETITION,
    "1234": FAULT,
    "1261": TOO_LONG,
    "1300": BLOCKED,
    "1301": BLOCKED,
    "1302": CONCURRENCY,
    "1303": RATE,
    _DAILY: DAY_USED,
    "1305": OVERLOADED,
    "1308": PLAN_USED,
    "1309": PLAN_EXPIRED,
    "1310": PLAN_USED,
    "1311": DENIED,
    "1312": OVERLOADED,
    "1313": FAIR_USE,
}


def with_reset(complaint: Complaint, now: float) -> Complaint:
    """Add the time of the next try, which the message contains and no header does.

    `now` is in seconds since the epoch.
    """
    seconds = None
    if complaint.code == _DAILY:
        seconds = _until_new_day(now)
    elif complaint.code in _PLAN:
        seconds = _until_reset(complaint.text, now)
    return complaint if seconds is None else replace(complaint, retry_after=seconds)


def plain_code(text: str) -> str:
    """Return the code that an error in plain text begins with, or nothing."""
    label = _LABEL.match(text)
    return label[1] if label else ""


def _until_new_day(now: float) -> float:
    """Return the seconds until the next 00:05 in China, when new daily counts have begun."""
    here = datetime.fromtimestamp(now, _CHINA)
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    seconds = (midnight + _NEW_DAY - here).total_seconds()
    return seconds if seconds > 0 else seconds + 86_400


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
