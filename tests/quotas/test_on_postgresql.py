"""This folder's tests and those of usage on PostgreSQL, in their own process, because settings name one database."""

import os
import subprocess
import sys

import pytest

from tests import servers

SOAK = os.environ.get("SOAK") == "1"
# What locks rows and adds up; `make soak` takes all others too.
COUNTS = "accounts/test_token_usage.py"
FILES = (
    ["quotas", COUNTS]
    if SOAK
    else ["quotas/test_ledger.py", "quotas/test_redeem_codes.py", "quotas/test_days.py", COUNTS]
)
# The full counts take longer than the five minutes of a single test.
LIMIT = ["--timeout", "3600"] if SOAK else []


@pytest.mark.server
@pytest.mark.soak
@pytest.mark.timeout(3600 if SOAK else 900)
def test_the_ledger_passes_on_postgresql(postgres, tmp_path):
    """The tests here that need no server pass on PostgreSQL too; all of them in `make soak`."""
    files = [f"tests/{name}" for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not server", *LIMIT, *files]
    variables = servers.environment(postgres.migrated_database(), tmp_path / "var", IS_MIGRATED="1")
    done = subprocess.run(command, env=variables, cwd=servers.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
