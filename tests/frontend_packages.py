"""The packages of frontend/package-lock.json, installed once for all tests of a run and for later runs."""

import fcntl
import subprocess

import pytest

from tests import conftest, servers

FRONTEND = servers.ROOT / "frontend"
FOLDER = FRONTEND / "node_modules"


def install() -> None:
    """Install what the lock lists, unless a run with the same lock has done so; safe in several processes."""
    conftest._need(servers.Node)
    lock, installed = FRONTEND / "package-lock.json", FOLDER / ".installed"
    with (servers.ROOT / "frontend/.prettierrc.json").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_bytes() != lock.read_bytes():
            npm("ci", "--no-audit", "--no-fund")
            installed.write_bytes(lock.read_bytes())


def npm(*arguments: str) -> None:
    """Run npm in frontend/; its output is shown when it fails."""
    done = subprocess.run(
        ["npm", *arguments], cwd=FRONTEND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        pytest.fail(f"npm {' '.join(arguments)} failed:\n{done.stdout}", pytrace=False)
