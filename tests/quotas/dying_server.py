"""`manage.py serve` in a process that kills itself at one point of a generation's life.

`python -m tests.quotas.dying_server <point>`; the points are in the order in which a generation passes them.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import django


def die(*_arguments: object, **_options: object) -> Any:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Let the process die when a generation gets there."""
    from chat.generations import drafts, remote, run, service, start
    from providers.routing import Attempts

    def third(append: Callable[..., None]) -> Callable[..., None]:
        def append_and_die(draft: Any, text: str) -> None:
            append(draft, text)
            if draft.content.length > len(text) * 2:
                die()

        return append_and_die

    if "the counter follows" in point:
        die_before_counter(point)
        return
    replaced: dict[str, tuple[Any, str, Any]] = {
        "before the reservation commits": (start.Admission, "_store", die),
        "after the reservation commits": (service.Generations, "_run", die),
        "before the upstream call": (Attempts, "run", die),
        "mid-answer": (drafts.Draft, "add_content", third(drafts.Draft.add_content)),
        "before settle": (run.Run, "_store", die),  # the reaper, which settles the life before, does not pass here
        "after settle": (run.Run, "_publish_end", die),
        "before a stop is carried out": (service.Generations, "_stop_own", die),
        "between a stop and its answer": (remote, "_REPLIES", SimpleNamespace(format=die)),
    }
    owner, name, replacement = replaced[point]
    assert hasattr(owner, name)
    setattr(owner, name, replacement)


def die_before_counter(point: str) -> None:
    """Let the process die right after a commit, before the ledger deletes the counter."""
    from django.db import transaction

    from quotas import ledger

    reserve_unit, ends = ledger.reserve, {"settle": ledger.settle, "release": ledger.release}
    reserved_here: list[str] = []

    def reserve(user_id: int, model_id: int, reference: str) -> Any:
        reserved_here.append(reference)
        if point == "before the counter follows the reservation":
            transaction.on_commit(die)
        return reserve_unit(user_id, model_id, reference)

    def end(how: str, reference: str, reason: str) -> Any:
        if reference in reserved_here:  # else the reaper ends what the process before left behind
            transaction.on_commit(die)
        return ends[how](reference, reason)

    ledger.reserve = reserve  # type: ignore[assignment]
    ledger.settle, ledger.release = partial(end, "settle"), partial(end, "release")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    django.setup()
    from django.core.management import call_command

    arm(sys.argv[1])
    call_command("serve")
