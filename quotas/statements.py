"""The ledger's SQL. What decides also changes, in one statement, so that no two callers can both be told yes.

Plain SQL because the ORM has no conditional upsert and costs several times as much per answer. Both databases
understand every statement; none needs RETURNING, which older SQLite libraries lack. Every change of a row that is
counted raises its `revision` in the same statement.
"""

from functools import cache
from typing import Any, Literal

from django.contrib.auth import get_user_model

# PostgreSQL's integer ends here; whoever has no limit counts up to it.
MOST = 2_147_483_647

# What the user's own groups allow, NULL where none of them is named; without a limit is the best of all.
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
_STANDING = """
SELECT quota.id, quota.daily_limit, {group_limit}, COALESCE(usage.used, 0), COALESCE(usage.revision, 0),
       COALESCE(balance.credits, 0), COALESCE(balance.revision, 0),
       (SELECT id FROM quotas_reservation WHERE reference = %(reference)s)
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
def standing(which: Literal["one", "all", "of_model"]) -> str:
    """Return the question for what a user has used and has left: of one quota, of all, of the one a model counts for.

    One statement, so that its figures belong together.
    """
    conditions = {
        "one": "WHERE quota.id = %(quota)s",
        "all": "ORDER BY quota.id",
        "of_model": "JOIN quotas_quotamodel link ON link.quota_id = quota.id WHERE link.model_id = %(model)s",
    }
    return _STANDING.format(group_limit=_group_limit(), which=conditions[which])


def _group_limit() -> str:
    # Users are known as AUTH_USER_MODEL only, and so is the table that says who is in which group.
    groups: Any = get_user_model()._meta.get_field("groups")
    names = {"members": groups.m2m_db_table(), "user": groups.m2m_column_name(), "group": groups.m2m_reverse_name()}
    return _GROUP_LIMIT.format(most=MOST, **names)


# The first of a day needs no comparison: a limit of 0 never comes here.
TAKE_DAILY = """
INSERT INTO quotas_dailyusage (user_id, quota_id, day, used, revision) VALUES (%(user)s, %(quota)s, %(day)s, 1, 1)
ON CONFLICT (user_id, quota_id, day)
DO UPDATE SET used = quotas_dailyusage.used + 1, revision = quotas_dailyusage.revision + 1
WHERE quotas_dailyusage.used < %(limit)s
"""
TAKE_CREDIT = """
UPDATE quotas_creditbalance SET credits = credits - 1, revision = revision + 1
WHERE user_id = %(user)s AND quota_id = %(quota)s AND credits > 0
"""
HOLD = """
INSERT INTO quotas_reservation (user_id, quota_id, day, source, status, reference, reason, created_at)
VALUES (%(user)s, %(quota)s, %(day)s, %(source)s, 'reserved', %(reference)s, '', %(now)s)
"""

END = """
UPDATE quotas_reservation SET status = %(status)s, reason = %(reason)s, ended_at = %(now)s
WHERE reference = %(reference)s AND status = 'reserved'
"""
# The last one is the user's pending invitation: asked here, it costs an answer a look into an index and no statement.
RESERVATION = """
SELECT user_id, quota_id, day, source, status, reason,
       (SELECT id FROM quotas_invitation WHERE invited_id = quotas_reservation.user_id AND status = 'pending')
FROM quotas_reservation WHERE reference = %(reference)s
"""
GIVE_BACK_DAILY = """
UPDATE quotas_dailyusage SET used = used - 1, revision = revision + 1
WHERE user_id = %(user)s AND quota_id = %(quota)s AND day = %(day)s AND used > 0
"""

# Also for the credit that a released reservation held.
ADD_CREDITS = """
INSERT INTO quotas_creditbalance (user_id, quota_id, credits, revision) VALUES (%(user)s, %(quota)s, %(amount)s, 1)
ON CONFLICT (user_id, quota_id)
DO UPDATE SET credits = quotas_creditbalance.credits + %(amount)s, revision = quotas_creditbalance.revision + 1
WHERE quotas_creditbalance.credits <= %(room)s
"""
TAKE_CREDITS_BACK = """
UPDATE quotas_creditbalance SET credits = credits + %(amount)s, revision = revision + 1
WHERE user_id = %(user)s AND quota_id = %(quota)s AND credits + %(amount)s >= 0
"""
RECORD = """
INSERT INTO quotas_ledgerentry (user_id, quota_id, amount, source, reason, reference, created_at)
VALUES (%(user)s, %(quota)s, %(amount)s, %(source)s, %(reason)s, %(reference)s, %(now)s)
"""

# The day's share of rewarded invitations: what bounds it also counts it.
TAKE_REWARD = """
INSERT INTO quotas_inviterday (inviter_id, day, rewarded) VALUES (%(inviter)s, %(day)s, 1)
ON CONFLICT (inviter_id, day) DO UPDATE SET rewarded = quotas_inviterday.rewarded + 1
WHERE quotas_inviterday.rewarded < %(most)s
"""
