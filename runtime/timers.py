"""Callbacks that the process awaits periodically."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from django.db import InterfaceError, OperationalError

log = structlog.get_logger("runtime")


@dataclass(frozen=True, slots=True)
class Timer:
    name: str
    seconds: Callable[[], float]
    callback: Callable[[], Awaitable[object]]


class Timers:
    """Timers of one process: apps add them while they are set up, serving starts them."""

    def __init__(self) -> None:
        self._timers: list[Timer] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def names(self) -> list[str]:
        return [timer.name for timer in self._timers]

    @property
    def running(self) -> bool:
        return any(not task.done() for task in self._tasks)

    def every(self, seconds: Callable[[], float], name: str, callback: Callable[[], Awaitable[object]]) -> None:
        """Await `callback` again and again, `seconds()` after it ended."""
        self._timers.append(Timer(name, seconds, callback))

    def start(self) -> None:
        self._tasks = [asyncio.create_task(_repeat(timer), name=timer.name) for timer in self._timers]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


async def _repeat(timer: Timer) -> None:
    while True:
        await asyncio.sleep(timer.seconds())
        try:
            await timer.callback()
        except (InterfaceError, OperationalError) as error:  # the database is down or full: a traceback adds nothing
            reason = str(error).partition("\n")[0]
            log.error("timer failed", timer=timer.name, error=type(error).__name__, reason=reason)
        except Exception as error:  # the timer outlives every failure of its callback; the next turn tries again
            log.exception("timer failed", timer=timer.name, error=type(error).__name__)
