"""The packages of a package-lock.json, installed once for all tests of a run and for later runs."""

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests import conftest, servers

FRONTEND = servers.ROOT / "frontend"
FOLDER = FRONTEND / "node_modules"


def install(folder: Path = FRONTEND) -> None:
    """Install what the lock lists, unless a run with the same lock has done so; safe in several processes."""
    conftest._need(servers.Node)
    lock, installed = folder / "package-lock.json", folder / "node_modules/.installed"
    with (folder / "package.json").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_bytes() != lock.read_bytes():
            npm("ci", "--no-audit", "--no-fund", folder=folder)
            installed.write_bytes(lock.read_bytes())


def npm(*arguments: str, folder: Path = FRONTEND) -> None:
    """Run npm in a folder; its output is shown when it fails."""
    done = subprocess.run(["npm", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.fail(f"npm {' '.join(arguments)} failed:\n{done.stdout}", pytrace=False)
