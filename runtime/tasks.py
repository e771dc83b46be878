"""Detached tasks: they belong to no request, and the set keeps them alive until they end."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class TaskSet:
    """Strong references to running tasks.

    Because the event loop itself keeps only weak references, a task without another one may vanish half done. Each task
    starts in an empty context: the language, user and log fields of the caller are not its own.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as a detached task of the running loop."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self) -> None:
        """Return when all tasks have ended, also those that start meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancel all tasks and return when they have ended."""
        for task in self._tasks:
            task.cancel()
        await self.wait()
