"""The ledger costs the same however many rows it has."""

import os
import time

import pytest

from benchmarks import charging
from tests import servers

pytestmark = [pytest.mark.server, pytest.mark.soak]

SOAK = os.environ.get("SOAK") == "1"
ROWS, MOST = (charging.MANY, 1.2) if SOAK else (50_000, 1.5)
TRIES = 5


@pytest.fixture(params=["sqlite", "postgresql"] if SOAK else ["sqlite"])
def urls(request, tmp_path):
    """Two fresh databases of a kind."""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        return server.migrated_database(), server.migrated_database()
    folders = tmp_path / "few", tmp_path / "many"
    for folder in folders:
        folder.mkdir()
    return tuple(map(servers.migrated_sqlite, folders))


def test_old_rows_cost_nothing(urls, django_db_blocker):
    """With many old rows, a charge costs as much as with few."""
    with django_db_blocker.unblock():
        asked = []
        for url, rows in zip(urls, (charging.FEW, ROWS), strict=True):
            with servers.connected(url):
                asked.append(charging.user_and_model(daily_limit=None))
                charging.fill(rows)
        # SQLite works in this thread, so what other processes add can be left out.
        clock = time.thread_time if urls[0].startswith("sqlite") else time.perf_counter
        few = many = float("inf")
        for turn in range(TRIES):
            with servers.connected(urls[0]):
                few = min(few, charging.least_cost(*asked[0], f"few-{turn}", 4, clock))
            with servers.connected(urls[1]):
                many = min(many, charging.least_cost(*asked[1], f"many-{turn}", 4, clock))
            if many / few <= MOST:
                return
    assert many / few <= MOST
