"""Whether what was charged agrees in all tables of a PostgreSQL database.

Users that `tests.filling` has made, from id 1001 on, are left out: what it fills in does not agree.
"""

from typing import LiteralString

import psycopg

# Generations whose charge is not what their reservation and the ledger say: charged means settled and spent once, free
# means released and not spent. A generation that runs holds its unit.
WRONG_CHARGES = """
SELECT g.id, g.status, g.charge, r.status, count(l.id)
FROM chat_generation g
LEFT JOIN quotas_reservation r ON r.reference = g.id
LEFT JOIN quotas_ledgerentry l ON l.reference = g.id AND l.amount = -1
WHERE g.user_id <= 1000
GROUP BY g.id, g.status, g.charge, r.status
HAVING (g.status, g.charge ->> 'amount', r.status, count(l.id)) NOT IN (
    ('completed', '1', 'settled', 1), ('completed', '0', 'released', 0),
    ('interrupted', '0', 'released', 0), ('failed', '0', 'released', 0)
) OR (g.charge ->> 'amount') IS NULL OR r.status IS NULL
"""
# Days whose counter is not the number of their units.
WRONG_DAYS = """
SELECT u.user_id, u.quota_id, u.day, u.used, count(r.id)
FROM quotas_dailyusage u
LEFT JOIN quotas_reservation r ON r.user_id = u.user_id AND r.quota_id = u.quota_id AND r.day = u.day
    AND r.source = 'daily' AND r.status <> 'released'
WHERE u.user_id <= 1000
GROUP BY u.id, u.user_id, u.quota_id, u.day, u.used
HAVING u.used <> count(r.id)
"""
# Units that are spent without a generation.
WRONG_SPENDS = """
SELECT l.reference FROM quotas_ledgerentry l
LEFT JOIN chat_generation g ON g.id = l.reference
WHERE l.user_id <= 1000 AND l.amount < 0 AND l.reference <> '' AND g.id IS NULL
"""


def still_running(url: str) -> int:
    """Return the number of generations that have not ended."""
    ((count,),) = _rows(url, "SELECT count(*) FROM chat_generation WHERE status = 'running'")
    return int(count)


def generating(url: str) -> set[int]:
    """Return the pids of the processes that own a running generation."""
    found = _rows(
        url,
        "SELECT DISTINCT p.pid FROM chat_generation g JOIN runtime_process p ON p.id = g.process"
        " WHERE g.status = 'running'",
    )
    return {int(pid) for (pid,) in found}


def open_transactions(url: str) -> int:
    """Return the number of transactions that are open on the database, but for that of the question."""
    ((count,),) = _rows(
        url,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND xact_start IS NOT NULL AND backend_type = 'client backend'",
    )
    return int(count)


def wrong_charges(url: str) -> list[tuple[int, ...]]:
    """Return the rows that disagree; no generation may be running."""
    return [row for statement in (WRONG_CHARGES, WRONG_DAYS, WRONG_SPENDS) for row in _rows(url, statement)]


def _rows(url: str, statement: LiteralString) -> list[tuple[int, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()
