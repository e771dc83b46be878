"""`manage.py` with other timeouts and limits, workers included: `IMPATIENCE=chat.events.sse.TICK_SECONDS=0.1,…`."""

import os
import sys
from importlib import import_module
from pathlib import Path

import django
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    django.setup()
    for clock in os.environ["IMPATIENCE"].split(","):
        place, _equals, seconds = clock.partition("=")
        module, _dot, name = place.rpartition(".")
        kind = type(getattr(import_module(module), name))
        assert kind in {int, float}
        setattr(import_module(module), name, kind(seconds))
    execute_from_command_line(sys.argv)
