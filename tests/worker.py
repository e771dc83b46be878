"""What a process started by `servers.in_processes` runs: one function, with arguments and result as JSON lines."""

import json
import os
import sys
from importlib import import_module

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    function = getattr(import_module(sys.argv[1]), sys.argv[2])
    print("ready", flush=True)
    result = function(*json.loads(sys.stdin.readline()))
    print(json.dumps(result), flush=True)
