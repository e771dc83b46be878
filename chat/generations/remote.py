"""Generations that another process runs, or ran: stopping them, and ending those whose owner died.

To stop one its owner is asked through wake-ups, and when nobody answers it is ended here. Who ended what is decided by
the database alone, and read from it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError
from django.utils import timezone

from chat.generations import finish
from chat.models import Generation
from runtime import database
from runtime.apps import runtime

# How long the owner may take to close its upstream and store the end, and how often it is asked meanwhile.
OWNER_SECONDS, ASK_SECONDS = 2.0, 0.25

STOPPED = b"stopped"
# A row of this process without a run is one whose start was cut off between its transaction and its run.
STRAY_SECONDS = 60
REAP_AT_ONCE = 500

log = structlog.get_logger("generation")

StopOwn = Callable[[str], Awaitable[None]]


def answer(stop_own: StopOwn) -> None:
    """Let other processes stop what this one runs: `stop_own` returns when it is stopped. Repeating is safe."""
    runtime().broker.serve(_requests(runtime().process.id), partial(_stop_and_say, stop_own))


async def _stop_and_say(stop_own: StopOwn, request: bytes) -> None:
    generation = request.decode()
    await stop_own(generation)
    await runtime().broker.publish(_answers(generation), STOPPED)


async def stop(row: Generation) -> bool:
    """Return when the generation has ended: by its owner, or here with what is stored. False: its owner is dead."""
    if row.process not in await database.run(runtime().process.alive):
        return False
    if settings.REDIS_URL:
        await _ask_owner(row)
    await database.run(_end, row.id)
    return True


async def _ask_owner(row: Generation) -> None:
    """Ask again and again until it has ended, for `OWNER_SECONDS` at the longest, and not while nobody can hear."""
    said = asyncio.Event()
    unlisten = runtime().broker.subscribe(_answers(row.id), lambda payload: said.set() if payload else None)
    deadline = time.monotonic() + OWNER_SECONDS
    try:
        while await database.run(_runs, row.id) and time.monotonic() < deadline:
            if said.is_set():
                await asyncio.sleep(ASK_SECONDS)  # it said so and it is not: nothing that haste would mend
            said.clear()
            await runtime().broker.publish(_requests(row.process), row.id.encode())
            if runtime().redis.away:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(said.wait(), ASK_SECONDS)
    finally:
        unlisten()


def _requests(owner: str) -> str:
    return f"stop:{owner}"


def _answers(generation: str) -> str:
    return f"stopped:{generation}"


def _runs(generation: str) -> bool:
    return Generation.objects.running().filter(id=generation).exists()


def _end(generation: str) -> None:
    """End what is still running: the guarded update lets its owner go first, who then finds it ended."""
    row = Generation.objects.running().filter(id=generation).first()
    if row:
        finish.store(finish.of_stored(row, Generation.Status.COMPLETED, finish_reason="cancelled"))


# --- ending those whose owner died ------------------------------------------------------------------------------------


def reap(own: set[str]) -> set[str]:
    """End the generations of processes that died, and strays of this one, which runs `own`; safe twice.

    Return those of our own that somebody else has ended.
    """
    # In this order: who starts in between has not been asked about, and is not found missing among the living.
    owners = set(Generation.objects.running().values_list("process", flat=True).distinct())
    orphans = Generation.objects.running().filter(process__in=owners - runtime().process.alive())
    before = timezone.now() - timedelta(seconds=STRAY_SECONDS)
    strays = (
        Generation.objects.running().filter(process=runtime().process.id, created_at__lt=before).exclude(id__in=own)
    )
    for row in [*orphans[:REAP_AT_ONCE], *strays[:REAP_AT_ONCE]]:
        end = finish.of_stored(row, Generation.Status.INTERRUPTED, error={"code": "interrupted"})
        try:
            finish.store(end)
        except (ObjectDoesNotExist, IntegrityError):  # one row that someone has tampered with must not keep the others
            log.exception("not reaped", generation=row.id)
    return ended_among(own)


def ended_among(own: set[str]) -> set[str]:
    """Return those that do not run any more."""
    return own - set(Generation.objects.running().filter(id__in=own).values_list("id", flat=True)) if own else own
