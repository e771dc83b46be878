"""This folder's tests on PostgreSQL, in their own process, because settings name one database."""

import subprocess
import sys

import pytest

from tests import servers


@pytest.mark.server
@pytest.mark.timeout(900)
def test_all_pass_on_postgresql(postgres, tmp_path):
    """Every test here that needs no server passes on PostgreSQL too."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not server", "tests/quotas"]
    variables = servers.environment(postgres.database(), tmp_path / "var")
    done = subprocess.run(command, env=variables, cwd=servers.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
