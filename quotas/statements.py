"""The ledger's SQL. Each statement decides and changes at once.

So two callers never take the same unit. Plain SQL, because the ORM has no conditional upsert and costs several times as
much per completion. Both databases understand every statement.
Nothing reads `revision`: its column stays for processes of the previous release.
"""

from functools import cache
from typing import Any, Literal

from django.contrib.auth import get_user_model

# The highest value of PostgreSQL's integer; users without a limit count up to it.
MOST = 2_147_483_647

# The best limit among the user's groups; NULL where no group has one, MOST where one has no limit.
_GROUP_LIMIT = """
(SELECT MAX(COALESCE(theirs.daily_limit, {most})) FROM quotas_quotagrouplimit theirs
 JOIN {members} member ON member.{group} = theirs.group_id
 WHERE theirs.quota_id = quota.id AND member.{user} = %(user)s)
"""
_QUOTA_OF_MODEL = """
SELECT quota.id, quota.daily_limit, {group_limit}
FROM quotas_quotamodel link JOIN quotas_quota quota ON quota.id = link.quota_id
WHERE link.model_id = %(model)s
"""
# Takes a unit of a day that has a row. On SQLite an UPDATE of one row is cheaper than an INSERT from a SELECT.
_TAKE_AGAIN = """
UPDATE quotas_dailyusage SET used = used + 1
WHERE user_id = %(user)s AND day = %(day)s
  AND quota_id = (SELECT quota_id FROM quotas_quotamodel WHERE model_id = %(model)s) AND used < {limit_of_row}
"""
# One statement finds the model's quota and the user's limit, and takes the unit. The first unit of a day is compared
# with 0 only.
_TAKE_DAILY = """
INSERT INTO quotas_dailyusage (user_id, quota_id, day, used, revision)
SELECT %(user)s, quota.id, %(day)s, 1, 0
FROM quotas_quotamodel link JOIN quotas_quota quota ON quota.id = link.quota_id
WHERE link.model_id = %(model)s AND {limit} > 0
ON CONFLICT (user_id, quota_id, day) DO UPDATE SET used = quotas_dailyusage.used + 1
WHERE quotas_dailyusage.used < {limit_of_row}
"""
# The figures after it.
_TAKEN = """
RETURNING quota_id, used, {limit_of_row},
          COALESCE((SELECT credits FROM quotas_creditbalance balance
                    WHERE balance.quota_id = quotas_dailyusage.quota_id AND balance.user_id = %(user)s), 0)
"""
_STANDING = """
SELECT quota.id, quota.daily_limit, {group_limit}, COALESCE(usage.used, 0), COALESCE(balance.credits, 0)
FROM quotas_quota quota
LEFT JOIN quotas_dailyusage usage
       ON usage.quota_id = quota.id AND usage.user_id = %(user)s AND usage.day = %(day)s
LEFT JOIN quotas_creditbalance balance ON balance.quota_id = quota.id AND balance.user_id = %(user)s
{which}
"""


@cache
def quota_of_model() -> str:
    return _QUOTA_OF_MODEL.format(group_limit=_group_limit())


@cache
def take_daily(which: Literal["returning", "again", "first"]) -> str:
    """Return the statement that takes a unit of the day.

    It is one that returns the figures, or one that needs a row of the day, or one that needs none.
    """
    limit = f"COALESCE({_group_limit()}, quota.daily_limit, {MOST})"
    of_row = f"(SELECT {limit} FROM quotas_quota quota WHERE quota.id = quotas_dailyusage.quota_id)"  # noqa: S608
    statement = {"returning": _TAKE_DAILY + _TAKEN, "again": _TAKE_AGAIN, "first": _TAKE_DAILY}[which]
    return statement.format(limit=limit, limit_of_row=of_row)


@cache
def standing(which: Literal["one", "all", "of_model"]) -> str:
    """Return the query for the figures of one quota, of all, or of a model's.

    It is one statement, so that all its figures are from the same moment.
    """
    conditions = {
        "one": "WHERE quota.id = %(quota)s",
        "all": "ORDER BY quota.id",
        "of_model": "JOIN quotas_quotamodel link ON link.quota_id = quota.id WHERE link.model_id = %(model)s",
    }
    return _STANDING.format(group_limit=_group_limit(), which=conditions[which])


def _group_limit() -> str:
    # This app knows users as AUTH_USER_MODEL only, so the model names the table of group members.
    groups: Any = get_user_model()._meta.get_field("groups")
    names = {"members": groups.m2m_db_table(), "user": groups.m2m_column_name(), "group": groups.m2m_reverse_name()}
    return _GROUP_LIMIT.format(most=MOST, **names)


TAKE_CREDIT = """
UPDATE quotas_creditbalance SET credits = credits - 1
WHERE user_id = %(user)s AND quota_id = %(quota)s AND credits > 0
"""
RESERVE = """
INSERT INTO quotas_reservation (user_id, quota_id, day, source, status, reference, reason, created_at)
VALUES (%(user)s, %(quota)s, %(day)s, %(source)s, 'reserved', %(reference)s, '', %(now)s)
"""

# The last column is the user's pending invitation. Selecting it here saves each completion a statement of its own.
_ENDED = """
user_id, quota_id, day, source, status, reason,
(SELECT id FROM quotas_invitation WHERE invited_id = quotas_reservation.user_id AND status = 'pending')
"""
END = """
UPDATE quotas_reservation SET status = %(status)s, reason = %(reason)s, ended_at = %(now)s
WHERE reference = %(reference)s AND status = 'reserved'
"""
ENDED = f" RETURNING {_ENDED}"
RESERVATION = f"SELECT {_ENDED} FROM quotas_reservation WHERE reference = %(reference)s"  # noqa: S608
GIVE_BACK_DAILY = """
UPDATE quotas_dailyusage SET used = used - 1
WHERE user_id = %(user)s AND quota_id = %(quota)s AND day = %(day)s AND used > 0
"""

# Grants credits, and gives back the credit of a released reservation.
ADD_CREDITS = """
INSERT INTO quotas_creditbalance (user_id, quota_id, credits, revision) VALUES (%(user)s, %(quota)s, %(amount)s, 0)
ON CONFLICT (user_id, quota_id) DO UPDATE SET credits = quotas_creditbalance.credits + %(amount)s
WHERE quotas_creditbalance.credits <= %(room)s
"""
TAKE_CREDITS_BACK = """
UPDATE quotas_creditbalance SET credits = credits + %(amount)s
WHERE user_id = %(user)s AND quota_id = %(quota)s AND credits + %(amount)s >= 0
"""
RECORD = """
INSERT INTO quotas_ledgerentry (user_id, quota_id, amount, source, reason, reference, created_at)
VALUES (%(user)s, %(quota)s, %(amount)s, %(source)s, %(reason)s, %(reference)s, %(now)s)
"""

# Counts a rewarded invitation, unless the inviter has reached the day's limit of rewards.
TAKE_REWARD = """
INSERT INTO quotas_inviterday (inviter_id, day, rewarded) VALUES (%(inviter)s, %(day)s, 1)
ON CONFLICT (inviter_id, day) DO UPDATE SET rewarded = quotas_inviterday.rewarded + 1
WHERE quotas_inviterday.rewarded < %(most)s
"""
