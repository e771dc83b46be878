"""Let generations begin only as fast as running streams stay smooth.

A beginning costs as much as a hundred deltas. When more prompts come than the process can start beside its running
streams, they wait in order. While many streams run and turns of the event loop take long, only some begin in each turn.
When the wait would be longer than MAX_START_SECONDS, a prompt is refused, so that the queue stays short.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from django.conf import settings

from runtime.writer import MOST_TOGETHER
from web.refusals import ServiceUnavailable

# Beginnings at once: as many as may share a transaction.
AT_ONCE = MOST_TOGETHER
# Running generations from which on their turns are protected. Fewer cost less than the prompts, which gain by company.
MANY_RUNNING = 100
# CPU seconds of one turn of the event loop, in which each stream is served once, up to which readers notice nothing.
SMOOTH_SECONDS = 0.05
# Beginnings within one turn while turns are longer. They take about as long as the turn, so a reader waits for twice as
# long; one by one, a thousand prompts would take longer than a minute.
WITHIN_A_TURN = 16
# Seconds of the longest pause, so that some prompts begin whatever the load.
LONGEST_PAUSE_SECONDS = 0.5
# How much the latest interval between two beginnings counts in the average that predicts a wait.
WEIGHT = 0.1


class Pace:
    """The queue of prompts that are about to begin in this process."""

    def __init__(self, running: Callable[[], int]) -> None:
        # Returns the number of generations that run in this process.
        self._running = running
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._within_turn = asyncio.Semaphore(WITHIN_A_TURN)
        self._waiting = 0
        # The average seconds between two beginnings while prompts waited; when the last one began, if others waited.
        self._interval = 0.0
        self._began_at: float | None = None

    @property
    def waiting(self) -> int:
        """How many prompts wait to begin."""
        return self._waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn of a prompt; raise ServiceUnavailable when that would take too long."""
        if not self._slots.locked():
            await self._slots.acquire()  # at once, and without a timer
        else:
            await self._wait()
        try:
            if self._running() >= MANY_RUNNING and (turn := await _turn_of_the_loop()) > SMOOTH_SECONDS:
                async with self._within_turn:
                    await asyncio.sleep(min(turn, LONGEST_PAUSE_SECONDS))
            self._note_start()
            yield
        finally:
            self._slots.release()

    async def _wait(self) -> None:
        """Wait for a slot behind other prompts."""
        expected = self._waiting * self._interval
        if expected > settings.MAX_START_SECONDS:
            raise ServiceUnavailable(retry_after=math.ceil(expected))
        self._waiting += 1
        try:
            async with asyncio.timeout(settings.MAX_START_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise ServiceUnavailable(retry_after=settings.MAX_START_SECONDS) from None
        finally:
            self._waiting -= 1

    def _note_start(self) -> None:
        now = time.monotonic()
        if self._began_at is not None:
            self._interval += WEIGHT * (min(now - self._began_at, 1.0) - self._interval)
        self._began_at = now if self._waiting else None


async def _turn_of_the_loop() -> float:
    """Return the CPU seconds in which the event loop serves each stream once.

    Not the time that passes: where other processes keep this one from the core, no pause of ours helps.
    """
    began = time.thread_time()
    await asyncio.sleep(0)
    return time.thread_time() - began
