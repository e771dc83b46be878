"""`make run`, the first command of a new user; it uses an existing environment and installs nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers import ROOT, environment

pytestmark = pytest.mark.server


@contextmanager
def make_run(var_dir: Path, venv: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run `make run` until it serves; yield the process and its output."""
    command = ["make", "-s", "run", f"VENV={venv}"]
    variables = environment("", var_dir, PORT="0")
    process = subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    printed = ""
    try:
        for line in process.stdout:
            printed += line
            if "is ready" in line:
                break
        yield process, printed
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait()


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder that looks like an installed environment, with the programs of the current one."""
    lent = tmp_path / "venv"
    (lent / "bin").mkdir(parents=True)
    (lent / "bin" / "python").symlink_to(shutil.which("python", path=str(Path(sys.executable).parent)) or "")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", lent / "pyvenv.cfg")
    (lent / "lib").symlink_to(Path(sys.prefix) / "lib")
    (lent / ".run").touch()
    return lent


def stop(make: "subprocess.Popen[str]") -> int:
    """Send SIGTERM to the server; return make's exit code, because make dies of any signal it gets."""
    (server,) = Path(f"/proc/{make.pid}/task/{make.pid}/children").read_text().split()
    os.kill(int(server), signal.SIGTERM)
    return make.wait(60)


@pytest.mark.contract("make run")
def test_make_run_prints_the_password_once(tmp_path: Path, venv: Path) -> None:
    """The first run prints address, name and password, the second only the address.

    The second installs nothing, which would take most of its time.

    SIGTERM to the server ends both with code 0.
    """
    with make_run(tmp_path / "var", venv) as (process, printed):
        address = re.search(r"http://127\.0\.0\.1:\d+", printed)
        password = re.search(r"admin.*password: (\S+)", printed)
        assert address, printed
        assert password, printed
        login = {"username": "admin", "password": password[1]}
        with httpx.Client(base_url=address[0], trust_env=False, verify=False, timeout=30) as client:
            assert client.post("/api/auth/token/", json=login).status_code == 200
        assert stop(process) == 0
    installed = (venv / ".run").stat().st_mtime_ns
    with make_run(tmp_path / "var", venv) as (process, printed):
        assert (venv / ".run").stat().st_mtime_ns == installed
        assert "is ready: http://127.0.0.1:" in printed
        assert "password" not in printed
        assert stop(process) == 0
