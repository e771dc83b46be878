"""The module that `servers.in_processes` starts: it forks a child for each row of arguments, once Django is set up."""

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import django


def fork(function: Callable[..., Any], row: list[Any]) -> tuple[int, int]:
    """Start a child that calls the function; return its pid and where its result can be read."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    try:
        with os.fdopen(writing, "w") as result:
            json.dump(function(*row), result)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def joined(pid: int, reading: int) -> tuple[int, str]:
    """Wait for a child; return its exit code and the JSON of its result."""
    with os.fdopen(reading) as result:
        found = result.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), found


if __name__ == "__main__":
    warnings.simplefilter("error")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    called = getattr(import_module(sys.argv[1]), sys.argv[2])
    children = [fork(called, row) for row in json.load(sys.stdin)]
    print(json.dumps([joined(*child) for child in children]))
