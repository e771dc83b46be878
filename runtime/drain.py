"""Draining: the process refuses new work and waits for the work it has, before it ends."""

from collections.abc import Awaitable, Callable


class Drain:
    def __init__(self) -> None:
        self.active = False
        self._callbacks: list[Callable[[], Awaitable[object]]] = []

    def on_drain(self, callback: Callable[[], Awaitable[object]]) -> None:
        """Await `callback` when the process is told to stop, in the order of registration."""
        self._callbacks.append(callback)

    def begin(self) -> None:
        """Refuse new work from now on."""
        self.active = True

    async def finish(self) -> None:
        """Return when all work that was begun has ended."""
        for callback in self._callbacks:
            await callback()
