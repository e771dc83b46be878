"""Sets up, then runs a program that serves: `python tests/first_start.py FOLDER PROGRAM serve`.

Setting up is done by a fork, so that both need one start of Django. It leaves a copy of VAR_DIR in FOLDER, if one is
given. `Product` uses this.
"""

import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

import django
from django.core.management import execute_from_command_line


def set_up(copy: str) -> int:
    """Run `manage.py setup` in a child, whose output is printed when it fails; return its exit code."""
    with tempfile.TemporaryFile() as output:
        if child := os.fork():
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            if code:
                sys.stderr.write(output.read().decode())
            return code
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        execute_from_command_line(["manage.py", "setup"])
        if copy:
            shutil.copytree(os.environ["VAR_DIR"], copy, dirs_exist_ok=True)
        sys.exit(0)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    django.setup()
    if exit_code := set_up(sys.argv[1]):
        sys.exit(exit_code)
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
