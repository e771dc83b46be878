"""Stop generations of other processes, and end those whose owner process died.

When the owner does not reply to a request through pub/sub, this process ends the generation. The database decides.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import structlog
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError
from django.utils import timezone

from chat.generations import drafts, ends, finish
from chat.models import Generation
from runtime import database
from runtime.process import ServingProcess
from runtime.pubsub import Broker
from runtime.redis_clients import RedisClients

# Seconds that the owner may take to close its upstream and store the end.
OWNER_SECONDS = 2.0
# Seconds between two requests to the owner meanwhile.
ASK_SECONDS = 0.25
# Seconds after which a row of this process that has no run is ended: its start was cut off before the run began.
STRAY_SECONDS = 60
# Rows of each kind that one pass of the reaper ends at most.
REAP_AT_ONCE = 500

# Topics: requests to the process that owns a generation, and its replies.
_REQUESTS, _REPLIES = "stop:{}", "stopped:{}"

log = structlog.get_logger("generation")


class Remote:
    """Asks other processes to stop their generations, and serves their requests."""

    def __init__(self, broker: Broker, redis: RedisClients, process: ServingProcess) -> None:
        self._broker, self._redis, self._process = broker, redis, process

    def serve(self, stop_own: Callable[[str], Awaitable[None]]) -> None:
        """Let other processes stop runs of this one; `stop_own` awaits the end. Repeating is safe."""

        async def stop_and_reply(request: bytes) -> None:
            generation = request.decode()
            await stop_own(generation)
            await self._broker.publish(_REPLIES.format(generation), b"stopped")

        self._broker.serve(_REQUESTS.format(self._process.id), stop_and_reply)

    async def stop(self, row: Generation) -> bool:
        """Return True when the generation has ended; False when its owner is dead."""
        if row.process not in await database.run(self._process.alive):
            return False
        if self._redis.url:
            await self._ask_owner(row)
        await database.run(self._end, row.id)
        return True

    def _end(self, generation: str) -> None:
        """End a generation that still runs; nothing changes if its owner was first."""
        for row in drafts.current(Generation.objects.running().filter(id=generation)):
            ends.count(finish.store(finish.of_stored(row, Generation.Status.COMPLETED, finish_reason="cancelled")))

    async def _ask_owner(self, row: Generation) -> None:
        """Ask repeatedly until the generation has ended, for `OWNER_SECONDS` at most."""
        replied = asyncio.Event()
        unsubscribe = self._broker.subscribe(
            _REPLIES.format(row.id), lambda payload: replied.set() if payload else None
        )
        deadline = time.monotonic() + OWNER_SECONDS
        running = Generation.objects.running().filter(id=row.id)
        try:
            while await database.run(running.exists) and time.monotonic() < deadline:
                if replied.is_set():
                    await asyncio.sleep(ASK_SECONDS)  # the reply came before the end was stored: haste would not help
                replied.clear()
                await self._broker.publish(_REQUESTS.format(row.process), row.id.encode())
                if self._redis.away:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(replied.wait(), ASK_SECONDS)
        finally:
            unsubscribe()

    def reap(self, own: set[str]) -> set[str]:
        """End the generations of dead processes, and those of this one outside `own`.

        Return those of `own` that another process has ended. Repeating is safe.
        """
        # Read in this order, so that a process that starts in between is not taken for dead.
        owners = set(Generation.objects.running().values_list("process", flat=True).distinct())
        orphans = Generation.objects.running().filter(process__in=owners - self._process.alive())
        before = timezone.now() - timedelta(seconds=STRAY_SECONDS)
        strays = Generation.objects.running().filter(process=self._process.id, created_at__lt=before)
        for row in [*orphans[:REAP_AT_ONCE], *strays.exclude(id__in=own)[:REAP_AT_ONCE]]:
            drafts.fill([row])
            end = finish.of_stored(row, Generation.Status.INTERRUPTED, error={"code": "interrupted"})
            try:
                ends.count(finish.store(end))
            except (ObjectDoesNotExist, IntegrityError):  # a row changed by hand must not keep the reaper from the rest
                log.exception("not reaped", generation=row.id)
        return ended_among(own)


def ended_among(own: set[str]) -> set[str]:
    """Return the generations that do not run any more."""
    return own - set(Generation.objects.running().filter(id__in=own).values_list("id", flat=True)) if own else own
