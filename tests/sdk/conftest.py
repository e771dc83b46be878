"""Fixtures of this folder: programs with the vendors' own clients, which call the product."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.product import ApiUser, Product

Program = Callable[..., Any]


@pytest.fixture(scope="module")
def anthropic_process(oracles: Path, product: Product) -> Iterator["subprocess.Popen[str]"]:
    """A process with Anthropic's client, whose import takes seconds of CPU."""
    script = Path(__file__).with_name("anthropic_program.py")
    command = [str(oracles / "bin" / "python"), "-I", str(script), product.url]
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield process
        process.kill()


@pytest.fixture
def anthropic(anthropic_process: "subprocess.Popen[str]", api_user: ApiUser) -> Program:
    """Run a function of `anthropic_program` with a key of the test's user; return its value."""
    token = api_user.client.post("/api/tokens/", json={"name": "anthropic"}).json()["token"]
    given, printed = anthropic_process.stdin, anthropic_process.stdout
    assert given
    assert printed

    def run(function: str) -> Any:
        given.write(f"{token} {function}\n")
        given.flush()
        line = printed.readline()
        assert line, "the program has ended; its error is above"
        return json.loads(line)

    return run
