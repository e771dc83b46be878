"""`manage.py serve` in a process that kills itself, as `kill -9` would, at one point of a generation's life.

`python -m tests.quotas.mortal <point>`; the points are in the order in which a generation passes them.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django


def die(*_arguments: object, **_options: object) -> Any:
    """Be gone, without a last word."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Let the process die when a generation gets there."""
    from chat.generations import drafts, prompt, remote, run, service
    from providers.routing import Attempts
    from quotas import hints

    def third(append: Callable[..., None]) -> Callable[..., None]:
        def counting(draft: Any, text: str) -> None:
            append(draft, text)
            if len(str(draft.content)) > len(text) * 2:
                die()

        return counting

    class NeverTold:
        """The counters as a module sees them, but for telling them of a generation that this process began."""

        seems_exhausted = staticmethod(hints.seems_exhausted)

        @staticmethod
        async def flush() -> None:
            if service._runs:
                die()
            await hints.flush()

    if point == "mid-answer":
        drafts.Draft.add_content = third(drafts.Draft.add_content)  # type: ignore[method-assign]
        return
    owner, name, what = {
        "before the reservation commits": (prompt, "build", die),
        "after the reservation commits": (service, "_spawn", die),
        "before the counter follows the reservation": (service, "hints", NeverTold),
        "before the upstream call": (Attempts, "run", die),
        "before settle": (run.Run, "_store", die),  # the reaper, which settles the life before, does not pass here
        "after settle": (run.Run, "_tell", die),
        "before the counter follows the end": (run, "hints", NeverTold),
        "before a stop is carried out": (service, "_stop_asked_for", die),
        "between a stop and its answer": (remote, "_answers", die),
    }[point]
    setattr(owner, name, what)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    django.setup()
    from django.core.management import call_command

    arm(sys.argv[1])
    call_command("serve")
