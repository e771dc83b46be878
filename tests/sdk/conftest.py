"""Fixtures of this folder: programs with the vendors' own clients, which call the product."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import frontend_packages
from tests.product import ApiUser, Product

HERE = Path(__file__).parent
NODE = HERE / "node"
# Seconds without a byte after which the Python clients give up; keep-alives come sooner.
READ_SECONDS = 20 if os.environ.get("SOAK") == "1" else 8

Program = Callable[[str], Any]


class Running:
    """A program that prints a line of JSON, `[function, value]`, for each line of a key and a function."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def send(self, key: str, function: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{key} {function}\n")
        self._process.stdin.flush()

    def receive(self) -> tuple[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the program has ended; its error is above"
        function, value = json.loads(line)
        return function, value

    def with_key(self, key: str) -> Program:
        def run(function: str) -> Any:
            self.send(key, function)
            return self.receive()[1]

        return run


@contextmanager
def started(*command: str) -> Iterator[Running]:
    """Run a program, whose imports take seconds of CPU, until the tests that share it are done."""
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*", "READ_SECONDS": str(READ_SECONDS)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Running(process)
        process.kill()


@pytest.fixture(scope="module")
def anthropic_program(oracles: Path, product: Product) -> Iterator[Running]:
    with started(str(oracles / "bin/python"), "-I", str(HERE / "anthropic_program.py"), product.url) as running:
        yield running


@pytest.fixture(scope="module")
def langchain_program(oracles: Path, product: Product) -> Iterator[Running]:
    with started(str(oracles / "bin/python"), "-I", str(HERE / "langchain_program.py"), product.url) as running:
        yield running


@pytest.fixture(scope="module")
def node_program(product: Product) -> Iterator[Running]:
    """The clients in JavaScript, all in one process."""
    frontend_packages.install(NODE)
    with started(shutil.which("node") or "node", str(NODE / "program.js"), product.url) as running:
        yield running


@pytest.fixture
def key(api_user: ApiUser) -> str:
    """An API token of the test's user."""
    return str(api_user.client.post("/api/tokens/", json={"name": "sdk"}).json()["token"])


@pytest.fixture
def anthropic(anthropic_program: Running, key: str) -> Program:
    """Run a function of `anthropic_program` with a key of the test's user; return its value."""
    return anthropic_program.with_key(key)


@pytest.fixture
def langchain(langchain_program: Running, key: str) -> Program:
    return langchain_program.with_key(key)


@pytest.fixture
def node(node_program: Running, key: str) -> Program:
    return node_program.with_key(key)
