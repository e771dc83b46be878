#!/usr/bin/env python
"""Django's command line: `setup`, `serve`, and all of Django's own commands."""

import os
import sys
from importlib import import_module

from django.apps import apps
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    try:
        execute_from_command_line(sys.argv)
    except SystemExit as end:
        if end.code:
            raise
        # It has ended well, as a `shell` does that is left by `exit()`.
    if apps.ready:
        # Imported here, because it needs models, which the command has made ready.
        import_module("accounts.audit.commands").note(sys.argv)
