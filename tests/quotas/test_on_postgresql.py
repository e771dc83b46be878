"""PostgreSQL passes this folder's tests too, in a process of its own: settings name one database."""

import subprocess
import sys

import pytest

from tests import servers


@pytest.mark.server
@pytest.mark.timeout(900)
def test_it_works(postgres, tmp_path):
    """Every test of this folder that needs no server of its own passes on PostgreSQL as it does on SQLite."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not server", "tests/quotas"]
    variables = servers.environment(postgres.database(), tmp_path / "var")
    done = subprocess.run(command, env=variables, cwd=servers.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
