"""Fixtures of this folder: programs with the vendors' own clients, which call the product."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.product import ApiUser

Program = Callable[..., Any]


@pytest.fixture
def anthropic(oracles: Path, api_user: ApiUser) -> Program:
    """Run a function of `anthropic_program`; return its value."""
    token = api_user.client.post("/api/tokens/", json={"name": "anthropic"}).json()["token"]
    script = Path(__file__).with_name("anthropic_program.py")

    def run(function: str) -> Any:
        command = [str(oracles / "bin" / "python"), "-I", str(script), api_user.product.url, token, function]
        environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
