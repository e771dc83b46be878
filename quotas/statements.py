"""The ledger's SQL. What decides also changes, in one statement, so that no two callers can both be told yes.

Plain SQL because the ORM has no conditional upsert and costs several times as much per answer. Both databases
understand every statement; none needs RETURNING, which older SQLite libraries lack.
"""

# PostgreSQL's integer ends here; whoever has no limit counts up to it.
MOST = 2_147_483_647

QUOTA_OF_MODEL = """
SELECT quota.id, quota.daily_limit
FROM quotas_quotamodel link JOIN quotas_quota quota ON quota.id = link.quota_id
WHERE link.model_id = %(model)s
"""

# One row for each model of a quota, in the order of lists; its slug is NULL when it is disabled or there is none.
_STATES = """
SELECT quota.slug, quota.title, quota.daily_limit, COALESCE(usage.used, 0), COALESCE(balance.credits, 0), model.slug,
       (SELECT id FROM quotas_reservation WHERE reference = %(reference)s)
FROM quotas_quota quota
LEFT JOIN quotas_dailyusage usage
       ON usage.quota_id = quota.id AND usage.user_id = %(user)s AND usage.day = %(day)s
LEFT JOIN quotas_creditbalance balance ON balance.quota_id = quota.id AND balance.user_id = %(user)s
LEFT JOIN quotas_quotamodel link ON link.quota_id = quota.id
LEFT JOIN providers_chatmodel model ON model.id = link.model_id AND model.enabled
"""
_IN_ORDER = "ORDER BY quota.id, model.position, model.slug"
STATE = f"{_STATES} WHERE quota.id = %(quota)s {_IN_ORDER}"
STATES_IN_USE = f"{_STATES} WHERE model.slug IS NOT NULL {_IN_ORDER}"

# The first of a day needs no comparison: a limit of 0 never comes here.
TAKE_DAILY = """
INSERT INTO quotas_dailyusage (user_id, quota_id, day, used) VALUES (%(user)s, %(quota)s, %(day)s, 1)
ON CONFLICT (user_id, quota_id, day) DO UPDATE SET used = quotas_dailyusage.used + 1
WHERE quotas_dailyusage.used < %(limit)s
"""
TAKE_CREDIT = """
UPDATE quotas_creditbalance SET credits = credits - 1
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
UPDATE quotas_dailyusage SET used = used - 1
WHERE user_id = %(user)s AND quota_id = %(quota)s AND day = %(day)s AND used > 0
"""

# Also for the credit that a released reservation held.
ADD_CREDITS = """
INSERT INTO quotas_creditbalance (user_id, quota_id, credits) VALUES (%(user)s, %(quota)s, %(amount)s)
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

# The day's share of rewarded invitations: what bounds it also counts it.
TAKE_REWARD = """
INSERT INTO quotas_inviterday (inviter_id, day, rewarded) VALUES (%(inviter)s, %(day)s, 1)
ON CONFLICT (inviter_id, day) DO UPDATE SET rewarded = quotas_inviterday.rewarded + 1
WHERE quotas_inviterday.rewarded < %(most)s
"""
